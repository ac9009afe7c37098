/* tokenizer.h -- a SentencePiece BPE model: what its ids mean, and ids back to bytes.

   A tokenizer is opened from the `.model` file, or from the `tokenizer.json` that Hugging Face's
   converter makes of one, and never changes afterwards: any number of threads
   may share it. Text becomes ids through an encoder (encoder.h), one per thread.

   Read are the BPE models that keep their text as it is, Llama's among them: identity
   normalisation, blanks kept, a dummy blank put before the text or not, characters outside the
   vocabulary spelled as byte pieces or as one unknown id, user-defined pieces or none. Any other
   kind is refused by name. */
#ifndef TOKENIZER_H
#define TOKENIZER_H

#include "bpe.h"
#include "checksum.h"
#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKENIZER_NONE UINT32_MAX /* an id the model does not have */

/* Zero means closed. */
struct tokenizer {
    uint32_t vocab_size;             /* every id is below this */
    uint32_t unk_id, bos_id, eos_id; /* bos_id and eos_id may be TOKENIZER_NONE */
    bool byte_fallback;              /* byte_id is filled */
    bool dummy_prefix;               /* a blank goes before every non-empty text */
    bool dummy_first;                /* but not behind a special id inside it */
    struct xxh3 hash;                /* of the model file's bytes */

    struct piece *pieces;  /* [vocab_size], owned; their texts lie in `text` */
    uint8_t *text;         /* owned: what is written in the model, and what it decodes to */
    uint32_t byte_id[256]; /* with byte_fallback: the piece of each byte */
    uint32_t *user;        /* owned: user-defined pieces by first byte, the longest first */
    uint32_t *user_at;     /* [257], owned: where each first byte's begin; NULL: there are none */
    struct bpe bpe;        /* owned: how characters merge */
};

/* Read the model. Every number in the file is doubted; on failure returns -1 with why() naming
   path, leaving t closed. */
must_check int tokenizer_open(struct tokenizer *t, const char *path);

/* The same from bytes in memory, which are not kept; `name` stands for the path in sentences. */
must_check int tokenizer_read(struct tokenizer *t, const void *data, size_t bytes,
                              const char *name);
void tokenizer_close(struct tokenizer *t); /* harmless when closed */

/* The id's text as the model spells it ("\u2581the", "<0x0A>", "<s>"), for display; not ended by
   NUL. id is below vocab_size. */
const uint8_t *tokenizer_piece(const struct tokenizer *t, uint32_t id, size_t *bytes);

/* What the id adds to a text: U+2581 is a blank, a byte piece its byte, a control piece nothing,
   the unknown piece the model's mark for it. Not ended by NUL; a character may be spread over
   several byte pieces. id is below vocab_size. For generation and display; at the start of a
   document the dummy blank is still there: tokenizer_decode drops it. */
const uint8_t *tokenizer_bytes(const struct tokenizer *t, uint32_t id, size_t *bytes);

/* The longest user-defined piece that text[0 .. bytes), bytes > 0, begins with, its blanks being '
   ', and its length; or TOKENIZER_NONE. Only with user_at. */
uint32_t tokenizer_user(const struct tokenizer *t, const uint8_t *text, size_t bytes,
                        size_t *length);

/* Decode one document, or a part of it, as snprintf writes: at most `room` bytes go to out (NULL
   when room is 0), and the number of bytes of the whole is returned. The dummy blank is dropped
   where the first piece that adds text begins with a blank, as sentencepiece does; *begun says that
   such a piece has been seen. Start it at false and pass it on from part to part; NULL decodes a
   whole document. Ids that are not below vocab_size add nothing. */
size_t tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t count, bool *begun,
                        uint8_t *out, size_t room);

#endif
