/* remote.h -- where objects come from: Google Cloud Storage or a web server, asked in one way. */
#ifndef REMOTE_H
#define REMOTE_H

#include "gcs.h"
#include "http.h"
#include "object.h"

/* Everything that is needed to ask. Borrowed parts. */
struct remote {
    struct gcs gcs;
    struct http *http;
};

/* What one object's calls have in common. Owned texts; zero means none. */
struct address {
    char *url, *headers[2];
};
must_check int address_of(struct address *a, const struct remote *r, const struct object *o);
void address_free(struct address *a);

/* Set what a call for bytes of o needs, but for the range and the callbacks. The address and the
   object outlive the call. */
void remote_call(struct http_call *c, const struct remote *r, const struct address *a,
                 const struct object *o);

/* Record why the ended call about `source` failed. Returns -1. */
int remote_explain(const struct remote *r, const struct http_call *c, const char *source);
/* Whether the ended call says that this version of the object is gone. */
bool remote_is_gone(const struct http_call *c, const struct object *o);

/* Ask for size, version and checksum of objects of which only `source` is set, several at once.
   Failures go to `failed` in order; the others are complete but for `path`. -1 with why() where
   asking further makes no sense: rights, project, credentials. */
must_check int remote_look(const struct remote *r, struct object *objects, int count,
                           void (*failed)(void *self, int index), void *self);

/* Set o from what a listing says of it. */
struct gcs_item;
void remote_object(struct object *o, const char *bucket, const struct gcs_item *item);

#endif
