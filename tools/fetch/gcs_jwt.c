/* gcs_jwt.c -- the request for a token: a signed claim of a service account, or a user's secret. */
#include "gcs_key.h"
#include "journal.h"

#include <jansson.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char scope[] = "https://www.googleapis.com/auth/devstorage.read_only";

/* Base64 with the URL's alphabet and no padding; NULL: no memory. */
static char *base64url(const void *data, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const unsigned char *p = data;
    char *to = malloc(bytes / 3 * 4 + 5), *t = to;
    if (!to)
        return NULL;
    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                     (left > 2 ? p[i + 2] : 0);
        *t++ = digits[v >> 18];
        *t++ = digits[v >> 12 & 63];
        if (left > 1)
            *t++ = digits[v >> 6 & 63];
        if (left > 2)
            *t++ = digits[v & 63];
    }
    *t = 0;
    return to;
}

/* A JSON object as base64url; takes the object over. */
static char *encoded(json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    char *to = text ? base64url(text, strlen(text)) : NULL;
    free(text);
    json_decref(object);
    return to;
}

/* RS256 of text, as base64url; NULL with why(). */
static char *sign(const char *private_key, const char *text)
{
    BIO *bio = BIO_new_mem_buf(private_key, -1);
    /* An encrypted key would make OpenSSL ask the terminal: an empty password answers it. */
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)"") : NULL;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char signature[1024];
    size_t bytes = sizeof signature;
    char *to = NULL;
    if (!key || EVP_PKEY_base_id(key) != EVP_PKEY_RSA)
        fail("its \"private_key\" is not an RSA key in PEM");
    else if (EVP_PKEY_size(key) > (int)sizeof signature)
        fail("its \"private_key\" is too large");
    else if (!context || EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) != 1 ||
             EVP_DigestSign(context, signature, &bytes, (const unsigned char *)text,
                            strlen(text)) != 1)
        fail("its \"private_key\" cannot sign");
    else if (!(to = base64url(signature, bytes)))
        fail("out of memory");
    ERR_clear_error();
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    BIO_free(bio);
    return to;
}

static char *service_account(const struct gcs_key *k, int64_t now)
{
    char *head = encoded(json_pack("{s:s, s:s, s:s*}", "alg", "RS256", "typ", "JWT", "kid",
                                   *k->private_key_id ? k->private_key_id : NULL));
    char *claim =
        encoded(json_pack("{s:s, s:s, s:s, s:I, s:I}", "iss", k->email, "scope", scope, "aud",
                          k->token_uri, "iat", (json_int_t)now, "exp", (json_int_t)now + 3600));
    char *signed_text = NULL, *request = NULL;
    if (head && claim && asprintf(&signed_text, "%s.%s", head, claim) < 0)
        signed_text = NULL;
    char *signature = signed_text ? sign(k->private_key, signed_text) : NULL;
    if (!signed_text)
        fail("out of memory");
    if (signature &&
        asprintf(&request,
                 "grant_type=urn%%3Aietf%%3Aparams%%3Aoauth%%3Agrant-type%%3Ajwt-bearer"
                 "&assertion=%s.%s",
                 signed_text, signature) < 0) {
        request = NULL;
        fail("out of memory");
    }
    free(head);
    free(claim);
    free(signed_text);
    free(signature);
    return request;
}

static char *authorized_user(const struct gcs_key *k)
{
    char *id = percent_encode(k->client_id), *secret = percent_encode(k->client_secret);
    char *refresh = percent_encode(k->refresh_token), *request = NULL;
    if (!id || !secret || !refresh ||
        asprintf(&request,
                 "grant_type=refresh_token&client_id=%s&client_secret=%s&refresh_token=%s", id,
                 secret, refresh) < 0) {
        request = NULL;
        fail("out of memory");
    }
    free(id);
    gcs_key_forget(secret);
    gcs_key_forget(refresh);
    return request;
}

char *gcs_key_request(const struct gcs_key *k, int64_t now)
{
    return k->kind == GCS_KEY_SERVICE_ACCOUNT ? service_account(k, now) : authorized_user(k);
}
