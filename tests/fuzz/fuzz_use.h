/* fuzz_use.h -- a tokenizer out of a fuzzer's bytes encodes and decodes, if it opens at all. */
#ifndef FUZZ_USE_H
#define FUZZ_USE_H

#include "encoder.h"
#include "fuzz.h"

static inline void fuzz_use(const uint8_t *file, size_t bytes)
{
    static const char text[] = "In the beginning <s> was 42\n\xe2\x82\xac  word</s>";
    struct tokenizer t;
    struct encoder e;
    struct ids out = {0};
    uint8_t back[512];
    if (tokenizer_read(&t, file, bytes, "fuzz"))
        return;
    if (!encoder_open(&e, &t)) {
        if (!encoder_encode(&e, text, sizeof text - 1, SPECIAL_LITERAL, &out))
            tokenizer_decode(&t, out.id, out.count, NULL, back, sizeof back);
        ids_free(&out);
        encoder_close(&e);
    }
    tokenizer_close(&t);
}

#endif
