/* device_texts.c -- texts are those that the sampler makes of their logits, wherever tokens are
   chosen. */
#include "check.h"
#include "device.h"
#include "texts.h"

#include <stdlib.h>
#include <string.h>

enum { VOCAB = 96, CHOICES = 90, BATCH = 2, TOKENS = 16 };

static const struct sample_config rules[] = {
    {.temperature = 0, .top_p = 1, .repetition_penalty = 1},
    {.temperature = 1, .top_p = 1, .repetition_penalty = 1},
    {.temperature = 2, .top_p = 1, .top_k = 7},
    {.temperature = 1.5, .top_p = 1, .top_k = (int64_t)1 << 40},
    {.temperature = 0.8, .top_p = 0.9},
    {.temperature = 1, .top_p = 1, .min_p = 0.1},
    {.temperature = 1.2, .top_p = 0.95, .top_k = 40, .min_p = 0.01},
    {.temperature = 1, .top_p = 0.95, .repetition_penalty = 1.5},
};

static const uint32_t prompt[BATCH][19] = {{1, 5, 9, 13, 17}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};
static const size_t prompt_tokens[BATCH] = {5, 19};

/* The tokens that follow, by decode_step and the sampler alone. */
static void expect(int32_t want[BATCH][TOKENS], const struct sample_config *rule,
                   const struct config *c, struct params *p)
{
    struct decode d = {0};
    struct sampler s = {0};
    struct sample_text text[BATCH] = {{0}};
    struct decode_prompt read[BATCH];
    float *logits = malloc(sizeof *logits * BATCH * VOCAB);
    CHECK(decode_open(&d, c, p, BATCH, 64) == 0 && sample_open(&s, rule, CHOICES) == 0);
    for (int b = 0; b < BATCH; b++) {
        CHECK(sample_begin(&s, &text[b], 7 + (uint64_t)b) == 0);
        for (size_t i = 0; i < prompt_tokens[b]; i++)
            sample_note(&text[b], prompt[b][i]);
        read[b] = (struct decode_prompt){(const int32_t *)prompt[b], (int64_t)prompt_tokens[b]};
    }
    CHECK(decode_read(&d, read, logits) == 0);
    for (int t = 0; t < TOKENS; t++) {
        int32_t now[BATCH];
        for (int b = 0; b < BATCH; b++) {
            CHECK(sample_pick(&s, &text[b], logits + b * VOCAB, &now[b]) == 0);
            sample_note(&text[b], (uint32_t)now[b]);
            want[b][t] = now[b];
        }
        CHECK(decode_step(&d, now, logits) == 0);
    }
    for (int b = 0; b < BATCH; b++)
        sample_end(&text[b]);
    sample_close(&s);
    decode_close(&d);
    free(logits);
}

static void begin(struct texts *t, struct text *list, int batch)
{
    static const struct tokenizer no_words; /* ids are what is compared */
    CHECK(texts_begin(t, batch, 64, NULL, NULL) == 0);
    for (int b = 0; b < batch; b++) {
        list[b] = (struct text){.echo = true, .keeps = true, .out.t = &no_words};
        CHECK(sample_begin(&t->sampler, &list[b].chance, 7 + (uint64_t)b) == 0);
        list[b].ids = (struct ids){.count = prompt_tokens[b]};
        list[b].ids.id = malloc(sizeof prompt[b]);
        memcpy(list[b].ids.id, prompt[b], sizeof prompt[b]);
    }
}

/* Side by side to their ends; the model has not read the last token. */
static void run_whole(struct texts *t, int32_t want[BATCH][TOKENS])
{
    struct text list[BATCH];
    begin(t, list, BATCH);
    CHECK(texts_run(t, list) == 0);
    CHECK(t->away == (decode_picks(&t->decode) && !sample_penalises(&t->sampler)));
    for (int b = 0; b < BATCH; b++) {
        CHECK(list[b].end == TEXT_LENGTH && list[b].last == want[b][TOKENS - 1]);
        CHECK(list[b].told.count == prompt_tokens[b] + TOKENS - 1);
        for (int i = 0; i < TOKENS - 1; i++)
            CHECK((int32_t)list[b].told.id[prompt_tokens[b] + (size_t)i] == want[b][i]);
        text_close(&list[b]);
    }
}

/* Interrupted when the model has read a token and the next may have been chosen: that draw is made
   again. */
static void run_in_steps(struct texts *t)
{
    struct text whole, one;
    begin(t, &whole, 1);
    CHECK(texts_run(t, &whole) == 0);
    begin(t, &one, 1);
    t->config.interrupt = &one.last; /* any token but 0 */
    for (int i = 0; i < TOKENS - 1; i++) {
        struct ids none = {0};
        one.last = 0;
        CHECK(texts_run(t, &one) == 0 && one.end == TEXT_INTERRUPTED);
        CHECK(texts_go_on(&one, &none) == 0);
    }
    t->config.interrupt = NULL;
    CHECK(one.told.count >= whole.told.count);
    CHECK(!memcmp(one.told.id, whole.told.id, whole.told.count * sizeof *whole.told.id));
    text_close(&whole);
    text_close(&one);
}

static void test_rules(const struct config *c, struct params *p)
{
    const struct texts_config how = {.tokens = TOKENS, .eos_id = TOKENIZER_NONE};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const struct sample_config *r = &rules[i];
        struct texts t;
        char name[128];
        int32_t want[BATCH][TOKENS];
        snprintf(name, sizeof name,
                 "temperature %g, top_k %lld, top_p %g, min_p %g, repetition_penalty %g",
                 r->temperature, (long long)r->top_k, r->top_p, r->min_p, r->repetition_penalty);
        case_begin(name);
        expect(want, r, c, p);
        CHECK(texts_open(&t, &how, c, p, r, CHOICES) == 0);
        run_whole(&t, want);
        run_in_steps(&t);
        texts_close(&t);
        case_end("");
    }
}

int main(void)
{
    struct config c;
    struct params p = {0};
    const char *broken = device_open(0);
    if (broken) {
        fprintf(stderr, "device_texts: %s\n", broken);
        return 1;
    }
    if (config_load(&c, "125m-TTT") ||
        config_update(&c, "dict(vocab_size=96, hidden_size=64, intermediate_size=80, "
                          "num_hidden_layers=1, num_attention_heads=2)") ||
        params_list(&p, &c) || params_alloc(&p, false)) {
        fprintf(stderr, "device_texts: %s\n", why());
        return 1;
    }
    params_init(&p, 1, 0.3);
    test_rules(&c, &p);
    params_close(&p);
    device_close();
    return check_finish();
}
