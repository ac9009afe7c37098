/* gcs_key.h -- the JSON files that hold credentials, and the signed request made of a key. */
#ifndef GCS_KEY_H
#define GCS_KEY_H

#include "err.h"

#include <stddef.h>
#include <stdint.h>

enum gcs_key_kind { GCS_KEY_NONE, GCS_KEY_SERVICE_ACCOUNT, GCS_KEY_AUTHORIZED_USER };

/* Owned texts; what a kind does not have is NULL. Zero means closed. */
struct gcs_key {
    enum gcs_key_kind kind;
    char *token_uri;
    char *email, *private_key, *private_key_id;      /* service_account */
    char *client_id, *client_secret, *refresh_token; /* authorized_user */
    char *quota_project;                             /* may be NULL in both */
};

/* Read a key from the text of its file. -1 with why(), which quotes nothing of it but its type. */
must_check int gcs_key_read(struct gcs_key *k, const char *text, size_t bytes);
void gcs_key_close(struct gcs_key *k); /* wipes the secrets; harmless when closed */

/* The body of the request for a token, ready to be posted to token_uri: for a service account a
   JWT signed with RS256 for reading storage, good for an hour from `now`. NULL with why(); the
   caller frees it with gcs_key_forget. */
char *gcs_key_request(const struct gcs_key *k, int64_t now);

/* Wipe and free a secret text; harmless with NULL. */
void gcs_key_forget(char *secret);

#endif
