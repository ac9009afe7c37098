/* gcs_key.c -- the JSON files that hold credentials. */
#include "gcs_key.h"
#include "localname.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

void gcs_key_forget(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

void gcs_key_close(struct gcs_key *k)
{
    free(k->token_uri);
    free(k->email);
    gcs_key_forget(k->private_key);
    free(k->private_key_id);
    free(k->client_id);
    gcs_key_forget(k->client_secret);
    gcs_key_forget(k->refresh_token);
    free(k->quota_project);
    *k = (struct gcs_key){0};
}

/* A member that has to be there, or may be missing; -1 when it is missing or no text. */
static int take(char **to, const json_t *root, const char *member, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(root, member));
    if (!text || !*text)
        text = otherwise;
    if (!text)
        return fail("it has no \"%s\"", member);
    *to = strdup(text);
    return *to ? 0 : fail("out of memory");
}

static int read_kind(struct gcs_key *k, const json_t *root, const char *type)
{
    static const char google[] = "https://oauth2.googleapis.com/token";
    if (take(&k->token_uri, root, "token_uri", google))
        return -1;
    if (!strcmp(type, "service_account")) {
        k->kind = GCS_KEY_SERVICE_ACCOUNT;
        return take(&k->email, root, "client_email", NULL) ||
                       take(&k->private_key, root, "private_key", NULL) ||
                       take(&k->private_key_id, root, "private_key_id", "")
                   ? -1
                   : 0;
    }
    if (!strcmp(type, "authorized_user")) {
        k->kind = GCS_KEY_AUTHORIZED_USER;
        return take(&k->client_id, root, "client_id", NULL) ||
                       take(&k->client_secret, root, "client_secret", NULL) ||
                       take(&k->refresh_token, root, "refresh_token", NULL) ||
                       take(&k->quota_project, root, "quota_project_id", "")
                   ? -1
                   : 0;
    }
    char shown[64] = {0};
    strncpy(shown, type, sizeof shown - 1);
    return fail("credentials of type \"%s\": this program knows service_account and "
                "authorized_user; for others use --token-command='gcloud auth print-access-token'",
                localname_show(shown));
}

int gcs_key_read(struct gcs_key *k, const char *text, size_t bytes)
{
    json_error_t e;
    *k = (struct gcs_key){0};
    json_t *root = json_loadb(text, bytes, 0, &e);
    const char *type = json_string_value(json_object_get(root, "type"));
    int status;
    if (!root)
        status = fail("not JSON: line %d, column %d", e.line, e.column);
    else if (!type)
        status = fail("not a file of credentials: it has no \"type\"");
    else
        status = read_kind(k, root, type);
    json_decref(root);
    if (status)
        gcs_key_close(k);
    return status;
}
