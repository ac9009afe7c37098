/* golden_tokenizer.c -- texts whose ids are known: MODEL CASES.jsonl.

   Each line is {"name", "text", "ids_hf", "ids_spm"}: the document as Hugging Face's
   LlamaTokenizerFast frames it, and the bare ids of sentencepiece. Each case must also come back
   from its ids_spm byte for byte. */
#include "check.h"
#include "encoder.h"
#include "file.h"
#include "report.h"
#include "utf8.h"

#include <jansson.h>
#include <stdlib.h>

/* Entries of `ids` that differ from the golden array, counted up to its length; -1 when the
   lengths differ. */
static long differing(const struct ids *ids, const json_t *golden)
{
    if (json_array_size(golden) != ids->count)
        return -1;
    long n = 0;
    for (size_t i = 0; i < ids->count; i++)
        n += json_integer_value(json_array_get(golden, i)) != ids->id[i];
    return n;
}

static bool comes_back(const struct tokenizer *t, const struct ids *ids, const char *text,
                       size_t bytes)
{
    size_t n = tokenizer_decode(t, ids->id, ids->count, NULL, NULL, 0);
    uint8_t *back = malloc(n + 1);
    tokenizer_decode(t, ids->id, ids->count, NULL, back, n);
    bool same = n == bytes && !memcmp(back, text, n);
    free(back);
    return same;
}

/* U+2581 and a blank are the same to a tokenizer: such a text comes back with blanks. */
static bool has_blank_mark(const char *text, size_t bytes)
{
    return memmem(text, bytes, "\u2581", 3) != NULL;
}

static void check_line(struct encoder *e, const char *line, size_t bytes, int number)
{
    char place[64];
    snprintf(place, sizeof place, "line %d", number);
    case_begin(place);
    json_error_t error;
    json_t *root = json_loadb(line, bytes, JSON_ALLOW_NUL, &error);
    json_t *text = json_object_get(root, "text"), *hf = json_object_get(root, "ids_hf"),
           *spm = json_object_get(root, "ids_spm"), *name = json_object_get(root, "name");
    CHECK(json_is_string(text) && json_is_array(hf) && json_is_array(spm) && json_is_string(name));
    if (check_failures_here) {
        case_end(root ? "members are missing" : error.text);
        json_decref(root);
        return;
    }
    case_begin(json_string_value(name));
    const char *s = json_string_value(text);
    size_t n = json_string_length(text);
    struct ids ids = {0};
    CHECK(utf8_valid(s, n, NULL));
    struct framing framing = {.bos = true, .eos = true, .special = SPECIAL_LITERAL};
    CHECK(!encoder_document(e, s, n, framing, &ids));
    CHECK(differing(&ids, hf) == 0);
    ids.count = 0;
    CHECK(!encoder_encode(e, s, n, SPECIAL_TEXT, &ids));
    CHECK(differing(&ids, spm) == 0);
    CHECK(has_blank_mark(s, n) || comes_back(e->t, &ids, s, n));
    char note[64];
    snprintf(note, sizeof note, "%zu bytes, %zu ids", n, ids.count);
    case_end(note);
    ids_free(&ids);
    json_decref(root);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: golden_tokenizer MODEL CASES.jsonl\n");
        return 2;
    }
    struct tokenizer t;
    struct encoder e;
    struct map cases;
    if (tokenizer_open(&t, argv[1]) || encoder_open(&e, &t) || map_open(&cases, argv[2]))
        die("%s", why());
    const char *p = (const char *)cases.data, *end = p + cases.bytes;
    for (int number = 1; p < end; number++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *line_end = newline ? newline : end;
        check_line(&e, p, (size_t)(line_end - p), number);
        p = line_end + 1;
    }
    map_close(&cases);
    encoder_close(&e);
    tokenizer_close(&t);
    return check_finish();
}
