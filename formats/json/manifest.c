/* manifest.c -- manifest.jsonl: written and read line by line. */
#include "manifest.h"
#include "file.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static const char CHECK_FORMAT[] = ",\"check\":\"%08x\"}";
enum { CHECK_BYTES = sizeof ",\"check\":\"01234567\"}" - 1 };

static void file_free(struct manifest_file *f)
{
    const char *const owned[] = {f->path,        f->dtype,  f->tokenizer_name, f->options,
                                 f->source.name, f->blocks, f->version};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free((void *)owned[i]);
}

void manifest_free(struct manifest *m)
{
    for (size_t i = 0; i < m->count; i++)
        file_free(&m->files[i]);
    free(m->files);
    *m = (struct manifest){0};
}

int manifest_add(struct manifest *m, const struct manifest_file *file)
{
    struct manifest_file *grown = realloc(m->files, (m->count + 1) * sizeof *grown);
    if (!grown)
        return fail("no memory for a manifest of %zu lines", m->count + 1);
    m->files = grown;
    struct manifest_file *f = &grown[m->count++];
    *f = *file;
    f->path = strdup(file->path);
    f->dtype = strdup(file->dtype);
    f->tokenizer_name = strdup(file->tokenizer_name);
    f->options = strdup(file->options);
    f->source.name = strdup(file->source.name);
    f->version = strdup(file->version);
    f->blocks = file->blocks ? strdup(file->blocks) : NULL;
    if (f->path && f->dtype && f->tokenizer_name && f->options && f->source.name && f->version &&
        (f->blocks || !file->blocks))
        return 0;
    return fail("no memory for a manifest of %zu lines", m->count);
}

int manifest_add_sums(struct manifest *m, const struct manifest_file *file, const void *data)
{
    struct manifest_file f = *file;
    struct blocks b = {0};
    f.xxh3 = blocks_sums(&b, data, f.bytes);
    f.crc32c = blocks_crc32c(&b);
    f.block_bytes = b.block_bytes;
    char *text = blocks_text(&b);
    f.blocks = text;
    int status = text ? manifest_add(m, &f) : fail("out of memory");
    free(text);
    blocks_free(&b);
    return status;
}

const struct manifest_file *manifest_find(const struct manifest *m, const char *path)
{
    for (size_t i = 0; i < m->count; i++)
        if (!strcmp(m->files[i].path, path))
            return &m->files[i];
    return NULL;
}

/* ---- writing ------------------------------------------------------------------------------ */

/* The line without its check and without its closing brace, owned by the caller; NULL. */
static char *line_of(const struct manifest *m, size_t i)
{
    const struct manifest_file *f = &m->files[i];
    char chain[17], crc[9];
    snprintf(chain, sizeof chain, "%016llx", (unsigned long long)f->source.chain);
    snprintf(crc, sizeof crc, "%08x", f->crc32c);
    json_t *options = json_loads(f->options, JSON_REJECT_DUPLICATES, NULL);
    json_t *seed = f->seed < 0 ? json_null() : json_integer(f->seed);
    json_t *line =
        json_pack("{sI sI ss sI sI sI ss sI ss ss so so s{ss sI sI ss} ss ss ss}", "number",
                  (json_int_t)i + 1, "of", (json_int_t)m->count, "path", f->path, "bytes",
                  (json_int_t)f->bytes, "tokens", (json_int_t)f->tokens, "documents",
                  (json_int_t)f->documents, "dtype", f->dtype, "vocab_size",
                  (json_int_t)f->vocab_size, "tokenizer", f->tokenizer.hex, "tokenizer_name",
                  f->tokenizer_name, "options", options, "seed", seed, "source", "name",
                  f->source.name, "documents", (json_int_t)f->source.documents, "tokens",
                  (json_int_t)f->source.tokens, "chain", chain, "xxh3", f->xxh3.hex, "crc32c", crc,
                  "version", f->version);
    if (line && f->blocks)
        json_object_set_new(line, "blocks",
                            json_pack("{sI ss}", "bytes", (json_int_t)f->block_bytes, "crc32c",
                                      f->blocks));
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    if (text)
        text[strlen(text) - 1] = 0;
    return text;
}

static int lines_put(const struct manifest *m, struct writer *w)
{
    for (size_t i = 0; i < m->count; i++) {
        char *text = line_of(m, i), check[CHECK_BYTES + 2];
        if (!text)
            return fail("%s: line %zu cannot be written: is a name not UTF-8?", w->path, i + 1);
        size_t bytes = strlen(text);
        snprintf(check, sizeof check, CHECK_FORMAT, crc32c(0, text, bytes));
        strcat(check, "\n");
        int bad = writer_put(w, text, bytes) || writer_put(w, check, CHECK_BYTES + 1);
        free(text);
        if (bad)
            return -1;
    }
    return 0;
}

int manifest_write(const struct manifest *m, const char *path)
{
    struct writer w;
    if (writer_open(&w, path))
        return -1;
    if (!lines_put(m, &w))
        return writer_commit(&w);
    writer_abandon(&w);
    return -1;
}

/* ---- reading ------------------------------------------------------------------------------ */

static bool is_hex(const char *text, size_t digits)
{
    return strlen(text) == digits && strspn(text, "0123456789abcdef") == digits;
}

static int blocks_take(struct manifest_file *f, json_t *blocks)
{
    json_int_t bytes;
    json_error_t e;
    if (json_unpack_ex(blocks, &e, JSON_STRICT, "{s:I s:s !}", "bytes", &bytes, "crc32c",
                       &f->blocks))
        return fail("%s", e.text);
    f->block_bytes = (uint64_t)bytes;
    return blocks_text_good(f->blocks, f->block_bytes, f->bytes)
               ? 0
               : fail("'blocks' are not those of a file of %llu bytes",
                      (unsigned long long)f->bytes);
}

/* Members of one line into m, which then owns copies. */
static int line_take(struct manifest *m, json_t *line, size_t number, size_t lines)
{
    struct manifest_file f = {0};
    json_int_t at, of, bytes, tokens, documents, vocab_size, from_documents, from_tokens;
    const char *tokenizer, *chain, *xxh3, *crc;
    json_t *options, *seed, *blocks = NULL;
    json_error_t e;
    if (json_unpack_ex(line, &e, JSON_STRICT,
                       "{s:I s:I s:s s:I s:I s:I s:s s:I s:s s:s s:o s:o s:{s:s s:I s:I s:s !} "
                       "s:s s:s s:s s?o s:s !}",
                       "number", &at, "of", &of, "path", &f.path, "bytes", &bytes, "tokens",
                       &tokens, "documents", &documents, "dtype", &f.dtype, "vocab_size",
                       &vocab_size, "tokenizer", &tokenizer, "tokenizer_name", &f.tokenizer_name,
                       "options", &options, "seed", &seed, "source", "name", &f.source.name,
                       "documents", &from_documents, "tokens", &from_tokens, "chain", &chain,
                       "xxh3", &xxh3, "crc32c", &crc, "version", &f.version, "blocks", &blocks,
                       "check", &(const char *){0}))
        return fail("%s", e.text);
    if (at != (json_int_t)number || of != (json_int_t)lines)
        return fail("it says it is line %lld of %lld, but stands at line %zu of %zu: lines are "
                    "missing or out of order",
                    (long long)at, (long long)of, number, lines);
    if (bytes < 0 || tokens < 0 || documents < 0 || from_documents < 0 || from_tokens < 0 ||
        vocab_size < 1 || vocab_size > INT32_MAX)
        return fail("a count is out of range");
    if (!is_hex(tokenizer, 32) || !is_hex(xxh3, 32) || !is_hex(crc, 8) || !is_hex(chain, 16))
        return fail("a checksum is not written in hexadecimal digits of the right number");
    if (!json_is_object(options) || !(json_is_integer(seed) || json_is_null(seed)) ||
        (json_is_integer(seed) && json_integer_value(seed) < 0))
        return fail("'options' is not an object, or 'seed' neither a number nor null");
    if (!*f.path || *f.path == '/' || strstr(f.path, ".."))
        return fail("the path '%s' does not lie beside the manifest", f.path);
    f.bytes = (uint64_t)bytes;
    if (blocks && blocks_take(&f, blocks))
        return -1;
    f.tokens = (uint64_t)tokens;
    f.documents = (uint64_t)documents;
    f.vocab_size = (uint32_t)vocab_size;
    f.seed = json_is_null(seed) ? -1 : json_integer_value(seed);
    f.source.documents = (uint64_t)from_documents;
    f.source.tokens = (uint64_t)from_tokens;
    f.source.chain = strtoull(chain, NULL, 16);
    f.crc32c = (uint32_t)strtoul(crc, NULL, 16);
    memcpy(f.tokenizer.hex, tokenizer, sizeof f.tokenizer.hex);
    memcpy(f.xxh3.hex, xxh3, sizeof f.xxh3.hex);
    char *text = json_dumps(options, JSON_COMPACT);
    f.options = text;
    int status = text ? manifest_add(m, &f) : fail("out of memory");
    free(text);
    return status;
}

static int line_read(struct manifest *m, const char *text, size_t bytes, size_t number,
                     size_t lines)
{
    char check[CHECK_BYTES + 1];
    size_t before = bytes < CHECK_BYTES ? 0 : bytes - CHECK_BYTES;
    snprintf(check, sizeof check, CHECK_FORMAT, crc32c(0, text, before));
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    bool right = true; /* a fuzzer shall get behind the check: see tests/fuzz */
#else
    bool right = bytes >= CHECK_BYTES && !memcmp(text + before, check, CHECK_BYTES);
#endif
    if (!right)
        return fail("damaged: its check does not match; pack the dataset again");
    json_error_t e;
    json_t *line = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &e);
    if (!line)
        return fail("not JSON: %s", e.text);
    int status = line_take(m, line, number, lines);
    json_decref(line);
    return status;
}

int manifest_read(struct manifest *m, const char *path)
{
    struct map map;
    size_t lines = 0, number = 0;
    *m = (struct manifest){0};
    if (map_open(&map, path))
        return -1;
    for (size_t i = 0; i < map.bytes; i++)
        lines += map.data[i] == '\n';
    int status = 0;
    if (map.bytes == 0)
        status = fail("%s: empty: a manifest has a line for each file", path);
    else if (map.data[map.bytes - 1] != '\n')
        status = fail("%s: cut short: the last line has no end", path);
    const char *text = (const char *)map.data, *end = text + map.bytes;
    while (!status && text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (line_read(m, text, (size_t)(stop - text), ++number, lines))
            status = fail("%s: line %zu: %s", path, number, why());
        text = stop + 1;
    }
    map_close(&map);
    if (status)
        manifest_free(m);
    return status;
}
