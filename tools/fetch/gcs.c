/* gcs.c -- Google Cloud Storage: names, addresses, and what its refusals mean. */
#include "gcs.h"
#include "gcs_json.h"
#include "journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names -------------------------------------------------------------------------------- */

int gcs_split(const char *url, char **bucket, char **object)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-_.";
    *bucket = *object = NULL;
    if (strncmp(url, "gs://", 5))
        return fail("%s: expected gs://BUCKET/OBJECT", url);
    size_t n = strcspn(url + 5, "/");
    if (n < 3 || n > 222 || strspn(url + 5, letters) < n)
        return fail("%s: '%.*s' is not the name of a bucket: 3 to 222 small letters, digits, "
                    "dashes, underscores and dots",
                    url, (int)(n < 80 ? n : 80), url + 5);
    *bucket = strndup(url + 5, n);
    *object = strdup(url[5 + n] ? url + 6 + n : "");
    if (*bucket && *object)
        return 0;
    free(*bucket);
    free(*object);
    *bucket = *object = NULL;
    return fail("out of memory");
}

/* ---- addresses ---------------------------------------------------------------------------- */

/* "&name=value", or "" where value is NULL; NULL: no memory. */
static char *parameter(const char *name, const char *value)
{
    char *encoded = value ? percent_encode(value) : NULL, *to = NULL;
    if (!value)
        return strdup("");
    if (encoded && asprintf(&to, "&%s=%s", name, encoded) < 0)
        to = NULL;
    free(encoded);
    return to;
}

static char *object_url(const struct gcs *g, const char *bucket, const char *object,
                        const char *query, const char *generation)
{
    char *name = percent_encode(object), *url = NULL;
    char *payer = parameter("userProject", g->project);
    char *pinned = parameter("generation", generation);
    if (!name || !payer || !pinned ||
        asprintf(&url, "%s/storage/v1/b/%s/o/%s?%s%s%s", g->endpoint, bucket, name, query, pinned,
                 payer) < 0) {
        url = NULL;
        fail("out of memory");
    }
    free(name);
    free(payer);
    free(pinned);
    return url;
}

char *gcs_object_url(const struct gcs *g, const char *bucket, const char *object)
{
    return object_url(g, bucket, object,
                      "fields=name,size,generation,crc32c,contentEncoding,updated", NULL);
}

char *gcs_media_url(const struct gcs *g, const char *bucket, const char *object,
                    const char *generation)
{
    return object_url(g, bucket, object, "alt=media", generation);
}

char *gcs_list_url(const struct gcs *g, const char *bucket, const char *prefix,
                   const char *delimiter, const char *token)
{
    char *below = parameter("prefix", *prefix ? prefix : NULL), *url = NULL;
    char *level = parameter("delimiter", delimiter), *page = parameter("pageToken", token);
    char *payer = parameter("userProject", g->project);
    if (!below || !level || !page || !payer ||
        asprintf(&url,
                 "%s/storage/v1/b/%s/o?maxResults=1000&fields=items(name,size,generation,crc32c,"
                 "contentEncoding,updated),prefixes,nextPageToken%s%s%s%s",
                 g->endpoint, bucket, below, level, page, payer) < 0) {
        url = NULL;
        fail("out of memory");
    }
    free(below);
    free(level);
    free(page);
    free(payer);
    return url;
}

/* ---- what refusals mean ------------------------------------------------------------------- */

static bool wants_project(const char *message)
{
    return strstr(message, "requester pays") || strstr(message, "UserProjectMissing");
}

bool gcs_is_refusal(const struct http_call *c)
{
    const char *text = c->text ? c->text : "";
    return c->head.status == 401 || (c->head.status == 400 && wants_project(text)) ||
           (c->head.status == 403 && strstr(text, "serviceusage.services.use"));
}

/* Who the server says is calling, as a policy names it: the first word of its message when that
   is an address. */
static void member_of(char *to, size_t room, const struct gcs_error *e)
{
    size_t n = strcspn(e->message, " ");
    if (!memchr(e->message, '@', n))
        snprintf(to, room, "user:YOUR_ADDRESS");
    else
        snprintf(to, room, "%s:%.*s",
                 strstr(e->message, "gserviceaccount.com") ? "serviceAccount" : "user", (int)n,
                 e->message);
}

static int no_project(const struct gcs *g, const char *name)
{
    if (g->anonymous)
        return fail("%s: a requester-pays bucket: who reads it pays, so it cannot be read without "
                    "credentials; run: gcloud auth application-default login, then: ttt-fetch "
                    "--project=%s %s",
                    name, g->suggested, g->again);
    return fail("%s: a requester-pays bucket: who reads it pays for the traffic, so it has to be "
                "told a project to bill; run: ttt-fetch --project=%s %s",
                name, g->suggested, g->again);
}

static int unauthorised(const struct gcs *g, const char *name, const struct gcs_error *e)
{
    if (g->anonymous)
        return fail("%s: not open to everybody: it needs credentials%s%s; run: gcloud auth "
                    "application-default login, then the same command without --anonymous",
                    name, *e->message ? ": " : "", e->message);
    return fail("%s: the credentials of %s were refused%s%s; run: gcloud auth application-default "
                "login, then: ttt-fetch %s",
                name, g->caller, *e->message ? ": " : "", e->message, g->again);
}

static int forbidden(const struct gcs *g, const char *name, const struct gcs_error *e)
{
    char member[160], bucket[230];
    member_of(member, sizeof member, e);
    snprintf(bucket, sizeof bucket, "%.*s", (int)(5 + strcspn(name + 5, "/")), name);
    if (strstr(e->message, "serviceusage.services.use"))
        return fail("%s: project %s may not be billed by this caller: the role Service Usage "
                    "Consumer is missing; run: gcloud projects add-iam-policy-binding %s "
                    "--member=%s --role=roles/serviceusage.serviceUsageConsumer",
                    name, g->project ? g->project : "YOUR_PROJECT",
                    g->project ? g->project : "YOUR_PROJECT", member);
    if (strstr(e->message, "storage.objects."))
        return fail("%s: the role Storage Object Viewer is missing (%s); who owns the bucket can "
                    "run: gcloud storage buckets add-iam-policy-binding %s --member=%s "
                    "--role=roles/storage.objectViewer",
                    name, e->message, bucket, member);
    return fail("%s: access is forbidden: %s", name,
                *e->message ? e->message : "the server does not say why");
}

int gcs_explain(const struct gcs *g, const struct http_call *c, const char *name)
{
    struct gcs_error e;
    int status = c->head.status;
    if (status < 300) /* no answer, or one that could not be used: the call said why */
        return fail("%s: %s", name, why());
    gcs_error_read(&e, c->text ? c->text : "", c->text_bytes);
    if (status == 400 && wants_project(e.message))
        return no_project(g, name);
    if (status == 401)
        return unauthorised(g, name, &e);
    if (status == 403)
        return forbidden(g, name, &e);
    if (status == 404)
        return fail("%s: not there; to see what is, run: ttt-fetch --list '%.*s'", name,
                    (int)(strrchr(name + 5, '/') ? strrchr(name, '/') + 1 - name
                                                 : (long)strlen(name)),
                    name);
    if (status == 412)
        return fail("%s: replaced in the bucket meanwhile; run the same command again", name);
    if (status == 416)
        return fail("%s: shorter in the bucket than it was; run the same command again", name);
    return fail("%s: %s%s%s", name, why(), *e.message ? ": " : "", e.message);
}
