/* gcs.h -- Google Cloud Storage: names, the addresses of its JSON API, and what its refusals mean.
 */
#ifndef GCS_H
#define GCS_H

#include "err.h"
#include "http.h"

#include <stdbool.h>

/* Where to ask and who pays. Texts are borrowed. */
struct gcs {
    const char *endpoint;  /* "https://storage.googleapis.com", without a slash at the end */
    const char *project;   /* userProject, or NULL */
    const char *suggested; /* what a sentence proposes as a project */
    const char *caller;    /* how the credentials are called in sentences: "key.json", "nobody" */
    bool anonymous;        /* no credentials are sent */
    const char *again;     /* the command of this run, quoted for a shell, without the program */
};

/* Take "gs://bucket[/object]" apart. Both texts are the caller's to free; the object may be "".
   -1 with why(). */
must_check int gcs_split(const char *url, char **bucket, char **object);

/* Addresses; the caller frees them; NULL: no memory (why() is set). Names are percent-encoded,
   slashes too. NULL for delimiter, token and generation leaves them out. */
char *gcs_object_url(const struct gcs *g, const char *bucket, const char *object);
char *gcs_media_url(const struct gcs *g, const char *bucket, const char *object,
                    const char *generation);
char *gcs_list_url(const struct gcs *g, const char *bucket, const char *prefix,
                   const char *delimiter, const char *token);

/* Record why the ended call c about `name` ("gs://...") failed: one sentence, with the command to
   run next where there is one. Returns -1. */
int gcs_explain(const struct gcs *g, const struct http_call *c, const char *name);
/* Whether all further calls would be refused for the same reason: project, credentials, rights. */
bool gcs_is_refusal(const struct http_call *c);

#endif
