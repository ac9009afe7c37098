/* tokenizer_json.h -- Hugging Face's tokenizer.json, for tokenizer.c only.

   Read is what Llama's is: BPE over characters with U+2581 for blanks, put before a text or not by
   the normalizer or by a Metaspace that does not split, unknown characters as byte pieces or as one
   fused unknown id, and no added token but for the unknown one, BOS and EOS. Whatever would change
   ids otherwise is refused by name. */
#ifndef TOKENIZER_JSON_H
#define TOKENIZER_JSON_H

#include "tokenizer.h"

/* Fill pieces, text (*used of its bytes, room for twice that and 64 more), the special ids and the
   flags of t; *merges, owned by the caller, are in the order of their ranks. -1 with why(), without
   a path; what t holds then is for tokenizer_close. */
must_check int tokenizer_json(struct tokenizer *t, const void *data, size_t bytes, uint32_t *used,
                              struct bpe_merge **merges, size_t *count);

/* The byte of a piece spelled "<0x0A>", or -1. */
int tokenizer_byte_spelled(const uint8_t *s, uint32_t bytes);

#endif
