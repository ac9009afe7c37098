/* rejects.c -- the list of records that were left out or mended. */
#include "rejects.h"

#include "utf8.h"

#include <inttypes.h>
#include <stdio.h>

/* A JSON string with its quotes. */
static int put_string(struct writer *w, const char *text)
{
    const uint8_t *p = (const uint8_t *)text, *end = p + strlen(text);
    if (writer_put(w, "\"", 1))
        return -1;
    while (p < end) {
        uint32_t code;
        unsigned n = utf8_next(p, end, &code);
        char escape[8];
        int status;
        if (code == UTF8_BAD)
            status = writer_put(w, "\\ufffd", 6);
        else if (code < 0x20 || code == '"' || code == '\\') {
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)code);
            status = writer_put(w, escape, 6);
        } else
            status = writer_put(w, p, n);
        if (status)
            return -1;
        p += n;
    }
    return writer_put(w, "\"", 1);
}

int rejects_put(struct writer *w, const char *file, const struct jsonl_fault *fault, bool uncounted,
                bool skipped)
{
    char middle[160], line[24] = "null";
    if (!uncounted)
        snprintf(line, sizeof line, "%" PRIu64, fault->place.line);
    int n =
        snprintf(middle, sizeof middle,
                 ",\"line\":%s,\"offset\":%" PRIu64 ",\"record\":%" PRIu64
                 ",\"action\":\"%s\",\"reason\":",
                 line, fault->place.offset, fault->record.offset, skipped ? "skipped" : "replaced");
    if (writer_put(w, "{\"file\":", 8) || put_string(w, file) || writer_put(w, middle, (size_t)n) ||
        put_string(w, fault->reason))
        return -1;
    return writer_put(w, "}\n", 2);
}
