/* fuzz_journal.c -- a journal of finished ranges: any text, and edits of a good one. */
#include "fuzz.h"
#include "journal.h"

static const uint8_t *good(size_t *bytes)
{
    static char text[1024];
    char *first = journal_first(1000, 100, "gs://bucket/a b", "12");
    size_t n = strlen(first);
    memcpy(text, first, n);
    free(first);
    for (uint64_t i = 0; i < 10; i += 2)
        n += journal_line(text + n, i, (uint32_t)(i * 1234567));
    *bytes = n;
    return (const uint8_t *)text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct journal j;
    size_t good_bytes, n;
    const uint8_t *made = good(&good_bytes);
    const uint8_t *text = fuzz_subject(made, good_bytes, data, bytes, &n);
    if (journal_read(&j, (const char *)text, n))
        return 0;
    uint64_t finished = 0;
    for (uint64_t i = 0; i < j.ranges; i++)
        finished += j.marks[i].state;
    if (finished != j.finished || j.good_bytes > n || !j.source || !j.version)
        abort();
    /* What was read is what would be written. */
    char *first = journal_first(j.size, j.range_bytes, j.source, j.version);
    struct journal again;
    if (journal_read(&again, first, strlen(first)) || strcmp(again.source, j.source))
        abort();
    journal_free(&again);
    free(first);
    journal_free(&j);
    return 0;
}
