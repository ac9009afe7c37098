/* gcs_json.c -- what Google Cloud Storage answers in JSON: objects, pages of a listing, errors. */
#include "gcs_json.h"
#include "http_head.h"
#include "localname.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *object, const char *member)
{
    return json_string_value(json_object_get(object, member));
}

static bool all_digits(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text);
}

static int item_of(struct gcs_item *item, const json_t *from)
{
    const char *name = text_of(from, "name"), *size = text_of(from, "size");
    const char *crc = text_of(from, "crc32c"), *encoding = text_of(from, "contentEncoding");
    const char *generation = text_of(from, "generation"), *updated = text_of(from, "updated");
    json_t *number = json_object_get(from, "size");
    char digits[32];
    *item = (struct gcs_item){.name = name};
    if (!name || !*name)
        return fail("an object without a name");
    if (json_is_integer(number) && json_integer_value(number) >= 0) {
        snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(number));
        size = digits;
    }
    if (!size || !all_digits(size) || strlen(size) > 18)
        return fail("an object with a size of '%.40s'", size ? size : "nothing");
    item->size = strtoull(size, NULL, 10);
    item->generation = generation ? generation : "";
    if (*item->generation && (!all_digits(generation) || strlen(generation) > 20))
        return fail("an object with a generation of '%.40s'", generation);
    item->updated = updated ? updated : "";
    item->has_crc32c = crc && http_head_crc32c(&item->crc32c, crc, strlen(crc));
    item->gzip = encoding && !strcmp(encoding, "gzip");
    return 0;
}

static int parse(struct gcs_page *p, const char *text, size_t bytes)
{
    json_error_t e;
    *p = (struct gcs_page){0};
    p->root = json_loadb(text, bytes, 0, &e);
    if (p->root && json_is_object(p->root))
        return 0;
    if (p->root)
        fail("the server's answer is not a JSON object");
    else
        fail("the server's answer is not JSON: byte %d: %s", e.position, e.text);
    gcs_page_close(p);
    return -1;
}

static int fill(struct gcs_page *p)
{
    json_t *items = json_object_get(p->root, "items"), *value;
    json_t *folders = json_object_get(p->root, "prefixes");
    if ((items && !json_is_array(items)) || (folders && !json_is_array(folders)))
        return fail("the server's listing has items or prefixes that are no lists");
    p->items = calloc(json_array_size(items) + 1, sizeof *p->items);
    p->folders = calloc(json_array_size(folders) + 1, sizeof *p->folders);
    if (!p->items || !p->folders)
        return fail("out of memory");
    size_t i;
    json_array_foreach(items, i, value)
    {
        if (item_of(&p->items[p->item_count], value))
            return fail("item %zu of the server's listing: %s", i, why());
        p->item_count++;
    }
    json_array_foreach(folders, i, value)
    {
        if (!json_is_string(value))
            return fail("prefix %zu of the server's listing is not a text", i);
        p->folders[p->folder_count++] = json_string_value(value);
    }
    p->next = text_of(p->root, "nextPageToken");
    if (p->next && !*p->next)
        p->next = NULL;
    return 0;
}

int gcs_page_read(struct gcs_page *p, const char *text, size_t bytes)
{
    if (parse(p, text, bytes))
        return -1;
    if (!fill(p))
        return 0;
    gcs_page_close(p);
    return -1;
}

int gcs_item_read(struct gcs_page *p, const char *text, size_t bytes)
{
    if (parse(p, text, bytes))
        return -1;
    p->items = calloc(1, sizeof *p->items);
    if (p->items && !item_of(p->items, p->root)) {
        p->item_count = 1;
        return 0;
    }
    if (!p->items)
        fail("out of memory");
    else
        fail("the server tells of %s", why());
    gcs_page_close(p);
    return -1;
}

void gcs_page_close(struct gcs_page *p)
{
    json_decref(p->root);
    free(p->items);
    free(p->folders);
    *p = (struct gcs_page){0};
}

void gcs_error_read(struct gcs_error *e, const char *text, size_t bytes)
{
    *e = (struct gcs_error){{0}, {0}};
    json_t *root = json_loadb(text, bytes, 0, NULL), *error = json_object_get(root, "error");
    const char *message = text_of(error, "message");
    const char *reason = text_of(json_array_get(json_object_get(error, "errors"), 0), "reason");
    /* The token endpoint's form: {"error": "invalid_grant", "error_description": "..."} */
    if (json_is_string(error)) {
        reason = json_string_value(error);
        message = text_of(root, "error_description");
    }
    if (message)
        snprintf(e->message, sizeof e->message, "%s", message);
    else if (bytes && !root)
        snprintf(e->message, sizeof e->message, "%.*s", (int)(bytes < 200 ? bytes : 200), text);
    if (reason)
        snprintf(e->reason, sizeof e->reason, "%s", reason);
    localname_show(e->message);
    localname_show(e->reason);
    json_decref(root);
}
