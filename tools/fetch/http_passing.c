/* http_passing.c -- which failures of a call pass by themselves, so that it is made again. */
#include "http_passing.h"

#include <string.h>

bool http_status_passes(const struct http_call *c)
{
    static const int passing[] = {408, 429, 500, 502, 503, 504};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (c->head.status == passing[i])
            return true;
    return c->head.status == 403 && c->text_bytes &&
           (strstr(c->text, "rateLimitExceeded") || strstr(c->text, "userRateLimitExceeded"));
}

bool http_error_passes(const struct http_call *c, CURLcode code)
{
    /* What answered does not speak HTTP: a broken stream, or a proxy on its way down. */
    if (code == CURLE_UNSUPPORTED_PROTOCOL && c->head.status == 0)
        return true;
    static const CURLcode passing[] = {
        CURLE_COULDNT_RESOLVE_HOST,
        CURLE_COULDNT_RESOLVE_PROXY,
        CURLE_COULDNT_CONNECT,
        CURLE_OPERATION_TIMEDOUT,
        CURLE_PARTIAL_FILE,
        CURLE_GOT_NOTHING,
        CURLE_SEND_ERROR,
        CURLE_RECV_ERROR,
        CURLE_SSL_CONNECT_ERROR,
        CURLE_WEIRD_SERVER_REPLY,
        CURLE_HTTP2,
        CURLE_HTTP2_STREAM,
    };
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (code == passing[i])
            return true;
    return false;
}
