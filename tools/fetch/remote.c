/* remote.c -- where objects come from: Google Cloud Storage or a web server, asked in one way. */
#include "remote.h"
#include "gcs_json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool in_bucket(const char *source)
{
    return !strncmp(source, "gs://", 5);
}

/* ---- calls for bytes ---------------------------------------------------------------------- */

static char *joined(const char *a, const char *b)
{
    char *text;
    if (asprintf(&text, "%s%s", a, b) >= 0)
        return text;
    fail("out of memory");
    return NULL;
}

/* A web server is held to the version by a condition; a weak or missing ETag by the date. */
static char *condition_of(const char *version)
{
    if (!strncmp(version, "etag:", 5))
        return joined("If-Match: ", version + 5);
    return joined("If-Unmodified-Since: ", version + 9);
}

int address_of(struct address *a, const struct remote *r, const struct object *o)
{
    *a = (struct address){0};
    if (in_bucket(o->source)) {
        char *bucket, *name;
        if (gcs_split(o->source, &bucket, &name))
            return -1;
        a->url = gcs_media_url(&r->gcs, bucket, name, *o->version ? o->version : NULL);
        /* Or the server would unpack gzip, and neither ranges nor checksums would hold. */
        a->headers[0] = joined("Accept-Encoding: gzip", "");
        free(bucket);
        free(name);
    } else {
        a->url = joined(o->source, "");
        a->headers[0] = joined("Accept-Encoding: identity", "");
        if (*o->version && !(a->headers[1] = condition_of(o->version)))
            return -1;
    }
    return a->url && a->headers[0] ? 0 : -1;
}

void address_free(struct address *a)
{
    free(a->url);
    free(a->headers[0]);
    free(a->headers[1]);
    *a = (struct address){0};
}

void remote_call(struct http_call *c, const struct remote *r, const struct address *a,
                 const struct object *o)
{
    *c = (struct http_call){
        .url = a->url,
        .name = o->source,
        .headers = {a->headers[0], a->headers[1]},
        .authorised = in_bucket(o->source) && !r->gcs.anonymous,
        .total = o->sized ? (int64_t)o->total : -1,
    };
}

int remote_explain(const struct remote *r, const struct http_call *c, const char *source)
{
    if (in_bucket(source))
        return gcs_explain(&r->gcs, c, source);
    switch (c->head.status) {
    case 401:
    case 403:
        return fail("%s: access is forbidden (status %d): no credentials are sent to web servers; "
                    "use an address that carries its own, such as a signed one",
                    source, c->head.status);
    case 404:
    case 410:
        return fail("%s: not there (status %d); try the address in a browser", source,
                    c->head.status);
    case 412:
        return fail("%s: replaced on the server meanwhile; run the same command again", source);
    default:
        return fail("%s: %s", source, why());
    }
}

bool remote_is_gone(const struct http_call *c, const struct object *o)
{
    return *o->version && (c->head.status == 404 || c->head.status == 412 || c->head.status == 416);
}

/* ---- metadata ----------------------------------------------------------------------------- */

void remote_object(struct object *o, const char *bucket, const struct gcs_item *item)
{
    *o = (struct object){
        .version = object_text(item->generation),
        .updated = object_text(item->updated),
        .size = item->size,
        .total = item->size,
        .sized = true,
        .ranges = true,
        .has_crc32c = item->has_crc32c,
        .crc32c = item->crc32c,
        .gzip = item->gzip,
    };
    char *source = joined("gs://", bucket), *slash = source ? joined(source, "/") : NULL;
    o->source = slash ? joined(slash, item->name) : NULL;
    free(source);
    free(slash);
}

struct look {
    struct http_call call;
    struct object *object;
    char *url;
    bool ended;
    int status;
    char sentence[1024];
};

static void look_done(struct http_call *c, int status)
{
    struct look *l = c->self;
    l->ended = true;
    l->status = status;
    if (status)
        strncpy(l->sentence, why(), sizeof l->sentence - 1);
}

/* One byte is asked for; a server without ranges sends all, of which nothing is taken. */
static int look_no_further(struct http_call *c, const void *data, size_t bytes)
{
    (void)data, (void)bytes;
    return c->head.status == 206 ? 0 : fail("enough");
}

static int look_begin(const struct remote *r, struct look *l)
{
    char *bucket, *name;
    l->call = (struct http_call){.name = l->object->source, .done = look_done, .self = l};
    if (in_bucket(l->object->source)) {
        if (gcs_split(l->object->source, &bucket, &name))
            return -1;
        l->url = gcs_object_url(&r->gcs, bucket, name);
        free(bucket);
        free(name);
        l->call.authorised = !r->gcs.anonymous;
    } else {
        l->url = joined(l->object->source, "");
        l->call.body = look_no_further;
        l->call.headers[0] = "Accept-Encoding: identity";
        l->call.headers[1] = "Range: bytes=0-0";
    }
    l->call.url = l->url;
    return l->url ? http_start(r->http, &l->call) : -1;
}

static int take_bucket(struct look *l)
{
    struct gcs_page page;
    struct object o;
    char *bucket, *name;
    if (gcs_item_read(&page, l->call.text ? l->call.text : "", l->call.text_bytes))
        return fail("%s: %s", l->object->source, why());
    if (gcs_split(l->object->source, &bucket, &name))
        return -1;
    remote_object(&o, bucket, page.items);
    free(bucket);
    free(name);
    gcs_page_close(&page);
    free(o.source);
    o.source = l->object->source;
    *l->object = o;
    return 0;
}

static void take_web(struct look *l)
{
    const struct http_head *h = &l->call.head;
    struct object *o = l->object;
    bool strong = h->etag[0] == '"';
    char *version = strong ? joined("etag:", h->etag)
                           : (*h->modified ? joined("modified:", h->modified) : joined("", ""));
    int64_t total = h->status == 200 ? h->length : h->total;
    o->version = version ? version : object_text("");
    o->updated = object_text("");
    o->ranges = h->status == 206 && total > 0 && !h->ranges_refused;
    o->sized = total >= 0;
    o->size = o->total = total >= 0 ? (uint64_t)total : 0;
    o->gzip = h->gzip;
    o->has_crc32c = h->has_crc32c;
    o->crc32c = h->crc32c;
}

static int look_end(const struct remote *r, struct look *l)
{
    const struct http_head *h = &l->call.head;
    if (!l->url)
        return fail("%s", l->sentence);
    if (in_bucket(l->object->source)) {
        if (!l->status)
            return take_bucket(l);
        fail("%s", l->sentence);
        return gcs_explain(&r->gcs, &l->call, l->object->source);
    }
    /* An object without bytes has no byte 0: 416 and a total of 0. */
    if (h->status == 200 || h->status == 206 || (h->status == 416 && h->total == 0)) {
        take_web(l);
        return 0;
    }
    fail("%s", l->sentence);
    return remote_explain(r, &l->call, l->object->source);
}

int remote_look(const struct remote *r, struct object *objects, int count,
                void (*failed)(void *self, int index), void *self)
{
    struct look *looks = calloc((size_t)count + 1, sizeof *looks);
    int stop = looks ? 0 : fail("out of memory");
    for (int i = 0; !stop && i < count; i++) {
        looks[i].object = &objects[i];
        if (look_begin(r, &looks[i]))
            look_done(&looks[i].call, -1);
    }
    for (int i = 0; looks && i < count; i++) {
        while (!stop && !looks[i].ended) {
            http_step(r->http, 1);
            if (http_is_interrupted(r->http))
                stop = fail("interrupted");
        }
        if (!stop && look_end(r, &looks[i])) {
            bool refused = in_bucket(objects[i].source) && gcs_is_refusal(&looks[i].call);
            if (refused)
                stop = -1;
            else
                failed(self, i);
        }
    }
    for (int i = 0; looks && i < count; i++) {
        http_stop(r->http, &looks[i].call);
        http_free(&looks[i].call);
        free(looks[i].url);
    }
    free(looks);
    return stop;
}
