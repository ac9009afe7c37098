/* pydict.c -- a Python call dict(key=value, ...) as a JSON object. */
#include "pydict.h"
#include "err.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_BYTES = 256 };

struct cursor {
    const char *text, *at;
};

static void skip_blanks(struct cursor *c)
{
    while (isspace((unsigned char)*c->at))
        c->at++;
}

static bool take(struct cursor *c, char wanted)
{
    skip_blanks(c);
    if (*c->at != wanted)
        return false;
    c->at++;
    return true;
}

static int wrong(const struct cursor *c, const char *expected)
{
    return fail("\"%s\", column %zu: expected %s", c->text, (size_t)(c->at - c->text) + 1,
                expected);
}

static bool in_name(char ch)
{
    return isalnum((unsigned char)ch) || ch == '_';
}

/* A name into word [WORD_BYTES]. */
static int read_name(struct cursor *c, char *word)
{
    skip_blanks(c);
    size_t n = 0;
    while (in_name(c->at[n]))
        n++;
    if (!n || n >= WORD_BYTES || isdigit((unsigned char)*c->at))
        return wrong(c, "a name");
    memcpy(word, c->at, n);
    word[n] = 0;
    c->at += n;
    return 0;
}

static json_t *read_string(struct cursor *c)
{
    char word[WORD_BYTES], quote = *c->at++;
    size_t n = 0;
    for (; *c->at && *c->at != quote; c->at++) {
        if (*c->at == '\\' && c->at[1])
            c->at++;
        if (n + 1 >= sizeof word) {
            wrong(c, "a shorter string");
            return NULL;
        }
        word[n++] = *c->at;
    }
    if (!take(c, quote)) {
        wrong(c, "the closing quote");
        return NULL;
    }
    json_t *value = json_stringn(word, n);
    if (!value)
        wrong(c, "a string in UTF-8");
    return value;
}

static json_t *read_number(struct cursor *c)
{
    /* Python's decimal forms: strtod alone would take hexadecimal and "nan" too. */
    char digits[WORD_BYTES], *end;
    size_t span = strspn(c->at, "+-0123456789._eE"), n = 0;
    for (size_t i = 0; i < span && n + 1 < sizeof digits; i++)
        if (c->at[i] != '_')
            digits[n++] = c->at[i];
    digits[n] = 0;
    bool whole = !strpbrk(digits, ".eE");
    errno = 0;
    long long integer = whole ? strtoll(digits, &end, 10) : 0;
    double number = whole ? 0 : strtod(digits, &end);
    bool overflow = errno == ERANGE && (whole || fabs(number) > 1);
    if (!n || *end || overflow || in_name(c->at[span])) {
        wrong(c, "a number, a string, True, False or None");
        return NULL;
    }
    c->at += span;
    return whole ? json_integer(integer) : json_real(number);
}

static json_t *read_value(struct cursor *c)
{
    skip_blanks(c);
    if (*c->at == '\'' || *c->at == '"')
        return read_string(c);
    if (!isalpha((unsigned char)*c->at))
        return read_number(c);
    struct cursor start = *c;
    char word[WORD_BYTES];
    if (read_name(c, word))
        return NULL;
    if (!strcmp(word, "True") || !strcmp(word, "False"))
        return json_boolean(*word == 'T');
    if (!strcmp(word, "None"))
        return json_null();
    wrong(&start, "a number, a string in quotes, True, False or None");
    return NULL;
}

static int read_items(struct cursor *c, json_t *to)
{
    char key[WORD_BYTES];
    while (!take(c, ')')) {
        if (read_name(c, key))
            return -1;
        if (!take(c, '='))
            return wrong(c, "'='");
        if (json_object_get(to, key))
            return fail("\"%s\": %s is given twice", c->text, key);
        json_t *value = read_value(c);
        if (!value)
            return -1;
        if (json_object_set_new(to, key, value))
            return fail("out of memory");
        skip_blanks(c);
        if (*c->at != ')' && !take(c, ','))
            return wrong(c, "',' or ')'");
    }
    skip_blanks(c);
    return *c->at ? wrong(c, "nothing after ')'") : 0;
}

json_t *pydict_parse(const char *text)
{
    struct cursor c = {text, text};
    char word[WORD_BYTES];
    skip_blanks(&c);
    if (read_name(&c, word) || strcmp(word, "dict") || !take(&c, '(')) {
        fail("\"%s\": expected dict(key=value, ...)", text);
        return NULL;
    }
    json_t *to = json_object();
    if (!to) {
        fail("out of memory");
        return NULL;
    }
    if (read_items(&c, to)) {
        json_decref(to);
        return NULL;
    }
    return to;
}
