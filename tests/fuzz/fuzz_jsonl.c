/* fuzz_jsonl.c -- jsonl: any bytes, cut into reads of any size; the records do not depend on that.
 */
#include "fuzz.h"
#include "jsonl.h"

struct bytes {
    const uint8_t *at, *end;
    size_t each;
};

static long give(void *from, void *data, size_t bytes)
{
    struct bytes *b = from;
    size_t n = (size_t)(b->end - b->at);
    n = n < b->each ? n : b->each;
    n = n < bytes ? n : bytes;
    memcpy(data, b->at, n);
    b->at += n;
    return (long)n;
}

/* A hash of all that is returned. */
static uint64_t records(const uint8_t *data, size_t bytes, size_t each)
{
    struct bytes b = {data, data + bytes, each};
    struct jsonl_key key = {0};
    struct jsonl_text text;
    struct jsonl_fault fault;
    struct jsonl j;
    uint64_t sum = 1;
    if (jsonl_open(&j, (struct byte_source){give, &b}, &key))
        abort();
    for (int status; (status = jsonl_next(&j, &text, &fault)) == 1 || status == -1;) {
        sum = sum * 31 + (uint64_t)status;
        if (status == -1) {
            sum = sum * 31 + fault.place.offset;
            continue;
        }
        uint8_t *out = malloc(text.bytes + 1);
        struct jsonl_half half;
        memcpy(out, text.raw, text.bytes);
        size_t n = jsonl_decode(out, out, text.bytes, &half);
        if (n > text.bytes)
            abort();
        for (size_t i = 0; i < n; i++)
            sum = sum * 31 + out[i];
        free(out);
    }
    jsonl_close(&j);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return 0;
    uint64_t whole = records(data + 1, bytes - 1, SIZE_MAX);
    if (records(data + 1, bytes - 1, 1 + data[0] % 16) != whole)
        abort();
    return 0;
}
