/* keep.c -- what a program keeps beside its output. */
#include "keep.h"

#include "file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC "TTT.STATE 1\n"

int keep_open(struct keep *k, const char *out, uint64_t job)
{
    *k = (struct keep){0};
    snprintf(k->job, sizeof k->job, "%016" PRIx64, job);
    if (asprintf(&k->state, "%s.state", out) < 0)
        k->state = NULL;
    if (asprintf(&k->record, "%s.json", out) < 0)
        k->record = NULL;
    return k->state && k->record ? 0 : fail("out of memory");
}

void keep_close(struct keep *k)
{
    free(k->state);
    free(k->record);
    *k = (struct keep){0};
}

/* ---- the state ---------------------------------------------------------------------------- */

static int put(struct writer *w, XXH3_state_t *hash, const void *data, size_t bytes)
{
    XXH3_64bits_update(hash, data, bytes);
    return writer_put(w, data, bytes);
}

int keep_save(const struct keep *k, json_t *facts, const void *data, size_t bytes)
{
    struct writer w;
    char *text = NULL;
    XXH3_state_t *hash = XXH3_createState();
    if (hash && !json_object_set_new(facts, "job", json_string(k->job)))
        text = json_dumps(facts, JSON_COMPACT);
    int status = text ? 0 : fail("%s: out of memory", k->state);
    if (!status && !(status = writer_resume(&w, k->state, 0))) {
        XXH3_64bits_reset(hash);
        status = put(&w, hash, MAGIC, strlen(MAGIC)) || put(&w, hash, text, strlen(text)) ||
                         put(&w, hash, "\n", 1) || put(&w, hash, data, bytes)
                     ? -1
                     : 0;
        uint64_t sum = XXH3_64bits_digest(hash);
        if (!status)
            status = writer_put(&w, &sum, sizeof sum);
        if (status)
            writer_abandon(&w);
        else
            status = writer_commit(&w);
    }
    free(text);
    XXH3_freeState(hash);
    return status;
}

/* The parts of a state file: 1, or 0 when it is not whole or another job's. */
static int take_apart(const struct keep *k, const struct map *m, json_t **facts, uint8_t **data,
                      size_t *bytes)
{
    size_t head = strlen(MAGIC);
    if (m->bytes < head + 8 || memcmp(m->data, MAGIC, head) ||
        le64(m->data + m->bytes - 8) != XXH3_64bits(m->data, m->bytes - 8))
        return 0;
    const uint8_t *begin = m->data + head, *end = m->data + m->bytes - 8;
    const uint8_t *lf = memchr(begin, '\n', (size_t)(end - begin));
    json_t *all = lf ? json_loadb((const char *)begin, (size_t)(lf - begin), 0, NULL) : NULL;
    const char *job = json_string_value(json_object_get(all, "job"));
    *bytes = lf ? (size_t)(end - lf - 1) : 0;
    *data = malloc(*bytes + 1);
    if (!job || strcmp(job, k->job) || !*data) {
        json_decref(all);
        free(*data);
        return 0;
    }
    memcpy(*data, lf + 1, *bytes);
    *facts = all;
    return 1;
}

int keep_load(const struct keep *k, json_t **facts, uint8_t **data, size_t *bytes)
{
    struct map m;
    struct stat st;
    if (stat(k->state, &st))
        return errno == ENOENT ? 0 : fail("%s: %s", k->state, strerror(errno));
    if (map_open(&m, k->state))
        return -1;
    int got = take_apart(k, &m, facts, data, bytes);
    map_close(&m);
    return got;
}

void keep_forget(const struct keep *k)
{
    if (k->state)
        unlink(k->state);
}

/* ---- the record --------------------------------------------------------------------------- */

int keep_json(const char *path, const json_t *facts)
{
    struct writer w;
    char *text = json_dumps(facts, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    if (!text)
        return fail("%s: out of memory", path);
    int status = writer_open(&w, path);
    if (!status) {
        if (writer_put(&w, text, strlen(text)) || writer_put(&w, "\n", 1)) {
            writer_abandon(&w);
            status = -1;
        } else
            status = writer_commit(&w);
    }
    free(text);
    return status;
}

int keep_finish(const struct keep *k, json_t *facts)
{
    if (json_object_set_new(facts, "job", json_string(k->job)))
        return fail("%s: out of memory", k->record);
    return keep_json(k->record, facts);
}

json_t *keep_finished(const struct keep *k, const char *out)
{
    struct stat st;
    json_t *all = json_load_file(k->record, 0, NULL);
    const char *job = json_string_value(json_object_get(all, "job"));
    if (job && !strcmp(job, k->job) && !stat(out, &st) &&
        json_integer_value(json_object_get(all, "out_bytes")) == (json_int_t)st.st_size)
        return all;
    json_decref(all);
    return NULL;
}
