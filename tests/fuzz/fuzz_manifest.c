/* fuzz_manifest.c -- manifest.jsonl: any lines, and edits of good ones. */
#include "fuzz.h"
#include "manifest.h"

static const char line[] =
    "{\"number\":1,\"of\":1,\"path\":\"a.npy\",\"bytes\":130,\"tokens\":1,\"documents\":1,"
    "\"dtype\":\"uint16\",\"vocab_size\":9,\"tokenizer\":\"0123456789abcdef0123456789abcdef\","
    "\"tokenizer_name\":\"t\",\"options\":{},\"seed\":null,\"source\":{\"name\":\"a.tok\","
    "\"documents\":1,\"tokens\":1,\"chain\":\"0123456789abcdef\"},"
    "\"xxh3\":\"0123456789abcdef0123456789abcdef\",\"crc32c\":\"01234567\",\"version\":\"1\","
    "\"blocks\":{\"bytes\":1048576,\"crc32c\":\"01234567\"},"
    "\"check\":\"01234567\"}\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    size_t n;
    struct manifest m;
    const uint8_t *file = fuzz_subject(line, sizeof line - 1, data, bytes, &n);
    if (manifest_read(&m, fuzz_file(file, n)))
        return 0;
    for (size_t i = 0; i < m.count; i++)
        if (manifest_find(&m, m.files[i].path) == NULL)
            abort();
    manifest_free(&m);
    return 0;
}
