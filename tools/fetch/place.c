/* place.c -- where requests go: endpoints, and which addresses may be used without TLS. */
#include "place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool place_is_loopback(const char *url)
{
    const char *host = strstr(url, "://");
    if (!host)
        return false;
    host += 3;
    size_t n = strcspn(host, "/?#");
    if (memchr(host, '@', n))
        return false;
    if (n >= 5 && !strncmp(host, "[::1]", 5))
        return n == 5 || host[5] == ':';
    n = strcspn(host, ":/?#");
    return (n == 9 && !strncmp(host, "localhost", 9)) ||
           (n > 4 && !strncmp(host, "127.", 4) && strspn(host, "0123456789.") >= n);
}

char *place_endpoint(const char *given, bool *emulator)
{
    const char *host = getenv("STORAGE_EMULATOR_HOST");
    *emulator = !*given && host && *host;
    const char *where = *given ? given : *emulator ? host : "https://storage.googleapis.com";
    bool scheme = strstr(where, "://") != NULL;
    char *url;
    if (asprintf(&url, "%s%s", scheme ? "" : "http://", where) < 0) {
        fail("out of memory");
        return NULL;
    }
    for (size_t n = strlen(url); n && url[n - 1] == '/'; n--)
        url[n - 1] = 0;
    if (!strncmp(url, "http://", 7) || !strncmp(url, "https://", 8))
        return url;
    fail("%s: expected an address such as https://storage.googleapis.com", where);
    free(url);
    return NULL;
}

int place_check(const char *source)
{
    if (!strncmp(source, "gs://", 5) || !strncmp(source, "https://", 8))
        return 0;
    if (!strncmp(source, "http://", 7))
        return place_is_loopback(source)
                   ? 0
                   : fail("%s: http:// is for this machine only; use https://", source);
    return fail("%s: expected gs://BUCKET/OBJECT or https://HOST/PATH", source);
}

/* One argument in single quotes where the shell would change it. */
static void quote(FILE *to, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./:=+,@%";
    if (*text && strspn(text, plain) == strlen(text)) {
        fputs(text, to);
        return;
    }
    fputc('\'', to);
    for (; *text; text++)
        fputs(*text == '\'' ? "'\\''" : (char[]){*text, 0}, to);
    fputc('\'', to);
}

char *place_command(char **args)
{
    char *text = NULL;
    size_t bytes;
    FILE *to = open_memstream(&text, &bytes);
    if (!to)
        return NULL;
    for (; *args; args++) {
        quote(to, *args);
        if (args[1])
            fputc(' ', to);
    }
    fclose(to);
    return text;
}
