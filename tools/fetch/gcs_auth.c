/* gcs_auth.c -- where the right to read comes from, and tokens that are fresh. */
#include "gcs_auth.h"
#include "file.h"
#include "gcs_json.h"
#include "localname.h"
#include "place.h"
#include "report.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { MAX_TOKEN_BYTES = 16 << 10 };
static const double RENEW_BEFORE_S = 300, COMMAND_TOKEN_S = 1800;

/* ---- finding ------------------------------------------------------------------------------ */

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static int call_it(struct gcs_auth *a, const char *what, const char *name)
{
    if (asprintf(&a->called, "%s%s", what, name) < 0) {
        a->called = NULL;
        return fail("out of memory");
    }
    a->caller = a->called;
    return 0;
}

static int use_key(struct gcs_auth *a, const char *path)
{
    struct map m;
    if (map_open(&m, path))
        return -1;
    int status = gcs_key_read(&a->key, (const char *)m.data, m.bytes);
    map_close(&m);
    if (status)
        return fail("%s: %s", path, why());
    if (strncmp(a->key.token_uri, "https://", 8) && !place_is_loopback(a->key.token_uri))
        return fail("%s: its token_uri is %s, but secrets are sent over https:// only", path,
                    localname_show(a->key.token_uri));
    a->kind = AUTH_KEY;
    return call_it(a, "the key ", path);
}

/* A token is one line of printable characters; anything else must not reach a header. */
static bool is_token(const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        if (!isgraph((unsigned char)text[i]))
            return false;
    return n > 0 && n < MAX_TOKEN_BYTES;
}

static int use_token(struct gcs_auth *a, const char *name, const char *token)
{
    if (!is_token(token))
        return fail("%s: does not hold a token", name);
    a->token = strdup(token);
    if (!a->token)
        return fail("out of memory");
    a->kind = AUTH_TOKEN;
    a->renew_s = 1e300;
    return call_it(a, "the token in ", name);
}

/* gcloud's file, where there is one: its path, to be freed. */
static char *default_file(void)
{
    const char *config = variable("CLOUDSDK_CONFIG"), *home = variable("HOME");
    static const char name[] = "application_default_credentials.json";
    char *path = NULL;
    int n = config ? asprintf(&path, "%s/%s", config, name)
            : home ? asprintf(&path, "%s/.config/gcloud/%s", home, name)
                   : -1;
    if (n >= 0 && !access(path, R_OK))
        return path;
    free(n >= 0 ? path : NULL);
    return NULL;
}

static int fetch_token(struct gcs_auth *a);

static int use_metadata(struct gcs_auth *a)
{
    const char *host = variable("GCE_METADATA_HOST");
    if (asprintf(&a->url, "http://%s/computeMetadata/v1/instance/service-accounts/default/token",
                 host ? host : "metadata.google.internal") < 0) {
        a->url = NULL;
        return fail("out of memory");
    }
    a->kind = AUTH_METADATA;
    a->caller = "this machine's service account";
    struct http patient = a->http;
    a->http.retries = 0;
    a->http.timeout_s = 3;
    int status = fetch_token(a);
    a->http.retries = patient.retries;
    a->http.timeout_s = patient.timeout_s;
    if (status && host)
        return -1;
    if (status)
        return fail("no credentials: no key, no token, no gcloud login and no Google machine; run: "
                    "gcloud auth application-default login, or name a key with --key, or add "
                    "--anonymous where the data is open to everybody");
    return 0;
}

static int find(struct gcs_auth *a, const char *key_file, const char *token_command)
{
    static const char *const tokens[] = {"GCS_OAUTH_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN"};
    const char *named = variable("GOOGLE_APPLICATION_CREDENTIALS");
    if (*token_command) {
        a->kind = AUTH_COMMAND;
        a->command = token_command;
        a->caller = "the token command";
        return 0;
    }
    if (*key_file)
        return use_key(a, key_file);
    for (size_t i = 0; i < 2; i++)
        if (variable(tokens[i]))
            return use_token(a, tokens[i], variable(tokens[i]));
    if (named)
        return use_key(a, named);
    char *path = default_file();
    if (!path)
        return use_metadata(a);
    int status = use_key(a, path);
    free(path);
    return status;
}

int gcs_auth_open(struct gcs_auth *a, const char *key_file, const char *token_command,
                  double timeout_s)
{
    *a = (struct gcs_auth){
        .http = {.retries = 5, .retry_delay_s = 1, .timeout_s = timeout_s, .connections = 1}};
    if (!http_open(&a->http) && !find(a, key_file, token_command))
        return 0;
    gcs_auth_close(a);
    return -1;
}

void gcs_auth_close(struct gcs_auth *a)
{
    http_close(&a->http);
    gcs_key_close(&a->key);
    gcs_key_forget(a->token);
    free(a->called);
    free(a->url);
    *a = (struct gcs_auth){0};
}

/* ---- tokens ------------------------------------------------------------------------------- */

/* {"access_token": "...", "expires_in": 3599} */
static int take_answer(struct gcs_auth *a, const struct http_call *c)
{
    json_t *root = json_loadb(c->text ? c->text : "", c->text_bytes, 0, NULL);
    const char *token = json_string_value(json_object_get(root, "access_token"));
    double life_s = json_number_value(json_object_get(root, "expires_in"));
    int status = 0;
    if (!token || !is_token(token))
        status = fail("%s: the server's answer holds no access_token", a->caller);
    else {
        gcs_key_forget(a->token);
        a->token = strdup(token);
        /* A token of a short life must still be used for some of it. */
        double early_s = life_s > 2 * RENEW_BEFORE_S ? RENEW_BEFORE_S : life_s / 2;
        a->renew_s = now_s() + (life_s > 0 ? life_s - early_s : 0);
        status = a->token ? 0 : fail("out of memory");
    }
    json_decref(root);
    return status;
}

static int ask(struct gcs_auth *a, struct http_call *c)
{
    int status = http_run(&a->http, c);
    if (!status)
        status = take_answer(a, c);
    else if (c->head.status >= 400) {
        struct gcs_error e;
        gcs_error_read(&e, c->text ? c->text : "", c->text_bytes);
        fail("%s: no token: status %d%s%s%s%s", a->caller, c->head.status, *e.reason ? ": " : "",
             e.reason, *e.message ? ": " : "", e.message);
    } else
        fail("%s: no token: %s", a->caller, why());
    if (c->text)
        explicit_bzero(c->text, c->text_bytes);
    http_free(c);
    return status;
}

static int ask_key(struct gcs_auth *a)
{
    char *post = gcs_key_request(&a->key, (int64_t)time(NULL));
    if (!post)
        return fail("%s: %s", a->caller, why());
    struct http_call c = {.url = a->key.token_uri, .post = post};
    int status = ask(a, &c);
    gcs_key_forget(post);
    return status;
}

static int run_command(struct gcs_auth *a)
{
    char line[MAX_TOKEN_BYTES + 2] = {0};
    fflush(NULL);
    FILE *out = popen(a->command, "r");
    if (!out)
        return fail("%s: cannot be run", a->caller);
    bool read = fgets(line, sizeof line, out) != NULL;
    int status = pclose(out);
    line[strcspn(line, "\r\n")] = 0;
    if (status || !read || !is_token(line))
        status = fail("%s '%s' %s", a->caller, a->command,
                      status ? "failed" : "did not print a token on its first line");
    else {
        gcs_key_forget(a->token);
        a->token = strdup(line);
        a->renew_s = now_s() + COMMAND_TOKEN_S;
        status = a->token ? 0 : fail("out of memory");
    }
    explicit_bzero(line, sizeof line);
    return status;
}

static int fetch_token(struct gcs_auth *a)
{
    if (a->kind == AUTH_KEY)
        return ask_key(a);
    if (a->kind == AUTH_COMMAND)
        return run_command(a);
    if (a->kind == AUTH_METADATA) {
        struct http_call c = {.url = a->url,
                              .headers = {"Metadata-Flavor: Google"},
                              .direct = true};
        return ask(a, &c);
    }
    return 0; /* a token from outside cannot be renewed: the next refusal is final */
}

int gcs_auth_bearer(void *self, const char *refused, const char **token)
{
    struct gcs_auth *a = self;
    bool stale = !a->token || now_s() >= a->renew_s;
    if (refused)
        stale = a->token && !strcmp(refused, a->token); /* another call may have renewed it */
    if (stale && fetch_token(a))
        return -1;
    *token = a->token;
    return 0;
}
