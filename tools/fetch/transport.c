/* transport.c -- how a call travels: protocols, deadlines, certificates, proxies. */
#include "transport.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

enum {
    RECEIVE_BYTES = 256 << 10, /* of a connection, and a quarter of it where they are many */
    MANY_CONNECTIONS = 32,
};

/* Certificates to trust, where a site has its own: the variables that the curl program obeys. */
static void set_trusted(CURL *e)
{
    const char *bundle = getenv("CURL_CA_BUNDLE"), *file = getenv("SSL_CERT_FILE");
    const char *folder = getenv("SSL_CERT_DIR");
    if (bundle && *bundle)
        curl_easy_setopt(e, CURLOPT_CAINFO, bundle);
    else if (file && *file)
        curl_easy_setopt(e, CURLOPT_CAINFO, file);
    if (folder && *folder)
        curl_easy_setopt(e, CURLOPT_CAPATH, folder);
}

void transport_set(void *easy, const struct http *h, const struct http_call *c)
{
    CURL *e = easy;
    bool secure = !strncmp(c->url, "https:", 6);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    /* Ranges need connections of their own; HTTP/2 would put them all on one. */
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(e, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE,
                     (long)(h->connections > MANY_CONNECTIONS ? RECEIVE_BYTES / 4 : RECEIVE_BYTES));
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)(h->timeout_s * 1000));
    set_trusted(e);
    /* A token over plain HTTP goes to this machine, and so to no proxy. */
    if (c->direct || (c->authorised && h->bearer && !secure))
        curl_easy_setopt(e, CURLOPT_PROXY, "");
}
