/* tally.c -- what was read and made, in all and by input. */
#include "tally.h"

#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

int tally_open(struct tally *t, size_t first, size_t last)
{
    size_t count = last < first ? 0 : last - first + 1;
    *t = (struct tally){.first = first, .count = count, .began_s = now_s()};
    t->noted_s = t->began_s;
    t->file = calloc(count + 1, sizeof *t->file);
    return t->file ? 0 : fail("out of memory for %zu inputs", count);
}

void tally_close(struct tally *t)
{
    free(t->file);
    *t = (struct tally){0};
}

void tally_add(struct tally *t, const struct documents *run)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < run->count; i++)
        bytes += run->docs[i].text_bytes + 1;
    double now = now_s(), each_s = (now - t->noted_s) / (double)bytes;
    t->noted_s = now;
    for (size_t i = 0; i < run->count; i++) {
        const struct document *doc = &run->docs[i];
        struct tally_count *f = &t->file[doc->file - t->first];
        double spent_s = each_s * (double)(doc->text_bytes + 1);
        f->documents += !doc->broken && !doc->continues;
        f->tokens += doc->ids;
        f->text_bytes += doc->text_bytes;
        f->spent_s += spent_s;
        t->all.documents += !doc->broken && !doc->continues;
        t->all.tokens += doc->ids;
        t->all.text_bytes += doc->text_bytes;
        t->all.spent_s += spent_s;
    }
}

void tally_fault(struct tally *t, const struct document *doc)
{
    struct tally_count *f = &t->file[doc->file - t->first];
    f->left_out += doc->broken;
    f->mended += !doc->broken;
    t->all.left_out += doc->broken;
    t->all.mended += !doc->broken;
}

/* ---- saved -------------------------------------------------------------------------------- */

static json_t *save(const struct tally_count *c)
{
    return json_pack("[I,I,I,I,I,f]", (json_int_t)c->documents, (json_int_t)c->tokens,
                     (json_int_t)c->text_bytes, (json_int_t)c->left_out, (json_int_t)c->mended,
                     c->spent_s);
}

static int load(struct tally_count *c, const json_t *from)
{
    json_int_t n[5];
    if (json_unpack((json_t *)from, "[I,I,I,I,I,F]", &n[0], &n[1], &n[2], &n[3], &n[4],
                    &c->spent_s))
        return fail("counts are missing");
    c->documents = (uint64_t)n[0];
    c->tokens = (uint64_t)n[1];
    c->text_bytes = (uint64_t)n[2];
    c->left_out = (uint64_t)n[3];
    c->mended = (uint64_t)n[4];
    return 0;
}

json_t *tally_save(const struct tally *t)
{
    json_t *all = json_array();
    size_t used = t->count;
    while (used && !t->file[used - 1].documents && !t->file[used - 1].left_out)
        used--;
    int bad = json_array_append_new(all, save(&t->all));
    for (size_t i = 0; !bad && i < used; i++)
        bad = json_array_append_new(all, save(&t->file[i]));
    if (bad) {
        json_decref(all);
        return NULL;
    }
    return all;
}

int tally_load(struct tally *t, const json_t *saved)
{
    size_t n = json_array_size(saved);
    if (n == 0 || n > t->count + 1 || load(&t->all, json_array_get(saved, 0)))
        return fail("counts are missing");
    for (size_t i = 1; i < n; i++)
        if (load(&t->file[i - 1], json_array_get(saved, i)))
            return -1;
    return 0;
}

/* ---- told --------------------------------------------------------------------------------- */

static double rate(const struct tally_count *c)
{
    return c->spent_s > 0 ? (double)c->text_bytes / 1e6 / c->spent_s : 0;
}

static int tell(json_t *to, const struct tally_count *c)
{
    json_t *o = json_pack("{s:I,s:I,s:I,s:I,s:I,s:f,s:f}", "documents", (json_int_t)c->documents,
                          "tokens", (json_int_t)c->tokens, "text_bytes", (json_int_t)c->text_bytes,
                          "left_out", (json_int_t)c->left_out, "mended", (json_int_t)c->mended,
                          "seconds", c->spent_s, "mb_per_s", rate(c));
    int bad = o ? json_object_update(to, o) : -1;
    json_decref(o);
    return bad ? fail("out of memory") : 0;
}

/* A path that is not UTF-8 shows its other bytes as "?". */
static json_t *path_json(const char *path)
{
    json_t *s = json_string(path);
    char *copy = s ? NULL : strdup(path);
    for (char *p = copy; p && *p; p++)
        *p = (unsigned char)*p < 0x80 ? *p : '?';
    if (copy)
        s = json_string(copy);
    free(copy);
    return s;
}

int tally_report(const struct tally *t, const struct inputs *in, json_t *to)
{
    json_t *files = json_array();
    if (!files || tell(to, &t->all) || json_object_set_new(to, "files", files))
        return fail("out of memory");
    for (size_t i = 0; i < t->count; i++) {
        json_t *f = json_object();
        size_t at = t->first + i;
        if (json_array_append_new(files, f) ||
            json_object_set_new(f, "file", path_json(in->paths[at])) ||
            json_object_set_new(f, "stored_bytes", json_integer((json_int_t)in->bytes[at])) ||
            tell(f, &t->file[i]))
            return fail("out of memory");
    }
    return 0;
}

static void line(const struct tally_count *c, const char *name)
{
    printf("%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%.1f\t%s\n", c->documents,
           c->tokens, c->text_bytes, c->left_out, rate(c), name);
}

void tally_print(const struct tally *t, const struct inputs *in)
{
    puts("documents\ttokens\ttext_bytes\tleft_out\tmb_per_s\tfile");
    for (size_t i = 0; i < t->count; i++)
        line(&t->file[i], in->paths[t->first + i]);
    line(&t->all, "total");
}
