/* sources.c -- from what a user names to objects: patterns, folders, listings of any length. */
#include "sources.h"
#include "gcs_json.h"
#include "report.h"
#include "wildcard.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 32 }; /* objects asked for by name at a time */

/* What stops everything, apart from what fails one source. */
enum { GOOD = 0, BAD_SOURCE = -1, STOP = -2 };

bool source_is_pattern(const char *source)
{
    return !strncmp(source, "gs://", 5) && source[wildcard_literal(source)] != 0;
}

/* ---- one listing -------------------------------------------------------------------------- */

struct listing {
    struct sources *s;
    const char *bucket, *prefix, *delimiter; /* delimiter NULL: all below the prefix */
    int (*item)(struct listing *l, const struct gcs_item *item);
    int (*folder)(struct listing *l, const char *name); /* "a/b/" */
    const char *pattern; /* for item and folder: from byte `skip` of a name on */
    size_t skip;
};

static int ask_page(struct listing *l, const char *token, struct gcs_page *page)
{
    const struct remote *r = l->s->remote;
    char shown[1400];
    snprintf(shown, sizeof shown, "gs://%s/%s", l->bucket, l->prefix);
    char *url = gcs_list_url(&r->gcs, l->bucket, l->prefix, l->delimiter, token);
    if (!url)
        return STOP;
    struct http_call c = {.url = url, .name = shown, .authorised = !r->gcs.anonymous};
    int status = http_run(r->http, &c) ? BAD_SOURCE : GOOD;
    if (status) {
        if (gcs_is_refusal(&c) || http_is_interrupted(r->http))
            status = STOP;
        if (c.head.status == 404)
            fail("gs://%s: there is no such bucket; check the spelling", l->bucket);
        else
            gcs_explain(&r->gcs, &c, shown);
    } else if (gcs_page_read(page, c.text ? c.text : "", c.text_bytes))
        status = fail("%s: %s", shown, why());
    free(url);
    http_free(&c);
    return status;
}

static int hand_out(struct listing *l, const struct gcs_page *page)
{
    int status = GOOD;
    for (size_t i = 0; !status && i < page->item_count; i++)
        status = l->item(l, &page->items[i]);
    for (size_t i = 0; !status && i < page->folder_count; i++)
        status = l->folder ? l->folder(l, page->folders[i]) : GOOD;
    return status;
}

/* All pages. A server that sends a token a second time would be asked for ever: the token of every
   page whose number is a power of two is kept, so that any circle is met. */
static int list_all(struct listing *l)
{
    char *token = NULL, *kept = NULL;
    int status = GOOD;
    for (uint64_t number = 1; !status; number++) {
        struct gcs_page page;
        status = ask_page(l, token, &page);
        if (status)
            break;
        status = hand_out(l, &page);
        free(token);
        token = page.next ? object_text(page.next) : NULL;
        gcs_page_close(&page);
        if (!token)
            break;
        if (!status && kept && !strcmp(kept, token))
            status = fail("gs://%s/%s: the server's listing goes in a circle: page %llu leads back "
                          "to an earlier one",
                          l->bucket, l->prefix, (unsigned long long)number);
        if ((number & (number - 1)) == 0) {
            free(kept);
            kept = object_text(token);
        }
    }
    free(token);
    free(kept);
    return status;
}

/* ---- what is found ------------------------------------------------------------------------ */

static int offer(struct sources *s, const char *bucket, const struct gcs_item *item,
                 const char *relative)
{
    struct object o;
    remote_object(&o, bucket, item);
    s->matched++;
    int status = o.source ? s->found(s->self, &o, relative) : -1;
    object_free(&o);
    return status ? STOP : GOOD;
}

static const char *last_part(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

static int item_below(struct listing *l, const struct gcs_item *item)
{
    if (strncmp(item->name, l->prefix, strlen(l->prefix)))
        return fail("gs://%s: the server lists %s, which is not below %s", l->bucket, item->name,
                    l->prefix);
    return offer(l->s, l->bucket, item, item->name + l->skip);
}

/* All below "a/b/", laid out under "b/". */
static int below(struct sources *s, const char *bucket, const char *folder)
{
    size_t n = strlen(folder), skip = n ? n - 1 : 0;
    while (skip && folder[skip - 1] != '/')
        skip--;
    struct listing l = {
        .s = s, .bucket = bucket, .prefix = folder, .item = item_below, .skip = skip};
    return list_all(&l);
}

static int item_of_bucket(struct listing *l, const struct gcs_item *item)
{
    char *relative;
    if (asprintf(&relative, "%s/%s", l->bucket, item->name) < 0)
        return STOP;
    int status = offer(l->s, l->bucket, item, relative);
    free(relative);
    return status;
}

/* A folder that was named or matched. */
static int take_folder(struct sources *s, const char *bucket, const char *folder)
{
    char *url;
    if (s->recursive)
        return below(s, bucket, folder);
    if (asprintf(&url, "gs://%s/%s", bucket, folder) < 0)
        return STOP;
    if (s->list)
        s->folder(s->self, url);
    else
        warn("%s: a folder, left out; -r takes folders too", url);
    s->matched += s->list;
    free(url);
    return GOOD;
}

/* ---- patterns, level by level ------------------------------------------------------------- */

static int expand_level(struct sources *s, const char *bucket, const char *done,
                        const char *pattern);

static bool is_placeholder(const char *name)
{
    size_t n = strlen(name);
    return n == 0 || name[n - 1] == '/';
}

static int item_matched(struct listing *l, const struct gcs_item *item)
{
    if (strlen(item->name) < l->skip || is_placeholder(item->name) ||
        !wildcard_match(l->pattern, item->name + l->skip))
        return GOOD;
    return offer(l->s, l->bucket, item, last_part(item->name));
}

static int folder_matched(struct listing *l, const char *folder)
{
    const char *slash = l->pattern + wildcard_literal(l->pattern);
    slash += strcspn(slash, "/");
    size_t n = strlen(folder);
    if (n <= l->skip)
        return GOOD;
    char *level = strndup(l->pattern, (size_t)(slash - l->pattern));
    char *name = strndup(folder + l->skip, n - l->skip - 1);
    int status = GOOD;
    if (!level || !name)
        status = STOP;
    else if (wildcard_match(level, name))
        status = *slash && slash[1] ? expand_level(l->s, l->bucket, folder, slash + 1)
                                    : take_folder(l->s, l->bucket, folder);
    free(level);
    free(name);
    return status;
}

/* `done` is literal and ends with a slash or is empty; the pattern is what follows it. */
static int expand_level(struct sources *s, const char *bucket, const char *done,
                        const char *pattern)
{
    size_t literal = wildcard_literal(pattern);
    bool deep = strstr(pattern, "**") != NULL;
    char *prefix;
    if (asprintf(&prefix, "%s%.*s", done, (int)literal, pattern) < 0)
        return STOP;
    struct listing l = {
        .s = s,
        .bucket = bucket,
        .prefix = prefix,
        .delimiter = deep ? NULL : "/",
        .item = item_matched,
        .folder = deep ? NULL : folder_matched,
        .pattern = pattern,
        .skip = strlen(done),
    };
    int status = list_all(&l);
    free(prefix);
    return status;
}

/* ---- names without a pattern -------------------------------------------------------------- */

/* An object, a folder, or both of one name: a listing knows. */
static int item_named(struct listing *l, const struct gcs_item *item)
{
    return strcmp(item->name, l->pattern) ? GOOD
                                          : offer(l->s, l->bucket, item, last_part(item->name));
}

static int folder_named(struct listing *l, const char *folder)
{
    size_t n = strlen(l->pattern);
    if (strlen(folder) != n + 1 || strncmp(folder, l->pattern, n))
        return GOOD;
    return l->s->list && !l->s->recursive ? expand_level(l->s, l->bucket, folder, "*")
                                          : take_folder(l->s, l->bucket, folder);
}

static int by_listing(struct sources *s, const char *bucket, const char *name)
{
    size_t n = strlen(name);
    if (wildcard_literal(name) < n)
        return expand_level(s, bucket, "", name);
    if (n == 0 && s->recursive) {
        struct listing all = {.s = s, .bucket = bucket, .prefix = "", .item = item_of_bucket};
        return list_all(&all);
    }
    if (n == 0 || name[n - 1] == '/')
        return s->recursive ? below(s, bucket, name) : expand_level(s, bucket, name, "*");
    struct listing l = {.s = s,
                        .bucket = bucket,
                        .prefix = name,
                        .delimiter = "/",
                        .item = item_named,
                        .folder = folder_named,
                        .pattern = name};
    return list_all(&l);
}

/* ---- all sources -------------------------------------------------------------------------- */

static int expand_one(struct sources *s, const char *source)
{
    char *bucket, *name;
    if (gcs_split(source, &bucket, &name))
        return BAD_SOURCE;
    int status = GOOD;
    size_t n = strlen(name);
    s->matched = 0;
    if (!s->recursive && !s->list && !source_is_pattern(source))
        status = fail("%s: a %s; to copy all that is in it run with -r", source,
                      n ? "folder" : "bucket");
    if (!status)
        status = by_listing(s, bucket, name);
    if (!status && s->matched == 0) {
        size_t literal = wildcard_literal(name);
        while (literal && name[literal - 1] != '/')
            literal--;
        status = fail("%s: matches nothing; to see what is there, run: ttt-fetch --list "
                      "'gs://%s/%.*s'",
                      source, bucket, (int)literal, name);
    }
    free(bucket);
    free(name);
    return status;
}

/* Whether one call for its metadata tells all of a source. */
static bool is_exact(const struct sources *s, const char *source)
{
    size_t n = strlen(source);
    if (strncmp(source, "gs://", 5))
        return true;
    return !s->recursive && !s->list && !source_is_pattern(source) && source[n - 1] != '/' &&
           strchr(source + 5, '/');
}

struct batch {
    struct sources *s;
    struct object objects[AT_ONCE];
    bool failed[AT_ONCE];
};

static void look_failed(void *self, int index)
{
    struct batch *b = self;
    b->failed[index] = true;
    b->s->failed(b->s->self);
}

static int take_batch(struct sources *s, char **sources, int count)
{
    struct batch *b = calloc(1, sizeof *b);
    if (!b)
        return fail("out of memory");
    b->s = s;
    for (int i = 0; i < count; i++)
        b->objects[i].source = object_text(sources[i]);
    int status = remote_look(s->remote, b->objects, count, look_failed, b);
    for (int i = 0; i < count; i++) {
        if (!status && !b->failed[i]) {
            /* What follows a question mark is not part of a web file's name. */
            bool web = strncmp(sources[i], "gs://", 5) != 0;
            char *path = strndup(sources[i], web ? strcspn(sources[i], "?#") : strlen(sources[i]));
            status = path ? s->found(s->self, &b->objects[i], last_part(path)) : -1;
            free(path);
        }
        object_free(&b->objects[i]);
    }
    free(b);
    return status;
}

/* Names that one call each tells all of, until they are asked for together. */
struct waiting {
    char *names[AT_ONCE]; /* owned */
    int count;
};

static int flush(struct sources *s, struct waiting *w)
{
    int status = w->count ? take_batch(s, w->names, w->count) : 0;
    while (w->count)
        free(w->names[--w->count]);
    return status ? STOP : GOOD;
}

static int take_name(struct sources *s, struct waiting *w, char *name)
{
    if (is_exact(s, name)) {
        w->names[w->count++] = name;
        return w->count == AT_ONCE ? flush(s, w) : GOOD;
    }
    int status = flush(s, w);
    if (!status)
        status = expand_one(s, name);
    free(name);
    return status;
}

int sources_expand(struct sources *s)
{
    struct waiting w = {0};
    int status = GOOD, got;
    do {
        char *name;
        got = s->next(s->next_self, &name);
        status = got > 0 ? take_name(s, &w, name) : got;
        if (status == BAD_SOURCE)
            s->failed(s->self);
    } while (got && status != STOP);
    if (status != STOP)
        status = flush(s, &w);
    while (w.count)
        free(w.names[--w.count]);
    return status == STOP ? -1 : 0;
}
