/* fuzz_tokenizer_json.c -- tokenizer.json: any bytes, and edits of a small one; what opens encodes
   and decodes. */
#include "fuzz_use.h"

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
    size_t n;
    const uint8_t *file = fuzz_subject(small, sizeof small - 1, data, bytes, &n);
    fuzz_use(file, n);
    return 0;
}
