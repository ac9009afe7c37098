/* localname.h -- which names of objects may become paths below a folder. */
#ifndef LOCALNAME_H
#define LOCALNAME_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>

/* What a transfer adds to a file's name while it is not whole. */
#define PART_SUFFIX    ".ttt-part"
#define JOURNAL_SUFFIX ".ttt-journal"

/* Whether `relative`, a path made of an object's name, stays below the folder it is joined to and
   can be a file there: no empty, "." or ".." component, no leading slash, no control characters,
   components of at most 255 bytes, no name that is kept for parts. -1 with why(), which says what
   is wrong, not whose name it is. */
must_check int localname_check(const char *relative);

/* PATH with the suffix, shortened where the last component would become too long for a file
   system: its first 200 bytes, a tilde, a hash of all of it. The caller frees it; NULL: no memory.
 */
char *localname_beside(const char *path, const char *suffix);

/* Text for a terminal: control characters become `?`, in place. Returns text. */
char *localname_show(char *text);

/* Paths taken so far, as files and as folders: eight bytes and an empty slot or two for each.
   Zero is empty. */
struct localnames {
    struct hash_set {
        uint64_t *slots; /* [room], owned; 0 is empty */
        uint64_t room, count;
    } files, folders;
};

/* Take the path for a file. -1 with why() when it is already a file or a folder of this copy, or
   when one of the folders it needs is a file of this copy. */
must_check int localnames_take(struct localnames *n, const char *relative);
void localnames_free(struct localnames *n);

#endif
