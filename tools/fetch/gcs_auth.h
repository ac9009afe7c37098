/* gcs_auth.h -- where the right to read comes from, and tokens that are fresh. */
#ifndef GCS_AUTH_H
#define GCS_AUTH_H

#include "err.h"
#include "gcs_key.h"
#include "http.h"

#include <stdbool.h>

/* Credentials, looked for in this order: --token-command, --key, the tokens in GCS_OAUTH_TOKEN and
   CLOUDSDK_AUTH_ACCESS_TOKEN, the file that GOOGLE_APPLICATION_CREDENTIALS names, gcloud's
   application default credentials, the metadata server of a Google machine. Zero means closed. */
struct gcs_auth {
    enum { AUTH_NONE, AUTH_TOKEN, AUTH_COMMAND, AUTH_KEY, AUTH_METADATA } kind;
    const char *caller;  /* for sentences: "the key FILE" */
    char *called;        /* owned text of caller, or NULL */
    const char *command; /* borrowed */
    struct gcs_key key;
    char *url;        /* of the metadata server; owned */
    char *token;      /* owned */
    double renew_s;   /* on now_s' clock; tokens are renewed from then on */
    struct http http; /* of its own, so that a token can be asked for amid other calls */
};

/* Find credentials. key_file and token_command may be "" for none. Nothing is asked of a server
   but, when all else is missing, whether there is a metadata server. -1 with why(). */
must_check int gcs_auth_open(struct gcs_auth *a, const char *key_file, const char *token_command,
                             double timeout_s);
void gcs_auth_close(struct gcs_auth *a); /* harmless when closed */

/* The bearer of struct http: self is a struct gcs_auth. */
int gcs_auth_bearer(void *self, const char *refused, const char **token);

#endif
