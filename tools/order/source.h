/* source.h -- documents one after another, from a .tok stream or from a packed array. */
#ifndef SOURCE_H
#define SOURCE_H

#include "npy.h"
#include "tok.h"

/* Zero means closed. */
struct source {
    bool is_tok, guessed; /* guessed: without offsets, a document begins at each id 1 */
    uint32_t vocab_size;  /* 0: nobody says */
    bool has_tokenizer;
    struct xxh3 tokenizer;
    char *tokenizer_file; /* owned: its path as ttt-tokenize was given it, or NULL */
    char *path;           /* owned: of the array or stream */
    struct tok_reader tok;
    struct npy ids, offsets;
    uint64_t number, at; /* of the next document; where it begins in ids */
    uint32_t *held;      /* [room], owned: the document handed out */
    size_t room;
};

/* path: a .tok file, "-" for such a stream on standard input, an .npy with its .offsets beside, or
   a dataset's folder, of which `split` ("train") is read. What a manifest beside says is taken
   over. On failure s is closed. */
must_check int source_open(struct source *s, const char *path, const char *split);
void source_close(struct source *s); /* harmless when closed */

/* The next whole document: 1, 0 at the end, -1. ids are borrowed until the next call. */
must_check int source_next(struct source *s, struct tok_doc *doc);

/* Let source_next go on with document n, from the beginning on only. */
must_check int source_skip(struct source *s, uint64_t n);

#endif
