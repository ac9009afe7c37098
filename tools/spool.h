/* spool.h -- the documents of a .tok stream laid down in a nameless file, to be fetched by number.
 */
#ifndef SPOOL_H
#define SPOOL_H

#include "tok.h"

/* Zero means closed. On disk: the ids as the stream stores them; in memory: eight bytes a
   document. The file has no name once open, so nothing is left behind however the program ends. */
struct spool {
    uint64_t documents, tokens;
    size_t id_bytes;
    uint64_t *starts; /* [documents + 1] in tokens, owned */
    uint64_t room;    /* of starts */
    struct map ids;
};

/* Read r to its end, every checksum proved, into a file in $TMPDIR, else beside the path `beside`
   ("-": in the system's folder for temporary files). On failure s is closed. */
must_check int spool_fill(struct spool *s, struct tok_reader *r, const char *beside);
void spool_close(struct spool *s); /* harmless when closed */

/* Hand document n to `take`, in parts; none when it has no ids. `take` fails with -1. */
typedef int spool_take(void *to, const uint32_t *ids, size_t count);
must_check int spool_document(const struct spool *s, uint64_t n, spool_take *take, void *to);

#endif
