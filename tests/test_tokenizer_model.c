/* test_tokenizer_model.c -- tokenizer models that are damaged, or of a kind that is refused. */
#include "check.h"
#include "encoder.h"
#include "file.h"
#include "made_model.h"

#include <stdlib.h>

#define SMALL_MODEL "tests/golden/tokenizer/small-1024.model"

/* Either a sentence that begins with the name, or a model that works. Returns whether it opened. */
static bool survives(const uint8_t *data, size_t bytes)
{
    struct tokenizer t;
    struct encoder e;
    static const char text[] = "abba  a\u00e9\u706b\u706b==\nq <s>x</s> the beginning  ";
    if (tokenizer_read(&t, data, bytes, "damaged")) {
        CHECK(!strncmp(why(), "damaged: ", 9) && strlen(why()) > 20);
        CHECK(t.pieces == NULL);
        return false;
    }
    struct ids ids = {0};
    struct framing framing = {t.bos_id != TOKENIZER_NONE, t.eos_id != TOKENIZER_NONE,
                              SPECIAL_LITERAL};
    CHECK(!encoder_open(&e, &t));
    CHECK(!encoder_document(&e, text, sizeof text - 1, framing, &ids));
    for (size_t i = 0; i < ids.count; i++)
        CHECK(ids.id[i] < t.vocab_size);
    uint8_t back[512];
    CHECK(tokenizer_decode(&t, ids.id, ids.count, NULL, back, sizeof back) > 0);
    ids_free(&ids);
    encoder_close(&e);
    tokenizer_close(&t);
    return true;
}

/* Cut data at every `step`th length, and flip every `step`th bit. */
static void test_damage(const char *name, const uint8_t *data, size_t bytes, size_t step)
{
    uint8_t *copy = malloc(bytes); /* of its own size, so that reading past it is seen */
    size_t opened = 0, tried = 0;
    case_begin(name);
    for (size_t n = 0; n < bytes; n += step, tried++) {
        uint8_t *cut = malloc(n ? n : 1);
        memcpy(cut, data, n);
        opened += survives(cut, n);
        free(cut);
    }
    memcpy(copy, data, bytes);
    for (size_t bit = 0; bit < 8 * bytes; bit += step, tried++) {
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        opened += survives(copy, bytes);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK(survives(copy, bytes));
    char note[80];
    snprintf(note, sizeof note, "%zu damaged models, %zu of them still work", tried, opened);
    case_end(note);
    free(copy);
}

static void test_damages(void)
{
    struct made_model m = {0};
    made_specials(&m);
    made_users(&m);
    made_hard_pieces(&m);
    made_end(&m, (struct made_settings){0});
    test_damage("every cut and every flip of a made model", m.data, m.bytes, 1);
    made_free(&m);
    struct map map;
    if (map_open(&map, SMALL_MODEL)) {
        case_begin("cuts and flips of a trained model");
        CHECK(!"map_open");
        case_end(why());
        return;
    }
    test_damage("cuts and flips of a trained model", map.data, map.bytes, 53);
    map_close(&map);
}

static void refused(const struct made_model *m, const char *sentence)
{
    struct tokenizer t;
    bool opened = !tokenizer_read(&t, m->data, m->bytes, "x.model");
    CHECK(!opened && strstr(why(), sentence));
    if (opened)
        tokenizer_close(&t);
    else if (!strstr(why(), sentence))
        fprintf(stderr, "wanted \"%s\", got \"%s\"\n", sentence, why());
}

static void refused_settings(struct made_settings settings, const char *sentence)
{
    struct made_model m = {0};
    made_specials(&m);
    made_hard_pieces(&m);
    made_end(&m, settings);
    refused(&m, sentence);
    made_free(&m);
}

static void refused_piece(const char *spelling, float score, enum piece_kind kind,
                          const char *sentence)
{
    struct made_model m = {0};
    made_specials(&m);
    made_piece(&m, spelling, score, kind);
    made_end(&m, (struct made_settings){0});
    refused(&m, sentence);
    made_free(&m);
}

static void test_refusals(void)
{
    case_begin("models that are refused");
    refused_settings((struct made_settings){.type = 1}, "x.model: a unigram model, and only BPE");
    refused_settings((struct made_settings){.type = 3}, "a word model");
    refused_settings((struct made_settings){.type = 4}, "a char model");
    refused_settings((struct made_settings){.type = 9}, "unknown type 9");
    refused_settings((struct made_settings){.charsmap = true}, "normalization_rule_name=identity");
    refused_settings((struct made_settings){.trim = true}, "remove_extra_whitespaces=false");
    refused_settings((struct made_settings){.suffix = true}, "treat_whitespace_as_suffix=false");
    refused_settings((struct made_settings){.no_escape = true}, "U+2581");
    refused_settings((struct made_settings){.byte_fallback = true}, "0 byte pieces");
    refused_piece("<0x41>", 0, PIECE_BYTE, "byte_fallback is off");
    refused_piece("<0x4g>", 0, PIECE_BYTE, "byte piece 3");
    refused_piece("old", 0, PIECE_UNUSED, "piece 3 is marked unused");
    refused_piece("<s>", 0, PIECE_NORMAL, "pieces 1 and 3 are spelled alike");
    refused_piece("", 0, PIECE_NORMAL, "piece 3 has 0 bytes");
    refused_piece("\xff", 0, PIECE_NORMAL, "piece 3 is not UTF-8");
    refused_piece("a", 0.0f / 0.0f, PIECE_NORMAL, "piece 3 has a score that is not a number");
    refused_piece("?", 0, PIECE_UNKNOWN, "pieces 0 and 3 are both");
    struct made_model m = {0};
    refused(&m, "not one piece");
    made_piece(&m, "a", 0, PIECE_NORMAL);
    refused(&m, "no trainer settings");
    made_end(&m, (struct made_settings){0});
    refused(&m, "no piece is of the unknown type");
    made_free(&m);
    struct tokenizer t;
    CHECK(tokenizer_open(&t, "no/such.model") && strstr(why(), "no/such.model"));
    case_end("");
}

int main(void)
{
    test_refusals();
    test_damages();
    return check_finish();
}
