/* sink_mds.c -- MosaicML streaming's shards: a sample a document, its ids as bytes.

   A shard is u32 n, then u32 at[n + 1], where each sample begins and the last ends, then the
   columns as JSON, then the samples: u32 bytes, ids. index.json lists the shards. */
#include "sink.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE_LIMIT = 1 << 26 }; /* of a shard, as its own writer has it */

/* What every shard says of its columns; `more` goes in too, and is owned from here on. */
static json_t *columns(json_t *more)
{
    json_t *all = json_pack("{s[s] s[s] s[n] sn ss s[] si si}", "column_encodings", "bytes",
                            "column_names", "tokens", "column_sizes", "compression", "format",
                            "mds", "hashes", "size_limit", SIZE_LIMIT, "version", 2);
    if (more) {
        json_object_update(all, more);
        json_decref(more);
    }
    return all;
}

int sink_mds_open(struct sink *s)
{
    s->sample_room = SIZE_LIMIT / 4;
    s->samples = malloc(s->sample_room);
    if (!s->samples)
        return fail("out of memory");
    return make_dirs(sink_path(s, "%s", ""));
}

static int room(struct sink *s, size_t bytes)
{
    if (s->sample_bytes + bytes <= s->sample_room)
        return 0;
    size_t more = s->sample_bytes + bytes + s->sample_room / 2;
    uint8_t *grown = more < UINT32_MAX ? realloc(s->samples, more) : NULL;
    if (!grown)
        return fail("document %llu is too large for a shard of 4 GB",
                    (unsigned long long)s->documents - 1);
    s->samples = grown;
    s->sample_room = more;
    return 0;
}

static int shard_write(struct sink *s)
{
    uint32_t n = (uint32_t)s->shard_documents;
    if (n == 0)
        return 0;
    json_t *object = columns(NULL);
    char *text = json_dumps(object, JSON_SORT_KEYS);
    json_decref(object);
    if (!text)
        return fail("out of memory");
    size_t text_bytes = strlen(text);
    uint32_t base = (uint32_t)(4 + 4 * ((size_t)n + 1) + text_bytes), at = base;
    int status =
        npy_writer_open_raw(&s->ids, sink_path(s, "/shard.%05zu.mds", s->file_count), NPY_U1);
    if (!status)
        status = npy_writer_put(&s->ids, &n, 4) || npy_writer_put(&s->ids, &at, 4) ? -1 : 0;
    for (uint32_t i = 0; !status && i < n; i++) {
        at = base + s->ends[i];
        status = npy_writer_put(&s->ids, &at, 4);
    }
    if (!status)
        status = npy_writer_put(&s->ids, text, text_bytes) ||
                         npy_writer_put(&s->ids, s->samples, s->sample_bytes)
                     ? -1
                     : 0;
    free(text);
    if (status || sink_file_name(s, &s->ids, "mds", s->shard_tokens, n))
        return -1;
    s->sample_bytes = s->shard_tokens = s->shard_documents = 0;
    return 0;
}

/* A sample lies in the samples with four bytes for its length before it. */
int sink_mds_document(struct sink *s)
{
    size_t begin = s->shard_documents ? s->ends[s->shard_documents - 1] : 0;
    if (s->sample_bytes == begin && room(s, 4))
        return -1; /* no ids came, so nobody made room */
    if (s->sample_bytes == begin)
        s->sample_bytes += 4;
    uint32_t bytes = (uint32_t)(s->sample_bytes - begin - 4);
    memcpy(s->samples + begin, &bytes, 4);
    if (s->shard_documents == s->ends_room) {
        size_t more = s->ends_room ? 2 * s->ends_room : 1024;
        uint32_t *grown = realloc(s->ends, more * sizeof *grown);
        if (!grown)
            return fail("no memory for %zu samples of a shard", more);
        s->ends = grown;
        s->ends_room = more;
    }
    s->ends[s->shard_documents++] = (uint32_t)s->sample_bytes;
    s->shard_tokens += bytes / npy_item_bytes(s->plan.dtype);
    return s->sample_bytes >= SIZE_LIMIT / 4 ? shard_write(s) : 0;
}

int sink_mds_put(struct sink *s, const void *ids, size_t bytes)
{
    size_t begin = s->shard_documents ? s->ends[s->shard_documents - 1] : 0;
    if (room(s, bytes + 4))
        return -1;
    if (s->sample_bytes == begin)
        s->sample_bytes += 4;
    memcpy(s->samples + s->sample_bytes, ids, bytes);
    s->sample_bytes += bytes;
    return 0;
}

int sink_mds_seal(struct sink *s)
{
    json_t *shards = json_array();
    if (shard_write(s)) {
        json_decref(shards);
        return -1;
    }
    for (size_t i = 0; i < s->file_count; i++) {
        const struct sink_file *f = &s->files[i];
        json_t *more = json_pack("{s{ss sI s{}} si sn}", "raw_data", "basename",
                                 strrchr(f->path, '/') + 1, "bytes", (json_int_t)f->bytes, "hashes",
                                 "samples", (int)f->documents, "zip_data");
        json_array_append_new(shards, columns(more));
    }
    json_t *index = json_pack("{so si}", "shards", shards, "version", 2);
    char *text = json_dumps(index, JSON_SORT_KEYS);
    json_decref(index);
    if (!text)
        return fail("out of memory");
    int status = npy_writer_open_raw(&s->index, sink_path(s, "/index.json"), NPY_U1) ||
                         npy_writer_put(&s->index, text, strlen(text)) ||
                         npy_writer_seal(&s->index) ||
                         sink_file_add(s, &s->index, "text", s->tokens, s->documents, false)
                     ? -1
                     : 0;
    free(text);
    return status;
}
