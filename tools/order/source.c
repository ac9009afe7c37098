/* source.c -- documents one after another, from a .tok stream or from a packed array. */
#include "source.h"
#include "manifest.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { GUESSED_BOS = 1 }; /* Llama's */

/* DIR of DIR/NAME with its slash, then `name`; owned by the caller. */
static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    char *other;
    if (asprintf(&other, "%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, name) < 0)
        abort(); /* a few hundred bytes: nothing sensible can go on */
    return other;
}

/* The offsets of X.npy are X.offsets. */
static int offsets_open(struct source *s)
{
    size_t n = strlen(s->path);
    struct stat st;
    if (n < 4 || strcmp(s->path + n - 4, ".npy")) {
        s->guessed = true;
        return 0;
    }
    char *path = malloc(n + 8);
    if (!path)
        return fail("out of memory");
    memcpy(path, s->path, n - 4);
    memcpy(path + n - 4, ".offsets", 9);
    s->guessed = stat(path, &st) != 0;
    int status = s->guessed ? 0 : npy_open(&s->offsets, path);
    if (!status && !s->guessed && (s->offsets.dtype != NPY_U8 || s->offsets.count == 0))
        status = fail("%s: offsets are uint64, one more than documents", path);
    free(path);
    return status;
}

/* The tokenizer's path in the options of a stream, or of a dataset that was packed from one; NULL
   when they do not tell. Owned by the caller. */
static char *tokenizer_file_of(const char *options)
{
    json_t *all = json_loads(options, 0, NULL);
    const json_t *stream = json_object_get(all, "stream");
    const char *path = json_string_value(json_object_get(stream ? stream : all, "tokenizer_file"));
    char *copy = path ? strdup(path) : NULL;
    json_decref(all);
    return copy;
}

static int manifest_take(struct source *s)
{
    struct manifest m;
    struct stat st;
    char *path = beside(s->path, MANIFEST_NAME);
    int status = 0;
    if (!stat(path, &st) && !(status = manifest_read(&m, path))) {
        const char *slash = strrchr(s->path, '/');
        const struct manifest_file *f = manifest_find(&m, slash ? slash + 1 : s->path);
        s->has_tokenizer = f != NULL;
        if (f) {
            s->tokenizer = f->tokenizer;
            s->vocab_size = f->vocab_size;
            s->tokenizer_file = tokenizer_file_of(f->options);
        }
        manifest_free(&m);
    }
    free(path);
    return status;
}

static bool is_tok(const char *path)
{
    char head[6] = "";
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f)
        fclose(f);
    return n < sizeof head || memcmp(head, "\x93NUMPY", sizeof head) != 0;
}

int source_open(struct source *s, const char *path, const char *split)
{
    struct stat st;
    *s = (struct source){0};
    bool is_dir = !stat(path, &st) && S_ISDIR(st.st_mode);
    if (asprintf(&s->path, is_dir ? "%s/%s.npy" : "%s", path, split) < 0)
        return fail("out of memory");
    s->is_tok = !is_dir && is_tok(path);
    int status;
    if (s->is_tok) {
        status = tok_reader_open(&s->tok, path);
        s->has_tokenizer = true;
        s->tokenizer = s->tok.meta.tokenizer;
        s->vocab_size = s->tok.meta.vocab_size;
        s->tokenizer_file = status ? NULL : tokenizer_file_of(s->tok.meta.options);
    } else {
        status = npy_open(&s->ids, s->path) || offsets_open(s) || manifest_take(s) ? -1 : 0;
        if (!status && (s->ids.dims != 1 || s->ids.dtype == NPY_F4 || s->ids.dtype == NPY_F8))
            status = fail("%s: not a flat array of token ids", s->path);
    }
    if (status)
        source_close(s);
    return status;
}

void source_close(struct source *s)
{
    tok_reader_close(&s->tok);
    npy_close(&s->ids);
    npy_close(&s->offsets);
    free(s->path);
    free(s->tokenizer_file);
    free(s->held);
    *s = (struct source){0};
}

/* Where the next document of an array ends; -1 with why(); *end is its beginning at the end. */
static int end_of(const struct source *s, uint64_t *end)
{
    if (!s->guessed) {
        uint64_t from = le64(s->offsets.data + 8 * s->number);
        *end = le64(s->offsets.data + 8 * s->number + 8);
        if (from != s->at || *end < from || *end > s->ids.count)
            return fail("%s: its offsets do not fit: document %llu from token %llu to %llu of %llu",
                        s->path, (unsigned long long)s->number, (unsigned long long)from,
                        (unsigned long long)*end, (unsigned long long)s->ids.count);
        return 0;
    }
    *end = s->at + 1;
    while (*end < s->ids.count && npy_int(&s->ids, *end) != GUESSED_BOS)
        ++*end;
    return 0;
}

static bool ended(const struct source *s)
{
    return s->guessed ? s->at >= s->ids.count : s->number + 1 >= s->offsets.count;
}

int source_next(struct source *s, struct tok_doc *doc)
{
    uint64_t end;
    if (s->is_tok)
        return tok_reader_next(&s->tok, doc);
    if (ended(s))
        return 0;
    if (end_of(s, &end))
        return -1;
    size_t count = (size_t)(end - s->at);
    if (count > s->room) {
        uint32_t *grown = realloc(s->held, count * sizeof *grown);
        if (!grown)
            return fail("%s: no memory for a document of %zu ids", s->path, count);
        s->held = grown;
        s->room = count;
    }
    for (size_t i = 0; i < count; i++)
        s->held[i] = (uint32_t)npy_int(&s->ids, s->at + i);
    *doc = (struct tok_doc){s->number++, s->held, count, true, true};
    s->at = end;
    return 1;
}

int source_skip(struct source *s, uint64_t n)
{
    struct tok_doc passed;
    if (s->is_tok && s->tok.file_bytes)
        return tok_reader_index(&s->tok) || tok_reader_seek(&s->tok, n) ? -1 : 0;
    if (!s->is_tok && !s->guessed && n < s->offsets.count - 1) {
        s->number = n;
        s->at = le64(s->offsets.data + 8 * n);
        return 0;
    }
    for (uint64_t i = 0; i < n; i++) {
        int status = source_next(s, &passed);
        if (status <= 0)
            return status ? -1
                          : fail("%s: there is no document %llu: documents are 0 to %llu", s->path,
                                 (unsigned long long)n, (unsigned long long)i - 1);
    }
    return 0;
}
