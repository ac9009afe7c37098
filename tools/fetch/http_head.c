/* http_head.c -- what the head of an HTTP response says, line by line. */
#include "http_head.h"
#include "digits.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

void http_head_clear(struct http_head *h)
{
    *h = (struct http_head){.length = -1, .total = -1, .retry_after = -1};
}

static void content_range(struct http_head *h, const char *p, const char *end)
{
    uint64_t from = 0, last = 0, total = 0;
    h->has_range = false;
    h->total = -1;
    if (end - p < 6 || strncasecmp(p, "bytes ", 6))
        return;
    p += 6;
    bool span = p < end && *p != '*';
    if (span) {
        if (!digits_read(&p, end, &from) || p == end || *p++ != '-' || !digits_read(&p, end, &last))
            return;
    } else
        p++;
    if (p >= end || *p++ != '/')
        return;
    bool known = digits_read(&p, end, &total);
    if (!known && p < end && *p == '*')
        p++;
    if (p != end || (span && (last < from || (known && last >= total))))
        return;
    h->total = known ? (int64_t)total : -1;
    h->has_range = span;
    h->from = from;
    h->last = last;
}

static void retry_after(struct http_head *h, const char *p, const char *end, int64_t now)
{
    char text[64];
    uint64_t s;
    struct tm when = {0};
    if (digits_read(&p, end, &s) && p == end) {
        h->retry_after = (double)s;
        return;
    }
    snprintf(text, sizeof text, "%.*s", (int)(end - p < 63 ? end - p : 63), p);
    if (strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &when)) {
        double wait = (double)timegm(&when) - (double)now;
        h->retry_after = wait > 0 ? wait : 0;
    }
}

bool http_head_crc32c(uint32_t *crc, const char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint64_t v = 0;
    if (n != 8 || p[6] != '=' || p[7] != '=')
        return false;
    for (int i = 0; i < 6; i++) {
        const char *d = p[i] ? strchr(digits, p[i]) : NULL;
        if (!d)
            return false;
        v = v << 6 | (uint64_t)(d - digits);
    }
    *crc = (uint32_t)(v >> 4);
    return (v & 15) == 0;
}

/* x-goog-hash: crc32c=n03x6A==,md5=Ojk9c3dhfxgoKVVHYwFbHQ== in one line or in two. */
static void hashes(struct http_head *h, const char *p, const char *end)
{
    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p)), *stop = comma ? comma : end;
        while (p < stop && *p == ' ')
            p++;
        if (stop - p > 7 && !strncasecmp(p, "crc32c=", 7))
            h->has_crc32c = http_head_crc32c(&h->crc32c, p + 7, (size_t)(stop - p - 7));
        p = stop + 1;
    }
}

static void keep(char *to, size_t room, const char *p, const char *end)
{
    size_t n = (size_t)(end - p);
    to[0] = 0;
    if (n < room && !memchr(p, 0, n)) {
        memcpy(to, p, n);
        to[n] = 0;
    }
}

static void status_line(struct http_head *h, const char *p, const char *end)
{
    uint64_t status;
    http_head_clear(h);
    while (p < end && *p != ' ')
        p++;
    while (p < end && *p == ' ')
        p++;
    if (digits_read(&p, end, &status) && status < 1000)
        h->status = (int)status;
}

void http_head_line(struct http_head *h, const char *line, size_t bytes, int64_t now)
{
    const char *end = line + bytes;
    while (end > line && strchr("\r\n \t", end[-1]) && end[-1])
        end--;
    if (end - line >= 5 && !strncasecmp(line, "HTTP/", 5)) {
        status_line(h, line, end);
        return;
    }
    const char *colon = memchr(line, ':', (size_t)(end - line));
    if (!colon)
        return;
    size_t name = (size_t)(colon - line);
    const char *p = colon + 1;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    uint64_t n;
#define IS(text) (name == sizeof(text) - 1 && !strncasecmp(line, text, name))
    if (IS("Content-Length"))
        h->length = digits_read(&p, end, &n) && p == end ? (int64_t)n : -1;
    else if (IS("Content-Range"))
        content_range(h, p, end);
    else if (IS("Retry-After"))
        retry_after(h, p, end, now);
    else if (IS("X-Goog-Hash"))
        hashes(h, p, end);
    else if (IS("X-Amz-Checksum-Crc32c"))
        h->has_crc32c = http_head_crc32c(&h->crc32c, p, (size_t)(end - p));
    else if (IS("Content-Encoding") || IS("X-Goog-Stored-Content-Encoding"))
        h->gzip |= end - p == 4 && !strncasecmp(p, "gzip", 4);
    else if (IS("ETag"))
        keep(h->etag, sizeof h->etag, p, end);
    else if (IS("Last-Modified"))
        keep(h->modified, sizeof h->modified, p, end);
    else if (IS("Accept-Ranges"))
        h->ranges_refused = end - p == 4 && !strncasecmp(p, "none", 4);
#undef IS
}
