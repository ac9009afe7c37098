/* test_jsonl.c -- records out of JSON streams: spellings, faults, damage, and any cut of the
 * stream. */
#include "check.h"
#include "json_scan.h"

#include <stdlib.h>
#include <string.h>

/* ---- a stream from memory, and what came out of it ---------------------------------------- */

struct stream {
    const char *data;
    size_t bytes, at, piece; /* at most `piece` bytes a read; 0: as many as asked for */
    bool fails;              /* at the end */
};

static long stream_read(void *from, void *data, size_t bytes)
{
    struct stream *s = from;
    size_t n = s->bytes - s->at;
    if (n == 0 && s->fails)
        return fail("the disk is gone");
    if (n > bytes)
        n = bytes;
    if (s->piece && n > s->piece)
        n = s->piece;
    memcpy(data, s->data + s->at, n);
    s->at += n;
    return (long)n;
}

/* A line for each result: "text" or "!line:offset@record reason". Odd bytes as \xNN. */
struct transcript {
    char *text; /* owned */
    size_t bytes, room;
    size_t texts, faults;
};

static void append(struct transcript *t, const void *data, size_t bytes)
{
    if (t->bytes + 4 * bytes + 1 > t->room) {
        t->room = 2 * t->room + 4 * bytes + 256;
        t->text = realloc(t->text, t->room);
    }
    const uint8_t *p = data;
    for (size_t i = 0; i < bytes; i++)
        if ((p[i] < 0x20 && p[i] != '\n') || p[i] > 0x7e)
            t->bytes += (size_t)sprintf(t->text + t->bytes, "\\x%02x", p[i]);
        else
            t->text[t->bytes++] = (char)p[i];
    t->text[t->bytes] = 0;
}

static void note_text(struct transcript *t, const struct jsonl_text *text)
{
    uint8_t *plain = malloc(text->bytes + 1);
    struct jsonl_half half = {.at = SIZE_MAX};
    size_t n = text->bytes;
    memcpy(plain, text->raw, n);
    if (text->escaped)
        n = jsonl_decode(plain, plain, text->bytes, &half);
    CHECK(n <= text->bytes);
    for (size_t i = 0; i < n; i++)
        append(t, plain[i] == '\n' ? "/" : (char *)plain + i, 1);
    append(t, half.at == SIZE_MAX ? "\n" : " (half)\n", half.at == SIZE_MAX ? 1 : 8);
    t->texts++;
    free(plain);
}

static void note_fault(struct transcript *t, const struct jsonl_fault *f)
{
    char line[400];
    int n = snprintf(line, sizeof line, "!%d:%d@%d %s\n", (int)f->place.line, (int)f->place.offset,
                     (int)f->record.offset, f->reason);
    append(t, line, (size_t)n);
    t->faults++;
}

static struct transcript read_stream(struct stream s, struct jsonl_key *key)
{
    struct transcript t = {0};
    struct jsonl j;
    struct jsonl_text text;
    struct jsonl_fault fault;
    struct jsonl_key own = {0};
    append(&t, "", 0);
    CHECK(!jsonl_open(&j, (struct byte_source){stream_read, &s}, key ? key : &own));
    for (;;) {
        int got = jsonl_next(&j, &text, &fault);
        if (got == 1) {
            CHECK(text.place.offset + text.bytes < s.bytes);
            CHECK(!memcmp(text.raw, s.data + text.place.offset, text.bytes));
            CHECK(s.data[text.record.offset] == '{' && text.record.line <= text.place.line);
            note_text(&t, &text);
        } else if (got == -1) {
            CHECK(fault.reason[0] && fault.place.offset <= s.bytes);
            CHECK(fault.record.offset <= fault.place.offset && fault.record.line >= 1);
            note_fault(&t, &fault);
        } else {
            if (got == -2)
                append(&t, why(), strlen(why()));
            break;
        }
        /* Every result uses up a byte at least, so more of them than bytes is a loop. */
        CHECK(t.texts + t.faults <= s.bytes + 1);
        if (t.texts + t.faults > s.bytes + 1)
            break;
    }
    jsonl_close(&j);
    jsonl_close(&j);
    return t;
}

/* ---- spellings ---------------------------------------------------------------------------- */

#define DATA(text) text, sizeof(text) - 1

static const struct {
    const char *name, *data;
    size_t bytes;
    const char *want;
} spellings[] = {
    {"two lines", DATA("{\"text\":\"a\"}\n{\"text\":\"b\"}\n"), "a\nb\n"},
    {"no final newline", DATA("{\"text\":\"a\"}"), "a\n"},
    {"CRLF, CR, blanks",
     DATA("\r\n {\"text\":\"a\"}\r\n\t{\"text\":\"b\"}\r{\"text\":\"c\"} \n \n"), "a\nb\nc\n"},
    {"several on a line", DATA("{\"text\":\"a\"}{\"text\":\"b\"} {\"text\":\"c\"}"), "a\nb\nc\n"},
    {"over lines", DATA("{\n\"text\"\n:\n\"a\"\n,\"m\":[\n1\n,\n{ }\n]\n}\n"), "a\n"},
    {"byte order mark", DATA("\xef\xbb\xbf{\"text\":\"a\"}"), "a\n"},
    {"an array", DATA(" [ {\"text\":\"a\"} ,\n{\"text\":\"b\"}\n] \n"), "a\nb\n"},
    {"an empty array", DATA("[ ]"), ""},
    {"nothing", DATA(""), ""},
    {"blanks", DATA(" \n\r\t "), ""},
    {"empty texts", DATA("{\"text\":\"\"}\n{\"text\":\"\"}"), "\n\n"},
    {"the inner text is not it",
     DATA("{\"m\":{\"text\":\"no\"},\"l\":[{\"text\":1}],\"text\":\"a\"}"), "a\n"},
    {"quotes and braces in strings", DATA("{\"m\":\"\\\"}{,\\\\\",\"text\":\"{\\\"a\\\":1}\"}"),
     "{\"a\":1}\n"},
    {"escapes",
     DATA("{\"text\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\ud83d\\ude00\\u0000\"}"),
     "\"\\/\\x08\\x0c/\\x0d\\x09A\\xc3\\xa9\\xe2\\x82\\xac\\xf0\\x9f\\x98\\x80\\x00\n"},
    {"an escaped name", DATA("{\"a\":1,\"\\u0074e\\u0078t\":\"a\"}"), "a\n"},
    {"a name that only begins so", DATA("{\"texts\":\"a\",\"tex\":\"b\",\"text\":\"c\"}"), "c\n"},
    {"numbers and words",
     DATA("{\"a\":[0,-0,10,-1.5e-3,1E+9,0.25,NaN,-NaN,Inf,-Infinity,true,false,null,"
          "123456789012345678901234567890],\"text\":\"a\"}"),
     "a\n"},
    {"raw UTF-8 and DEL", DATA("{\"text\":\"\xc3\xa9\x7f\"}"), "\\xc3\\xa9\\x7f\n"},
    {"bad UTF-8 is left to others", DATA("{\"m\xff\":\"\xff\",\"text\":\"\xff\"}"), "\\xff\n"},
    {"the first member", DATA("{\"body\":\"a\",\"id\":1}\n{\"id\":2,\"body\":\"b\"}"), "a\nb\n"},
    {"a first member called so by escapes", DATA("{\"\\u0062\":\"a\"}\n{\"b\":\"b\"}"), "a\nb\n"},
    {"others named twice", DATA("{\"a\":1,\"text\":\"a\",\"a\":\"x\",\"o\":{\"b\":1,\"b\":2}}"),
     "a\n"},
    {"half pairs", DATA("{\"text\":\"x\\ud83dy\"}{\"text\":\"\\ude00\\ud83d\"}"),
     "x\\xef\\xbf\\xbdy (half)\n\\xef\\xbf\\xbd\\xef\\xbf\\xbd (half)\n"},
    {"half a pair elsewhere", DATA("{\"m\":\"\\ud83d\",\"text\":\"a\"}"), "a\n"},
    {"dates", DATA("{\"text\":\"2024-01-31\"}"), "2024-01-31\n"},

    {"no text", DATA("{\"text\":\"a\"}\n{\"body\":\"b\"}\n{}\n{\"text\":\"c\"}"),
     "a\n!2:13@13 the object has no member \"text\" to take the text from\n"
     "!3:26@26 the object has no member \"text\" to take the text from\nc\n"},
    {"an empty object first", DATA("{}\n{\"b\":\"a\"}"), "!1:0@0 an empty object has no text\na\n"},
    {"text comes late", DATA("{\"a\":\"x\"}\n{\"a\":\"y\",\"text\":\"z\"}"),
     "x\n!2:10@10 a member \"text\", but the first object had none, so texts are taken from \"a\"; "
     "name the right one with --text-key\n"},
    {"not a string", DATA("{\"text\":null}{\"text\":\n5}{\"text\":{}}{\"text\":[]}{\"text\":true}"),
     "!1:8@0 the member \"text\" is null, not a string\n"
     "!2:22@13 the member \"text\" is a number, not a string\n"
     "!2:32@24 the member \"text\" is an object, not a string\n"
     "!2:43@35 the member \"text\" is an array, not a string\n"
     "!2:54@46 the member \"text\" is true or false, not a string\n"},
    {"twice", DATA("{\"text\":\"a\",\"text\":\"b\"}\n{\"text\":\"c\"}"),
     "!1:9@0 the member \"text\" is given twice\nc\n"},
    {"a cut line costs one record",
     DATA("{\"text\":\"a\n{\"text\":\"b\"}\n{\"m\":[\n{\"text\":\"c\"}\n"),
     "!1:10@0 a raw byte 0x0a in a string; JSON spells it \\u000a\nb\n"
     "!5:44@24 the stream ends inside a record\nc\n"},
    {"a raw tab", DATA("{\"m\":\"\t\",\"text\":\"a\"}{\"text\":\"b\"}\n{\"text\":\"c\"}"),
     "!1:6@0 a raw byte 0x09 in a string; JSON spells it \\u0009\nc\n"},
    {"bad escapes", DATA("{\"text\":\"\\q\"}\n{\"m\":\"\\u12g4\"}\n{\"text\":\"\\"),
     "!1:10@0 expected one of \" \\ / b f n r t u behind a backslash, found 'q'\n"
     "!2:24@14 expected four hexadecimal digits behind \\u, found 'g'\n"
     "!3:39@29 the stream ends inside a record\n"},
    {"bad objects",
     DATA("{\"a\":1,}\n{,}\n{'a':1}\n{\"a\" 1}\n{\"a\":}\n{\"a\":1 2}\n{\"a\":1]\n{1:2}"),
     "!1:7@0 expected a member's name in double quotes, found '}'\n"
     "!2:10@9 expected a member's name in double quotes, found ','\n"
     "!3:14@13 expected a member's name in double quotes, found '''\n"
     "!4:26@21 expected ':' behind a member's name, found '1'\n"
     "!5:34@29 expected a value, found '}'\n"
     "!6:43@36 expected ',' or '}', found '2'\n"
     "!7:52@46 expected ',' or '}', found ']'\n"
     "!8:55@54 expected a member's name in double quotes, found '1'\n"},
    {"bad arrays within", DATA("{\"a\":[1,]}\n{\"a\":[,]}\n{\"a\":[1 2]}\n{\"a\":[}"),
     "!1:8@0 expected a value, found ']'\n!2:17@11 expected a value, found ','\n"
     "!3:29@21 expected ',' or ']', found '2'\n!4:39@33 expected a value, found '}'\n"},
    {"bad numbers and words",
     DATA("{\"a\":01}\n{\"a\":-}\n{\"a\":1.}\n{\"a\":1e}\n{\"a\":.5}\n{\"a\":+1}\n{\"a\":tru}\n"
          "{\"a\":nulL}\n{\"a\":Infinit}\n{\"a\":0x1}"),
     "!1:6@0 expected ',' or '}', found '1'\n!2:15@9 expected a digit, found '}'\n"
     "!3:24@17 expected a digit, found '}'\n!4:33@26 expected a digit, found '}'\n"
     "!5:40@35 expected a value, found '.'\n!6:49@44 expected a value, found '+'\n"
     "!7:61@53 expected a value, found '}'\n!8:71@63 expected a value, found 'L'\n"
     "!9:86@74 expected a value, found '}'\n!10:94@88 expected ',' or '}', found 'x'\n"},
    {"between objects",
     DATA("{\"text\":\"a\"},\n{\"text\":\"b\"} // c\n\f{\"text\":\"c\"}\n\"d\"\n"),
     "a\n!1:12@12 expected an object, found ','\nb\n!2:27@27 expected an object, found '/'\n"
     "!3:32@32 expected an object, found byte 0x0c\n!4:46@46 expected an object, found '\"'\n"},
    {"array faults",
     DATA("[{\"text\":\"a\"},\n{\"text\":},\n{\"text\":\"b\"}\n{\"text\":\"c\"},\n]"),
     "a\n!2:23@15 expected a value, found '}'\nb\n!4:39@39 expected ',' or ']' behind an element, "
     "found '{'\n"},
    {"a trailing comma", DATA("[{\"text\":\"a\"},]"),
     "a\n!1:14@14 expected an object, found ']'\n"},
    {"an array that does not end", DATA("[{\"text\":\"a\"}"),
     "a\n!1:13@13 the stream ends inside its array: ']' is missing\n"},
    {"something behind the array", DATA("[{\"text\":\"a\"}]\n{\"text\":\"b\"}\n"),
     "a\n!2:15@15 expected nothing behind the array, found '{'\n"},
    {"no second array", DATA("{\"text\":\"a\"}\n[{\"text\":\"b\"}]\n"),
     "a\n!2:13@13 expected an object, found '['\n"},
    {"UTF-16", DATA("\xff\xfe{\0\"\0\n\0"),
     "!1:0@0 UTF-16; turn it into UTF-8 first (iconv -f UTF-16 -t UTF-8)\n"
     "!2:7@7 expected an object, found byte 0x00\n"},
};

enum { SPELLINGS = sizeof spellings / sizeof *spellings };

/* Whatever the pieces of the stream, the same comes out. */
static void check_pieces(const char *data, size_t bytes)
{
    struct transcript whole = read_stream((struct stream){data, bytes, 0, 0, false}, NULL);
    for (size_t piece = 1; piece < 8; piece += 3) {
        struct transcript cut = read_stream((struct stream){data, bytes, 0, piece, false}, NULL);
        CHECK(!strcmp(whole.text, cut.text));
        free(cut.text);
    }
    free(whole.text);
}

static void test_spellings(void)
{
    for (int i = 0; i < SPELLINGS; i++) {
        case_begin(spellings[i].name);
        struct stream s = {spellings[i].data, spellings[i].bytes, 0, 0, false};
        struct transcript t = read_stream(s, NULL);
        CHECK(!strcmp(t.text, spellings[i].want));
        if (check_failures_here)
            fprintf(stderr, "found:\n%swanted:\n%s", t.text, spellings[i].want);
        free(t.text);
        check_pieces(spellings[i].data, spellings[i].bytes);
        case_end("");
    }
}

/* ---- damage ------------------------------------------------------------------------------- */

static const char sample[] =
    "\xef\xbb\xbf{\"id\":12,\"text\":\"one\\n\\u00e9 "
    "\\ud83d\\ude00\",\"m\":{\"a\":[1,-2.5e3,null]}}\n"
    "{\"text\":\"two\",\"id\":-0}\r\n\n{\"m\":[{}],\"text\":\"\xe2\x82\xac\"} {\"text\":\"\"}\n";
static const char sample_array[] = "[{\"text\":\"one\",\"a\":[true,[]]},\n {\"text\":\"\\\\\"}]\n";

static void damage(const char *data, size_t bytes, const char *name)
{
    char note[80], *copy = malloc(bytes);
    case_begin(name);
    size_t faults = 0;
    for (size_t n = 0; n <= bytes; n++) {
        /* A copy of that very size, so that a sanitizer sees any step beyond it. */
        char *cut = malloc(n + 1);
        memcpy(cut, data, n);
        struct transcript t = read_stream((struct stream){cut, n, 0, 0, false}, NULL);
        faults += t.faults;
        free(t.text);
        check_pieces(cut, n);
        free(cut);
    }
    memcpy(copy, data, bytes);
    for (size_t bit = 0; bit < 8 * bytes; bit++) {
        copy[bit / 8] ^= (char)(1 << bit % 8);
        struct transcript t = read_stream((struct stream){copy, bytes, 0, 0, false}, NULL);
        faults += t.faults;
        free(t.text);
        check_pieces(copy, bytes);
        copy[bit / 8] ^= (char)(1 << bit % 8);
    }
    CHECK(faults > bytes); /* most damage is seen */
    free(copy);
    snprintf(note, sizeof note, "%zu cuts, %zu flips, %zu faults", bytes + 1, 8 * bytes, faults);
    case_end(note);
}

/* ---- size --------------------------------------------------------------------------------- */

static void test_long_record(void)
{
    case_begin("a record of 9 MB in small pieces");
    const size_t n = 9000000;
    char *data = malloc(n + 64);
    size_t head = (size_t)sprintf(data, "{\"text\":\"a\"}\n{\"text\":\"");
    memset(data + head, 'x', n);
    size_t bytes = head + n + (size_t)sprintf(data + head + n, "\"}\n{\"text\":\"b\"}");
    struct transcript t = read_stream((struct stream){data, bytes, 0, 1000, false}, NULL);
    CHECK(t.texts == 3 && t.faults == 0 && t.bytes == n + 5);
    free(t.text);
    t = read_stream((struct stream){data, head + n, 0, 65536, false}, NULL);
    CHECK(t.texts == 1 && t.faults == 1);
    free(t.text);
    free(data);
    case_end("");
}

static void test_depth(void)
{
    case_begin("4096 levels and no more");
    for (int levels = 4095; levels <= 4096; levels++) {
        char *data = malloc(32000);
        size_t n = (size_t)sprintf(data, "{\"text\":\"a\",\"m\":");
        for (int i = 0; i < levels; i++)
            n += (size_t)sprintf(data + n, i % 3 ? "[" : "{\"k\":");
        n += (size_t)sprintf(data + n, "1");
        for (int i = levels; i-- > 0;)
            data[n++] = i % 3 ? ']' : '}';
        data[n++] = '}';
        struct transcript t = read_stream((struct stream){data, n, 0, 0, false}, NULL);
        CHECK(levels == 4095 ? t.texts == 1 && !t.faults : !t.texts && t.faults == 1);
        free(t.text);
        free(data);
    }
    case_end("");
}

/* ---- the member --------------------------------------------------------------------------- */

static struct transcript read_text(const char *data, struct jsonl_key *key)
{
    return read_stream((struct stream){data, strlen(data), 0, 0, false}, key);
}

static void test_key(void)
{
    struct transcript t;
    case_begin("a member that was named");
    struct jsonl_key key = {0};
    CHECK(!jsonl_key_give(&key, "body"));
    t = read_text("{\"text\":\"a\",\"body\":\"b\"}\n{\"body\":\"c\"}\n{\"text\":\"d\"}", &key);
    CHECK(!strncmp(t.text, "b\nc\n!3:37@37 the object has no member \"body\"", 42));
    free(t.text);
    CHECK(jsonl_key_give(&key, "") == -1);
    case_end("");

    case_begin("the first file decides for all");
    key = (struct jsonl_key){0};
    t = read_text("{\"b\":\"1\",\"a\":\"2\"}", &key);
    CHECK(!strcmp(t.text, "1\n") && key.state == KEY_FOUND && !strcmp(key.name, "b"));
    free(t.text);
    t = read_text("{\"a\":\"3\",\"b\":\"4\"}", &key);
    CHECK(!strcmp(t.text, "4\n"));
    free(t.text);
    case_end("");

    case_begin("a source that fails");
    t = read_stream((struct stream){DATA("{\"text\":\"a\"}\n{\"te"), 0, 0, true}, NULL);
    CHECK(!strcmp(t.text, "a\nthe disk is gone"));
    free(t.text);
    case_end("");
}

/* ---- the scan ----------------------------------------------------------------------------- */

static void test_plain_end(void)
{
    case_begin("the fast scan finds what a slow one finds");
    uint8_t data[80];
    uint32_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        for (size_t i = 0; i < sizeof data; i++) {
            seed = seed * 1664525 + 1013904223;
            uint8_t c = (uint8_t)(seed >> 24);
            data[i] =
                round % 50 ? (c < 0x20 || c == '"' || c == '\\') && seed >> 8 & 31 ? 'a' : c : c;
        }
        size_t from = seed >> 5 & 31, to = from + (seed >> 12) % (sizeof data - from + 1),
               slow = from;
        while (slow < to && data[slow] >= 0x20 && data[slow] != '"' && data[slow] != '\\')
            slow++;
        CHECK(json_plain_end(data + from, data + to) == data + slow);
    }
    case_end("");
}

int main(void)
{
    test_spellings();
    damage(sample, sizeof sample - 1, "damaged lines");
    damage(sample_array, sizeof sample_array - 1, "a damaged array");
    test_long_record();
    test_depth();
    test_key();
    test_plain_end();
    return check_finish();
}
