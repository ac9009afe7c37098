/* test_tokenizer.c -- the tokenizer against a slow and simple one, on documents with special
   strings, and on texts made to be slow. */
#include "check.h"
#include "cuts.h"
#include "encoder.h"
#include "made_model.h"
#include "slow_bpe.h"
#include "utf8.h"

#include <stdlib.h>
#include <unistd.h>

#define SMALL_MODEL "tests/golden/tokenizer/small-1024.model"

static uint64_t random_state = 1;

static uint32_t random_below(uint32_t bound)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % bound);
}

/* ---- places to cut ------------------------------------------------------------------------ */

static uint32_t code_at(const uint8_t **p, const uint8_t *end)
{
    uint32_t code;
    *p += utf8_next(*p, end, &code);
    return code == BLANK_MARK ? ' ' : code;
}

/* The walk finds the places that one finds who asks for each, wherever blocks of it begin. */
static void test_cuts(void)
{
    static const char *const units[] = {
        "the ",   "e",          "\n",   "  ",       "\u00e9",           "\u2581",
        "\u706b", "\U0001f600", "\x80", "\xe2\x96", "in the beginning "};
    struct tokenizer t;
    uint8_t text[400];
    size_t cut_count = 0;
    case_begin("places to cut");
    if (tokenizer_open(&t, SMALL_MODEL))
        abort();
    for (int round = 0; round < 1000; round++) {
        uint32_t kinds = round % 3 ? 11 : 4; /* a third is ASCII */
        size_t bytes = 0;
        for (size_t most = 1 + random_below(300); bytes < most;) {
            const char *unit = units[random_below(kinds)];
            memcpy(text + bytes, unit, strlen(unit));
            bytes += strlen(unit);
        }
        struct cuts c;
        cuts_begin(&c, &t.bpe, text, text + bytes);
        const uint8_t *p = text, *end = text + bytes;
        uint32_t last = code_at(&p, end);
        for (bool more = true, same = true; more && same; cut_count++) {
            const uint8_t *next = p;
            while (p < end) {
                uint32_t code = code_at(&next, end);
                bool joined = bpe_joins(&t.bpe, last, code);
                last = code;
                if (!joined)
                    break;
                p = next;
            }
            same = cuts_next(&c) == p;
            CHECK(same);
            more = p < end;
            p = next;
        }
    }
    char note[40];
    snprintf(note, sizeof note, "%zu places", cut_count);
    case_end(note);
    tokenizer_close(&t);
}

/* ---- comparing ---------------------------------------------------------------------------- */

static bool same_ids(const struct ids *a, const struct ids *b)
{
    return a->count == b->count &&
           (a->count == 0 || !memcmp(a->id, b->id, sizeof *a->id * a->count));
}

/* Decode whole, and in parts of a few ids; both must be the text. */
static bool comes_back(const struct tokenizer *t, const struct ids *ids, const char *text,
                       size_t bytes)
{
    uint8_t *back = malloc(bytes + 1);
    size_t n = tokenizer_decode(t, ids->id, ids->count, NULL, back, bytes);
    bool same = n == bytes && !memcmp(back, text, bytes), begun = false;
    memset(back, 0, bytes);
    size_t at = 0;
    for (size_t i = 0; same && i < ids->count; i += 3)
        at += tokenizer_decode(t, ids->id + i, ids->count - i < 3 ? ids->count - i : 3, &begun,
                               back + at, bytes - at);
    same = same && at == bytes && !memcmp(back, text, bytes);
    free(back);
    return same;
}

static void check_text(struct encoder *e, const struct slow *s, const char *text, size_t bytes)
{
    struct ids slow = {0}, fast = {0};
    slow_encode(s, text, bytes, &slow);
    for (int warm = 0; warm < 2; warm++) {
        fast.count = 0;
        CHECK(!encoder_encode(e, text, bytes, SPECIAL_TEXT, &fast));
        CHECK(same_ids(&slow, &fast));
    }
    CHECK(!e->t->byte_fallback || memmem(text, bytes, "\u2581", 3) ||
          comes_back(e->t, &fast, text, bytes));
    if (check_failures_here == 1)
        fprintf(stderr, "the text: \"%.*s\"\n", (int)(bytes < 400 ? bytes : 400), text);
    ids_free(&slow);
    ids_free(&fast);
}

static size_t append_text(char *to, size_t at, const void *text, size_t bytes)
{
    memcpy(to + at, text, bytes);
    return at + bytes;
}

/* Texts of `parts` parts each, from an alphabet or glued from the model's pieces. */
static void check_random(struct encoder *e, const struct slow *s, const char *const *alphabet,
                         uint32_t letters, int texts, int parts)
{
    char *text = malloc((size_t)parts * 64);
    for (int i = 0; i < texts && check_failures_here == 0; i++) {
        size_t n = 0;
        for (int k = 0; k < parts; k++) {
            const char *part = alphabet ? alphabet[random_below(letters)] : NULL;
            uint32_t id = random_below(e->t->vocab_size);
            size_t bytes = part ? strlen(part) : 0;
            if (!part && e->t->pieces[id].kind == PIECE_NORMAL)
                part = (const char *)tokenizer_bytes(e->t, id, &bytes);
            if (part && bytes <= 64)
                n = append_text(text, n, part, bytes);
        }
        check_text(e, s, text, n);
    }
    free(text);
}

static const char *const text_alphabet[] = {"a",      "e",          "t",
                                            "the",    "ing",        " ",
                                            "  ",     "    ",       "\n",
                                            "\t",     "0",          "42",
                                            "-",      "--",         "----",
                                            "_",      "/*",         "//",
                                            "<",      "</",         "s>",
                                            "=",      "{",          "}",
                                            "(",      ");",         ".",
                                            ",",      "A",          "THE",
                                            "\u4f60", "\u597d",     "\u043f\u0440\u0438",
                                            "\u00e9", "\U0001F600", "\u200d",
                                            "\r",     "\x01",       "\u2581",
                                            "\u00a0"};

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof *(array)))

/* Cut wherever encoder_cut allows, a document has the same ids. Returns the number of parts. */
static size_t check_parts(struct encoder *e, const char *text, size_t bytes, enum special special)
{
    struct framing framing = {true, true, special};
    struct ids whole = {0}, parts = {0};
    size_t count = 0, most = 1;
    CHECK(!encoder_document(e, text, bytes, framing, &whole));
    for (size_t at = 0, n; at < bytes || count == 0; at += n, count++) {
        size_t left = bytes - at;
        for (n = 0; most < left && !n; most += 1 + random_below(50))
            n = encoder_cut(e->t, special, text + at, most);
        n = n ? n : left;
        most = 1 + random_below(50);
        CHECK(!encoder_part(e, text + at, n, framing, at == 0, n == left, &parts));
    }
    CHECK(same_ids(&whole, &parts));
    ids_free(&whole);
    ids_free(&parts);
    return count;
}

static void test_parts(struct encoder *e, const char *name)
{
    static const char *const more[] = {"<s>",    "</s>",   "<unk>", "the end ",
                                       "\u2581", "\u706b", "ab",    "=="};
    char text[1200], note[120];
    size_t parts = 0;
    case_begin("documents in parts");
    for (int i = 0; i < 1000 && check_failures_here == 0; i++) {
        size_t n = 0;
        for (uint32_t k = random_below(60); k > 0; k--) {
            const char *part = random_below(3) ? text_alphabet[random_below(COUNT(text_alphabet))]
                                               : more[random_below(COUNT(more))];
            n = append_text(text, n, part, strlen(part));
        }
        parts += check_parts(e, text, n, i % 2 ? SPECIAL_TEXT : SPECIAL_LITERAL);
    }
    CHECK(parts > 1500);
    snprintf(note, sizeof note, "%s, %zu parts", name, parts);
    case_end(note);
}

static void against_slow(const struct tokenizer *t, const char *name)
{
    struct encoder e;
    case_begin(name);
    CHECK(!encoder_open(&e, t));
    struct slow s = slow_open(t);
    check_text(&e, &s, "", 0);
    check_text(&e, &s, "\0a\0\0 b\0", 7);
    check_random(&e, &s, made_alphabet, COUNT(made_alphabet), 4000, 12);
    check_random(&e, &s, made_alphabet, 5, 400, 120);
    check_random(&e, &s, made_alphabet, 4, 3, 6000);
    check_random(&e, &s, text_alphabet, COUNT(text_alphabet), 2000, 40);
    check_random(&e, &s, NULL, 0, 1000, 20);
    case_end("");
    free(s.sorted);
    test_parts(&e, name);
    encoder_close(&e);
}

static void test_made(const char *name, struct made_settings settings, int padding)
{
    struct made_model m = {0};
    struct tokenizer t;
    made_specials(&m);
    for (int i = 0; i < padding; i++) {
        char spelling[16];
        snprintf(spelling, sizeof spelling, "<%d>", i);
        made_piece(&m, spelling, 0, PIECE_CONTROL);
    }
    if (settings.byte_fallback)
        made_byte_pieces(&m);
    if (settings.users)
        made_users(&m);
    made_hard_pieces(&m);
    made_end(&m, settings);
    if (tokenizer_read(&t, m.data, m.bytes, name)) {
        case_begin(name);
        CHECK(!"tokenizer_read");
        case_end(why());
        return;
    }
    against_slow(&t, name);
    tokenizer_close(&t);
    made_free(&m);
}

static void test_file(const char *path, const char *name)
{
    struct tokenizer t;
    if (tokenizer_open(&t, path)) {
        case_begin(name);
        CHECK(!"tokenizer_open");
        case_end(why());
        return;
    }
    against_slow(&t, name);
    tokenizer_close(&t);
}

/* ---- documents ---------------------------------------------------------------------------- */

/* Whether the document's ids are those in `want`, which ends with TOKENIZER_NONE. */
static bool document_is(struct encoder *e, const char *text, struct framing framing,
                        const uint32_t *want)
{
    struct ids ids = {0};
    size_t n = 0;
    while (want[n] != TOKENIZER_NONE)
        n++;
    bool same = !encoder_document(e, text, strlen(text), framing, &ids) && ids.count == n &&
                (n == 0 || !memcmp(ids.id, want, sizeof *want * n));
    ids_free(&ids);
    return same;
}

#define IDS(...) ((const uint32_t[]){__VA_ARGS__ TOKENIZER_NONE})

static void test_documents(void)
{
    struct tokenizer t;
    struct encoder e;
    struct made_model m = {0};
    made_specials(&m); /* 0 1 2 */
    made_piece(&m, "\u2581", -1, PIECE_NORMAL);
    made_piece(&m, "a", -2, PIECE_NORMAL);
    made_piece(&m, "<", -3, PIECE_NORMAL);
    made_end(&m, (struct made_settings){0});
    case_begin("documents and special strings");
    CHECK(!tokenizer_read(&t, m.data, m.bytes, "made") && !encoder_open(&e, &t));
    struct framing both = {true, true, SPECIAL_LITERAL}, bare = {false, false, SPECIAL_LITERAL};
    struct framing text = {true, true, SPECIAL_TEXT}, no_eos = {true, false, SPECIAL_LITERAL};
    CHECK(document_is(&e, "", both, IDS(1, )));
    CHECK(document_is(&e, "", bare, IDS()));
    CHECK(document_is(&e, "", text, IDS(1, )));
    CHECK(document_is(&e, "a", both, IDS(1, 3, 4, 2, )));
    CHECK(document_is(&e, "a", no_eos, IDS(1, 3, 4, )));
    CHECK(document_is(&e, "a</s>a", both, IDS(1, 3, 4, 2, 3, 4, 2, )));
    CHECK(document_is(&e, "<<s>", both, IDS(1, 3, 5, 1, 2, )));
    CHECK(document_is(&e, "<", both, IDS(1, 3, 5, 2, )));
    CHECK(document_is(&e, "<s>", text, IDS(1, 3, 5, 0, 2, )));
    CHECK(document_is(&e, "a\u4f60\u597d<unk>\u4f60", bare, IDS(3, 4, 0, 0, 3, 0, )));
    encoder_close(&e);
    tokenizer_close(&t);

    /* Names that run from the text into the EOS behind it. */
    m.bytes = 0;
    made_piece(&m, "<unk>", 0, PIECE_UNKNOWN);
    made_piece(&m, "a>", 0, PIECE_CONTROL);
    made_piece(&m, "><", 0, PIECE_CONTROL);
    made_piece(&m, "a", -1, PIECE_NORMAL);
    made_piece(&m, "<", -2, PIECE_NORMAL);
    made_end(&m, (struct made_settings){.no_prefix = true, .bos = "a>", .eos = "><"});
    CHECK(!tokenizer_read(&t, m.data, m.bytes, "made") && !encoder_open(&e, &t));
    CHECK(document_is(&e, "<", both, IDS(1, 4, 2, )));
    CHECK(document_is(&e, "a", both, IDS(1, 1, 4, )));
    encoder_close(&e);
    tokenizer_close(&t);

    /* Without BOS and EOS. */
    m.bytes = 0;
    made_piece(&m, "?", 0, PIECE_UNKNOWN);
    made_piece(&m, "a", -1, PIECE_NORMAL);
    made_end(&m, (struct made_settings){0});
    CHECK(!tokenizer_read(&t, m.data, m.bytes, "made") && !encoder_open(&e, &t));
    CHECK(!document_is(&e, "a", both, IDS()) && strstr(why(), "no BOS piece"));
    CHECK(document_is(&e, "a", bare, IDS(0, 1, )));
    encoder_close(&e);
    tokenizer_close(&t);
    made_free(&m);
    case_end("");
}

/* ---- texts made to be slow ---------------------------------------------------------------- */

static void test_worst(struct encoder *e, const char *name, const char *unit, size_t bytes)
{
    size_t n = strlen(unit);
    char *text = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        text[i] = *unit ? unit[i % n] : (char)(' ' + random_below(95));
    struct ids ids = {0};
    case_begin(name);
    CHECK(!encoder_encode(e, text, bytes, SPECIAL_TEXT, &ids));
    CHECK(comes_back(e->t, &ids, text, bytes));
    char note[64];
    snprintf(note, sizeof note, "%zu bytes, %zu ids", bytes, ids.count);
    case_end(note);
    ids_free(&ids);
    free(text);
}

static void test_worsts(void)
{
    struct tokenizer t;
    struct encoder e;
    struct made_model m = {0};
    made_specials(&m);
    made_byte_pieces(&m);
    made_hard_pieces(&m);
    made_end(&m, (struct made_settings){.byte_fallback = true});
    if (tokenizer_read(&t, m.data, m.bytes, "made") || encoder_open(&e, &t)) {
        case_begin("worst texts");
        CHECK(!"opens");
        case_end(why());
        return;
    }
    test_worst(&e, "a megabyte of one letter", "a", 1 << 20);
    test_worst(&e, "a megabyte of blanks", " ", 1 << 20);
    test_worst(&e, "a megabyte of two letters", "ab", 1 << 20);
    test_worst(&e, "a megabyte that never cuts", "aab b  ba", 1 << 20);
    test_worst(&e, "a megabyte of random ASCII", "", 1 << 20);
    test_worst(&e, "a megabyte of newlines", "\n", 1 << 20);
    made_free(&m);
    encoder_close(&e);
    tokenizer_close(&t);
}

int main(void)
{
    test_cuts();
    test_documents();
    test_made("made model with byte pieces", (struct made_settings){.byte_fallback = true}, 0);
    test_made("made model with ids above 65535", (struct made_settings){.byte_fallback = true},
              65536);
    test_made("made model with user-defined pieces",
              (struct made_settings){.users = true, .byte_fallback = true}, 0);
    test_made("made model without byte pieces", (struct made_settings){0}, 0);
    test_made("made model without the dummy blank",
              (struct made_settings){.byte_fallback = true, .no_prefix = true}, 0);
    test_file(SMALL_MODEL, "a trained model");
    const char *shared = getenv("TTT_SHARED");
    char path[4096];
    snprintf(path, sizeof path, "%s/data/llama2-tokenizer.model", shared ? shared : "");
    if (shared && *shared && !access(path, R_OK))
        test_file(path, "Llama's model");
    else
        case_skip("Llama's model", "TTT_SHARED names no folder that holds it");
    test_worsts();
    return check_finish();
}
