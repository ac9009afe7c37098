/* wildcard.c -- patterns of object names, with the meaning that gsutil gives them. */
#include "wildcard.h"

#include <string.h>

/* Bytes of the character at p; a byte that is not UTF-8 is a character of its own. */
static size_t character(const char *p)
{
    unsigned char c = (unsigned char)*p;
    size_t n = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    for (size_t i = 1; i < n; i++)
        if (((unsigned char)p[i] & 0xc0) != 0x80)
            return 1;
    return n;
}

/* Characters compare as their bytes do: UTF-8 keeps the order of code points. */
static int compare(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    int order = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
    return order ? order : (a_bytes > b_bytes) - (a_bytes < b_bytes);
}

/* The set at *p, which stands on '[': whether it holds the character at text; *p moves past it.
   False with *p unmoved when the bracket is not closed. */
static bool in_set(const char **p, const char *text, size_t bytes)
{
    const char *s = *p + 1;
    bool outside = *s == '!' || *s == '^', found = false;
    s += outside;
    for (const char *first = s; *s && (*s != ']' || s == first);) {
        size_t n = character(s), m = n;
        const char *end = s;
        if (s[n] == '-' && s[n + 1] && s[n + 1] != ']') {
            end = s + n + 1;
            m = character(end);
        }
        found |= compare(s, n, text, bytes) <= 0 && compare(text, bytes, end, m) <= 0;
        s = end + m;
    }
    if (*s != ']')
        return false;
    *p = s + 1;
    return found != outside;
}

bool wildcard_match(const char *p, const char *t)
{
    /* Where to go on when the present attempt fails: behind the last `*`, and behind the last
       `**`, which a later `*` cannot replace because it may cross slashes. */
    const char *star = NULL, *star_text = NULL, *deep = NULL, *deep_text = NULL;
    for (;;) {
        if (*p == '*') {
            if (p[1] == '*') {
                while (*p == '*')
                    p++;
                deep = p, deep_text = t, star = NULL;
            } else
                star = ++p, star_text = t;
            continue;
        }
        const char *next = p;
        size_t n = *t ? character(t) : 0;
        bool good = false;
        if (!*p && !*t)
            return true;
        if (*p == '[' && *t) {
            good = in_set(&next, t, n) && *t != '/';
            if (next == p)
                good = *t == '[', next = p + 1;
        } else if (*p == '?' && *t)
            good = *t != '/', next = p + 1;
        else if (*p && *t)
            good = !strncmp(p, t, n), next = p + (good ? n : 0);
        if (good) {
            p = next;
            t += n;
        } else if (star && *star_text && *star_text != '/') {
            star_text += character(star_text);
            p = star, t = star_text;
        } else if (deep && *deep_text) {
            deep_text += character(deep_text);
            p = deep, t = deep_text, star = NULL;
        } else
            return false;
    }
}

size_t wildcard_literal(const char *pattern)
{
    return strcspn(pattern, "*?[");
}

bool wildcard_picks(const char *pattern, const char *path)
{
    const char *slash = strrchr(path, '/');
    return wildcard_match(pattern, slash && !strchr(pattern, '/') ? slash + 1 : path);
}
