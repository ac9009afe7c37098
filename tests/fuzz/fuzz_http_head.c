/* fuzz_http_head.c -- the lines of a response's head, in any form. */
#include "fuzz.h"
#include "http_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct http_head h;
    http_head_clear(&h);
    for (const uint8_t *p = data, *end = data + bytes; p < end;) {
        const uint8_t *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = stop ? (size_t)(stop + 1 - p) : (size_t)(end - p);
        /* In memory of its own, so that a byte read beyond the line is seen. */
        char *line = malloc(n);
        memcpy(line, p, n);
        http_head_line(&h, line, n, 1700000000);
        free(line);
        p += n;
        if (h.has_range && (h.from > h.last || (h.total >= 0 && h.last >= (uint64_t)h.total)))
            abort();
        if (h.status < 0 || h.status > 999 || h.length < -1 || h.total < -1)
            abort();
        if (strlen(h.etag) >= sizeof h.etag || strlen(h.modified) >= sizeof h.modified)
            abort();
    }
    return 0;
}
