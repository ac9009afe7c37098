/* object.c -- an object to be copied, and a queue of them in a nameless file. */
#include "object.h"
#include "report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

char *object_text(const char *text)
{
    char *copy = strdup(text ? text : "");
    if (!copy)
        die("out of memory");
    return copy;
}

void object_free(struct object *o)
{
    free(o->source);
    free(o->path);
    free(o->version);
    free(o->updated);
    *o = (struct object){0};
}

bool object_is_whole(const struct object *o)
{
    return !o->sized || (o->base == 0 && o->size == o->total);
}

enum { TEXTS = 4 };

int object_put(struct object_queue *q, const struct object *o)
{
    const char *texts[TEXTS] = {o->source, o->path, o->version, o->updated};
    struct object head = *o;
    head.source = head.path = head.version = head.updated = NULL;
    if (!q->file && !(q->file = tmpfile()))
        return fail("no temporary file for the list of objects: %s", strerror(errno));
    bool good = fwrite(&head, sizeof head, 1, q->file) == 1;
    for (int i = 0; i < TEXTS; i++) {
        const char *text = texts[i] ? texts[i] : "";
        uint32_t n = (uint32_t)strlen(text);
        good = good && fwrite(&n, sizeof n, 1, q->file) == 1 && fwrite(text, 1, n, q->file) == n;
    }
    if (!good)
        return fail("the temporary file for the list of objects: %s", strerror(errno));
    q->count++;
    q->bytes += o->sized ? o->size : 0;
    return 0;
}

int object_take(struct object_queue *q, struct object *o)
{
    char **texts[TEXTS] = {&o->source, &o->path, &o->version, &o->updated};
    if (q->taken == q->count)
        return 0;
    if (q->taken == 0)
        rewind(q->file);
    bool good = fread(o, sizeof *o, 1, q->file) == 1;
    for (int i = 0; i < TEXTS; i++)
        *texts[i] = NULL;
    for (int i = 0; i < TEXTS; i++) {
        uint32_t n = 0;
        good = good && fread(&n, sizeof n, 1, q->file) == 1 &&
               (*texts[i] = calloc(1, (size_t)n + 1)) && fread(*texts[i], 1, n, q->file) == n;
    }
    if (good) {
        q->taken++;
        return 1;
    }
    object_free(o);
    return fail("the temporary file for the list of objects cannot be read: %s", strerror(errno));
}

void object_queue_close(struct object_queue *q)
{
    if (q->file)
        fclose(q->file);
    *q = (struct object_queue){0};
}
