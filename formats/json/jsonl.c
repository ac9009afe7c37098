/* jsonl.c -- one document's text per JSON record, from a stream of records of any length. */
#include "jsonl.h"

#include "json_scan.h"

#include <stdlib.h>
#include <string.h>

enum {
    FIRST_BUFFER = 1 << 18,
    KEEP_BYTES = 4 << 20,
    LONG_BYTES = 64 << 20, /* from here on it grows by quarters */
};

int jsonl_key_give(struct jsonl_key *key, const char *path)
{
    size_t n = 0;
    key->parts = 0;
    key->at[0] = 0;
    for (const char *p = path;; p++) {
        bool escaped = p[0] == '\\' && p[1] == '.';
        if (n == sizeof key->name - 1)
            return fail("the name of a member has at most %zu bytes", n);
        if (escaped || (*p && *p != '.')) {
            p += escaped;
            key->name[n++] = *p;
            continue;
        }
        if (n == key->at[key->parts])
            return fail("the name of a member has at least one byte");
        if (key->parts == JSONL_PARTS)
            return fail("at most %d names, one in the other, lead to the text", JSONL_PARTS);
        key->name[n++] = *p;
        key->at[++key->parts] = n;
        if (!*p)
            break;
    }
    key->bytes = n - 1;
    key->state = KEY_GIVEN;
    return 0;
}

int jsonl_resume(struct jsonl *j, struct byte_source source, struct jsonl_key *key,
                 const struct jsonl_stand *stand)
{
    *j = (struct jsonl){.source = source, .key = key, .stand = *stand};
    j->buf = malloc(FIRST_BUFFER);
    if (!j->buf)
        return fail("out of memory");
    j->cap = FIRST_BUFFER;
    return 0;
}

int jsonl_open(struct jsonl *j, struct byte_source source, struct jsonl_key *key)
{
    return jsonl_resume(j, source, key, &(struct jsonl_stand){.now = {.line = 1}});
}

void jsonl_trim(struct jsonl *j)
{
    size_t left = j->end - j->at, cap = left < FIRST_BUFFER ? FIRST_BUFFER : left;
    uint8_t *fresh = j->cap > KEEP_BYTES ? malloc(cap) : NULL;
    if (!fresh)
        return;
    memcpy(fresh, j->buf + j->at, left);
    free(j->buf);
    j->buf = fresh;
    j->cap = cap;
    j->at = 0;
    j->end = left;
}

void jsonl_close(struct jsonl *j)
{
    free(j->buf);
    *j = (struct jsonl){0};
}

/* ---- the buffer --------------------------------------------------------------------------- */

/* Hold at least `want` bytes from `at` on, or all that there are. */
static int hold(struct jsonl *j, size_t want)
{
    if (j->end - j->at >= want || j->ended)
        return 0;
    if (j->cap - j->at < want) {
        memmove(j->buf, j->buf + j->at, j->end - j->at);
        j->end -= j->at;
        j->at = 0;
    }
    if (j->cap < want) {
        uint8_t *buf = realloc(j->buf, want);
        if (!buf)
            return fail("out of memory: a record of more than %zu bytes", j->end);
        j->buf = buf;
        j->cap = want;
    }
    while (j->end - j->at < want) {
        long n = j->source.read(j->source.from, j->buf + j->end, j->cap - j->end);
        if (n < 0)
            return -1;
        if (n == 0) {
            j->ended = true;
            return 0;
        }
        j->end += (size_t)n;
    }
    return 0;
}

static void consume(struct jsonl *j, size_t bytes)
{
    j->at += bytes;
    j->stand.now.offset += bytes;
}

/* The next byte that is no blank, not consumed; 256 at the end; -1 when the source failed. */
static int next_byte(struct jsonl *j)
{
    for (;;) {
        if (j->at == j->end && hold(j, 1))
            return -1;
        if (j->at == j->end)
            return 256;
        uint8_t c = j->buf[j->at];
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
            return c;
        j->stand.now.line += c == '\n';
        consume(j, 1);
    }
}

static int skip_line(struct jsonl *j)
{
    for (;;) {
        if (j->at == j->end && hold(j, 1))
            return -1;
        if (j->at == j->end)
            return 0;
        const uint8_t *from = j->buf + j->at;
        const uint8_t *lf = memchr(from, '\n', j->end - j->at);
        consume(j, lf ? (size_t)(lf - from) + 1 : j->end - j->at);
        if (lf) {
            j->stand.now.line++;
            return 0;
        }
    }
}

/* ---- between records ---------------------------------------------------------------------- */

static int refuse(struct jsonl *j, struct jsonl_fault *fault, const char *expected)
{
    fault->record = fault->place = j->stand.now;
    json_unexpected(fault->reason, sizeof fault->reason, expected, j->buf[j->at]);
    j->stand.skipping = true;
    return -1;
}

/* A byte order mark: of UTF-8 it is passed, of UTF-16 it is a fault. */
static int begin(struct jsonl *j, struct jsonl_fault *fault)
{
    if (hold(j, 3))
        return -2;
    j->stand.shape = JSONL_FIRST;
    const uint8_t *p = j->buf + j->at;
    size_t n = j->end - j->at;
    if (n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3))
        consume(j, 3);
    else if (n >= 2 && (!memcmp(p, "\xff\xfe", 2) || !memcmp(p, "\xfe\xff", 2))) {
        refuse(j, fault, "");
        strcpy(fault->reason, "UTF-16; turn it into UTF-8 first (iconv -f UTF-16 -t UTF-8)");
        return -1;
    }
    return 1;
}

/* Stand before the next object: 1; 0 at the end of all; -1, -2 as jsonl_next. */
static int approach(struct jsonl *j, struct jsonl_fault *fault)
{
    if (j->stand.shape == JSONL_START) {
        int got = begin(j, fault);
        if (got != 1)
            return got;
    }
    if (j->stand.skipping) {
        if (skip_line(j))
            return -2;
        j->stand.skipping = false;
    }
    for (;;) {
        int c = next_byte(j);
        if (c < 0)
            return -2;
        bool in_array = j->stand.shape >= JSONL_ARRAY_FIRST && j->stand.shape <= JSONL_ARRAY_LOST;
        if (c == 256) {
            if (!in_array || j->stand.shape == JSONL_ARRAY_LOST)
                return 0;
            j->stand.shape = JSONL_ARRAY_DONE;
            fault->record = fault->place = j->stand.now;
            strcpy(fault->reason, "the stream ends inside its array: ']' is missing");
            return -1;
        }
        if (c == '{' && j->stand.shape != JSONL_ARRAY_NEXT && j->stand.shape != JSONL_ARRAY_DONE) {
            if (j->stand.shape == JSONL_FIRST)
                j->stand.shape = JSONL_LINES;
            return 1;
        }
        if (c == '[' && j->stand.shape == JSONL_FIRST)
            j->stand.shape = JSONL_ARRAY_FIRST;
        else if (c == ',' &&
                 (j->stand.shape == JSONL_ARRAY_NEXT || j->stand.shape == JSONL_ARRAY_LOST))
            j->stand.shape = JSONL_ARRAY_ITEM;
        else if (c == ']' && in_array && j->stand.shape != JSONL_ARRAY_ITEM)
            j->stand.shape = JSONL_ARRAY_DONE;
        else {
            const char *expected = j->stand.shape == JSONL_ARRAY_NEXT
                                       ? "',' or ']' behind an element"
                                   : j->stand.shape == JSONL_ARRAY_DONE ? "nothing behind the array"
                                                                        : "an object";
            if (j->stand.shape == JSONL_FIRST)
                j->stand.shape = JSONL_LINES;
            if (in_array)
                j->stand.shape = JSONL_ARRAY_LOST;
            return refuse(j, fault, expected);
        }
        consume(j, 1);
    }
}

/* ---- records ------------------------------------------------------------------------------ */

/* The first object decides which member holds the text. */
static int decide(struct jsonl_key *key, const struct json_record *r, struct jsonl_fault *fault)
{
    const struct json_member *m = r->text.kind != JSON_NONE ? &r->text : &r->first;
    if (m->kind == JSON_NONE)
        return json_say(fault->reason, sizeof fault->reason, "an empty object has no text");
    if (m->name.bytes >= sizeof key->name)
        return json_say(fault->reason, sizeof fault->reason,
                        "the first member's name has more than %zu bytes", sizeof key->name - 1);
    key->bytes = jsonl_decode((uint8_t *)key->name, m->name.raw, m->name.bytes, NULL);
    key->name[key->bytes] = 0;
    key->parts = 1;
    key->at[0] = 0;
    key->at[1] = key->bytes + 1;
    key->state = KEY_FOUND;
    return 0;
}

/* A whole object: hand out its text, or say what is wrong with it. */
static int judge(struct jsonl *j, const struct json_record *r, struct jsonl_text *text,
                 struct jsonl_fault *fault)
{
    const struct json_member *m = &r->chosen;
    const char *name = j->key->name;
    bool guessed = j->key->state == KEY_FOUND && strcmp(name, "text");
    char *reason = fault->reason;
    const size_t room = sizeof fault->reason;
    if (guessed && r->text.kind != JSON_NONE)
        return json_say(reason, room,
                        "a member \"text\", but the first object had none, so texts are taken from "
                        "\"%.60s\"; name the right one with --text-key",
                        name);
    if (m->kind == JSON_NONE)
        return json_say(reason, room, "the object has no member \"%.60s\" to take the text from",
                        name);
    fault->place.line = m->line;
    fault->place.offset += (size_t)(m->value.raw - r->begin);
    if (m->times > 1)
        return json_say(reason, room, "the member \"%.60s\" is given twice", name);
    if (m->kind != JSON_STRING)
        return json_say(reason, room, "the member \"%.60s\" is %s, not a string%s", name,
                        json_kind_name(m->kind),
                        guessed ? "; name the right one with --text-key" : "");
    *text = (struct jsonl_text){.raw = m->value.raw,
                                .bytes = m->value.bytes,
                                .escaped = m->value.escaped,
                                .record = fault->record,
                                .place = fault->place};
    return 1;
}

static int too_long(const struct jsonl *j)
{
    fail("the record at byte %llu has more than %zu bytes; allow it more memory",
         (unsigned long long)j->stand.now.offset, j->most);
    return -2;
}

int jsonl_next(struct jsonl *j, struct jsonl_text *text, struct jsonl_fault *fault)
{
    int got = approach(j, fault);
    if (got != 1)
        return got;
    struct json_record r;
    for (;;) {
        const uint8_t *from = j->buf + j->at;
        size_t held = j->end - j->at;
        enum json_result result = json_record(&r, from, held, j->key, j->stand.now.line);
        if (result == JSON_DONE && j->key->state == KEY_OPEN) {
            fault->record = fault->place = j->stand.now;
            if (decide(j->key, &r, fault)) {
                got = -1;
                break;
            }
            continue; /* scanned again, now that the member is known */
        }
        if (result == JSON_DONE) {
            fault->record = fault->place = j->stand.now;
            got = judge(j, &r, text, fault);
            break;
        }
        if (result == JSON_MORE && !j->ended) {
            /* Scanned again from its start, but only once it has grown by a share: linear in all.
             */
            size_t want = held < LONG_BYTES ? held * 2 : held + held / 4;
            want = j->most && want > j->most ? j->most : want;
            if (want == held)
                return too_long(j);
            if (hold(j, want))
                return -2;
            continue;
        }
        fault->record = j->stand.now;
        fault->place.line = r.line;
        fault->place.offset = j->stand.now.offset + (size_t)(r.end - from);
        if (result == JSON_MORE)
            json_say(fault->reason, sizeof fault->reason, "the stream ends inside a record");
        else
            memcpy(fault->reason, r.reason, sizeof r.reason);
        j->stand.skipping = true;
        if (j->stand.shape != JSONL_LINES)
            j->stand.shape = JSONL_ARRAY_LOST;
        return -1;
    }
    consume(j, (size_t)(r.end - r.begin));
    j->stand.now.line = r.line;
    if (j->stand.shape != JSONL_LINES)
        j->stand.shape = JSONL_ARRAY_NEXT;
    return got;
}
