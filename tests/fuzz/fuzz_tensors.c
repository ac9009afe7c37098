/* fuzz_tensors.c -- safetensors: headers of any kind, and edits of a good file. */
#include "fuzz.h"
#include "tensors.h"

static const char header[] = "{\"__metadata__\":{\"a\":\"b\"},"
                             "\"x\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
                             "\"y\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[16,18]}}  ";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t good[8 + sizeof header - 1 + 18] = {sizeof header - 1};
    size_t n;
    struct tensors t;
    unsigned sum = 0;
    memcpy(good + 8, header, sizeof header - 1);
    const uint8_t *file = fuzz_subject(good, sizeof good, data, bytes, &n);
    if (tensors_open(&t, fuzz_file(file, n)))
        return 0;
    for (int i = 0; i < t.count; i++)
        for (size_t k = 0; k < t.list[i].bytes; k++)
            sum += ((const uint8_t *)t.list[i].data)[k];
    tensors_close(&t);
    return sum == 1u << 31;
}
