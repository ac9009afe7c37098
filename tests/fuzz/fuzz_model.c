/* fuzz_model.c -- SentencePiece models: any bytes, and edits of the golden one; what opens encodes
   and decodes. */
#include "fuzz_use.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t *good;
    static size_t good_bytes;
    if (!good)
        good = fuzz_kept("tests/golden/tokenizer/small-1024.model", &good_bytes);
    size_t n;
    const uint8_t *file = fuzz_subject(good, good_bytes, data, bytes, &n);
    fuzz_use(file, n);
    return 0;
}
