/* fuzz_npy.c -- .npy files: headers of any kind, and edits of a good one. */
#include "fuzz.h"
#include "npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t good[NPY_HEADER_BYTES + 64] = {0};
    size_t n;
    struct npy a;
    int64_t sum = 0;
    npy_header(good, NPY_U2, 32);
    const uint8_t *file = fuzz_subject(good, sizeof good, data, bytes, &n);
    if (npy_open(&a, fuzz_file(file, n)))
        return 0;
    for (uint64_t i = 0; a.dtype < NPY_F4 && i < a.count; i++)
        sum += npy_int(&a, i) & 1;
    npy_close(&a);
    return sum == INT64_MIN;
}
