/* fuzz_model.c -- SentencePiece models: any bytes, and edits of the golden one; what opens encodes
   and decodes. */
#include "encoder.h"
#include "fuzz.h"

static void use(const struct tokenizer *t)
{
    static const char text[] = "In the beginning <s> was 42\n\xe2\x82\xac  word</s>";
    struct encoder e;
    struct ids out = {0};
    uint8_t back[512];
    if (encoder_open(&e, t))
        return;
    if (!encoder_encode(&e, text, sizeof text - 1, SPECIAL_LITERAL, &out))
        tokenizer_decode(t, out.id, out.count, NULL, back, sizeof back);
    ids_free(&out);
    encoder_close(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t *good;
    static size_t good_bytes;
    struct tokenizer t;
    if (!good)
        good = fuzz_kept("tests/golden/tokenizer/small-1024.model", &good_bytes);
    size_t n = good_bytes;
    const uint8_t *file =
        bytes && data[0] == 'e' ? fuzz_edited(good, &n, data + 1, bytes - 1) : data;
    if (tokenizer_read(&t, file, file == data ? bytes : n, "fuzz"))
        return 0;
    use(&t);
    tokenizer_close(&t);
    return 0;
}
