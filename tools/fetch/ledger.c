/* ledger.c -- --manifest: a JSON line for every object, whatever became of it. */
#include "ledger.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

int ledger_open(struct ledger *l, const char *path)
{
    *l = (struct ledger){0};
    if (!*path)
        return 0;
    l->open = true;
    return writer_open(&l->writer, path);
}

int ledger_line(struct ledger *l, const struct object *o, const char *result)
{
    char crc[9];
    if (!l->open)
        return 0;
    snprintf(crc, sizeof crc, "%08" PRIx32, o->crc32c);
    json_t *line = json_pack("{s:s, s:s, s:s}", "source", o->source, "path", o->path ? o->path : "",
                             "result", result);
    if (line && o->sized)
        json_object_set_new(line, "bytes", json_integer((json_int_t)o->size));
    if (line && o->has_crc32c && object_is_whole(o))
        json_object_set_new(line, "crc32c", json_string(crc));
    if (line && o->version && *o->version)
        json_object_set_new(line, "generation", json_string(o->version));
    char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    int status = text ? writer_put(&l->writer, text, strlen(text)) : fail("out of memory");
    if (!status)
        status = writer_put(&l->writer, "\n", 1);
    free(text);
    json_decref(line);
    return status;
}

int ledger_close(struct ledger *l)
{
    if (!l->open)
        return 0;
    l->open = false;
    return writer_commit(&l->writer);
}
