/* fuzz_tokenizer_json.c -- tokenizer.json: any bytes, and edits of the golden one; what opens
   encodes and decodes. */
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

/* A small one, in which a few edits meet everything. */
static const char small[] =
    "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\"},{\"id\":1,\"content\":\"<s>\"}],"
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
    "\"\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}]},"
    "\"pre_tokenizer\":null,\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":["
    "{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}]},\"model\":{\"type\":"
    "\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":false,\"vocab\":{"
    "\"<unk>\":0,\"<s>\":1,\"\u2581\":2,\"n\":3,\"e\":4,\"i\":5,\"in\":6,\"\u2581in\":7},"
    "\"merges\":[\"i n\",[\"\u2581\",\"in\"]]}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static uint8_t *good;
    static size_t good_bytes;
    struct tokenizer t;
    if (!good)
        good = fuzz_kept("tests/golden/tokenizer/small-1024.json", &good_bytes);
    size_t n = bytes && data[0] == 'e' ? good_bytes : sizeof small - 1;
    const uint8_t *from = bytes && data[0] == 'e' ? good : (const uint8_t *)small;
    const uint8_t *file = bytes && (data[0] == 'e' || data[0] == 's')
                              ? fuzz_edited(from, &n, data + 1, bytes - 1)
                              : data;
    if (tokenizer_read(&t, file, file == data ? bytes : n, "fuzz"))
        return 0;
    use(&t);
    tokenizer_close(&t);
    return 0;
}
