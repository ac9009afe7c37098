/* device_decode.c -- decoding token by token equals the forward over the whole text. */
#include "check.h"
#include "decode.h"
#include "device.h"
#include "random.h"
#include "sample.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>

enum { VOCAB = 96, WIDTH = 64, BATCH = 2 };

static const double NEAR = sizeof(real) == sizeof(float) ? 2e-5 : 6e-2;

struct kind {
    const char *name, *update;
};

static const struct kind kinds[] = {
    {"linear", "dict(seq_modeling_block='ttt_linear', pre_conv=True)"},
    {"linear, no pre_conv", "dict(seq_modeling_block='ttt_linear', pre_conv=False)"},
    {"base", "dict(seq_modeling_block='ttt_linear_base', pre_conv=False)"},
    {"base, pre_conv", "dict(seq_modeling_block='ttt_linear_base', pre_conv=True)"},
    {"untied, mini-batch 8",
     "dict(seq_modeling_block='ttt_linear', tie_word_embeddings=False, mini_batch_size=8)"},
    {"heads of 16, mini-batch 1",
     "dict(seq_modeling_block='ttt_linear', num_attention_heads=4, mini_batch_size=1)"},
    {"mlp", "dict(seq_modeling_block='ttt_mlp', ttt_base_lr=0.1)"},
    {"mlp, mini-batch 1, untied",
     "dict(seq_modeling_block='ttt_mlp', mini_batch_size=1, tie_word_embeddings=False)"},
    {"mlp base", "dict(seq_modeling_block='ttt_mlp_base', pre_conv=False, num_attention_heads=4)"},
    {"attention", "dict(seq_modeling_block='self_attention', pre_conv=False)"},
    {"attention, pre_conv, untied, heads of 16",
     "dict(seq_modeling_block='self_attention', num_attention_heads=4, tie_word_embeddings=False)"},
};

/* Large enough that every part of the model shows in the logits: the start values leave norms at
   one and biases at zero. */
static void shake(struct params *p)
{
    for (int i = 0; i < p->count; i++) {
        const struct param *q = &p->list[i];
        float *value = malloc(sizeof *value * q->count), *noise = malloc(sizeof *noise * q->count);
        device_get(value, param_master(p, i), sizeof *value * q->count);
        random_normal(noise, q->count, 5, random_stream(q->name), 0, 0.1f);
        for (size_t j = 0; j < q->count; j++)
            value[j] += noise[j];
        device_put(param_master(p, i), value, sizeof *value * q->count);
        free(noise);
        free(value);
    }
    params_refresh(p);
}

static int first_largest(const float *x, int count)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

/* Whether logits [VOCAB] are those of `want`; returns the largest difference. */
static double compare_logits(const float *got, const float *want)
{
    double worst = 0;
    for (int v = 0; v < VOCAB; v++) {
        double apart = fabs((double)got[v] - want[v]);
        CHECK(apart <= NEAR);
        worst = apart > worst ? apart : worst;
    }
    /* The same choice, unless two logits are nearer than the rounding. */
    int a = first_largest(got, VOCAB), w = first_largest(want, VOCAB);
    CHECK(a == w || want[w] - want[a] <= 2 * worst);
    return worst;
}

/* Decode `length` tokens of the rows whose forward is in `whole` [BATCH][seq][VOCAB]. */
static double decode_rows(struct decode *d, const int32_t *ids, const float *whole, int seq,
                          int length)
{
    float *logits = malloc(sizeof *logits * BATCH * VOCAB);
    double worst = 0;
    decode_begin(d);
    for (int t = 0; t < length; t++) {
        int32_t now[BATCH];
        for (int b = 0; b < BATCH; b++)
            now[b] = ids[b * seq + t];
        CHECK(decode_step(d, now, logits) == 0);
        for (int b = 0; b < BATCH; b++) {
            double here = compare_logits(logits + b * VOCAB, whole + (b * seq + t) * VOCAB);
            worst = here > worst ? here : worst;
        }
    }
    free(logits);
    return worst;
}

/* Prompts of lengths a and b, read together as far as whole mini-batches go, then on to the end,
   the longer sequence resting at times. */
static double read_prompts(struct decode *d, const int32_t *ids, const float *whole, int seq, int a,
                           int b)
{
    const int32_t *text[BATCH] = {ids, ids + seq};
    const struct decode_prompt prompts[BATCH] = {{text[0], a}, {text[1], b}};
    float *logits = malloc(sizeof *logits * BATCH * VOCAB);
    int at[BATCH] = {a, b};
    double worst = 0;
    decode_begin(d);
    CHECK(decode_read(d, prompts, logits) == 0);
    for (int turn = 0; at[0] < seq || at[1] < seq; turn++) {
        int32_t now[BATCH];
        for (int i = 0; i < BATCH; i++) {
            if (turn == 0 || now[i] >= 0) {
                double here =
                    compare_logits(logits + i * VOCAB, whole + (i * seq + at[i] - 1) * VOCAB);
                worst = here > worst ? here : worst;
            }
            bool rests = at[i] == seq || (at[i] > at[1 - i] && turn % 3 == 1);
            now[i] = rests ? -1 : text[i][at[i]++];
        }
        CHECK(decode_step(d, now, logits) == 0);
    }
    free(logits);
    return worst;
}

/* Both texts in portions, one sequence's now and then empty; of the longest no more than 16 or so
   together, and so piece by piece. */
static double read_portions(struct decode *d, const int32_t *ids, const float *whole, int seq)
{
    static const int portions[][BATCH] = {{5, 40}, {0, 1}, {30, 0}, {1, 16}, {34, 3}, {10, 20}};
    float *logits = malloc(sizeof *logits * BATCH * VOCAB);
    int at[BATCH] = {0}, most = d->read_tokens;
    double worst = 0;
    decode_begin(d);
    d->read_tokens = 16;
    for (size_t i = 0; i < sizeof portions / sizeof *portions; i++) {
        struct decode_prompt prompts[BATCH];
        for (int b = 0; b < BATCH; b++) {
            prompts[b] = (struct decode_prompt){ids + b * seq + at[b], portions[i][b]};
            at[b] += portions[i][b];
            logits[b * VOCAB] = 1234;
        }
        CHECK(decode_read(d, prompts, logits) == 0);
        for (int b = 0; b < BATCH; b++) {
            CHECK(d->position[b] == at[b]);
            if (!portions[i][b]) {
                CHECK(logits[b * VOCAB] == 1234);
                continue;
            }
            double here = compare_logits(logits + b * VOCAB, whole + (b * seq + at[b] - 1) * VOCAB);
            worst = here > worst ? here : worst;
        }
    }
    CHECK(at[0] == seq && at[1] == seq);
    d->read_tokens = most;
    free(logits);
    return worst;
}

static volatile sig_atomic_t interrupt;

static void on_alarm(int sig)
{
    (void)sig;
    interrupt = 1;
}

/* Interrupted before it begins and then later and later, until all has been read: every time it
   goes on where it was. */
static double read_interrupted(struct decode *d, const int32_t *ids, const float *whole, int seq)
{
    float *logits = malloc(sizeof *logits * BATCH * VOCAB);
    int most = d->read_tokens;
    double worst = 0;
    decode_begin(d);
    d->read_tokens = 16;
    d->interrupt = &interrupt;
    signal(SIGALRM, on_alarm);
    for (long wait_us = 0; d->position[0] < seq || d->position[1] < seq; wait_us += wait_us + 20) {
        struct decode_prompt prompts[BATCH];
        for (int b = 0; b < BATCH; b++)
            prompts[b] =
                (struct decode_prompt){ids + b * seq + d->position[b], seq - d->position[b]};
        interrupt = wait_us == 0;
        setitimer(ITIMER_REAL,
                  &(struct itimerval){.it_value = {wait_us / 1000000, wait_us % 1000000}}, NULL);
        CHECK(decode_read(d, prompts, logits) == 0);
        setitimer(ITIMER_REAL, &(struct itimerval){{0}}, NULL);
        if (wait_us == 0)
            CHECK(d->position[0] == 0 && d->position[1] == 0);
    }
    for (int b = 0; b < BATCH; b++) {
        double here = compare_logits(logits + b * VOCAB, whole + (b * seq + seq - 1) * VOCAB);
        worst = here > worst ? here : worst;
    }
    d->interrupt = NULL;
    d->read_tokens = most;
    free(logits);
    return worst;
}

/* Tokens that the device chooses are those that the sampler chooses from its logits; the rule
   changes half-way. */
static void pick_rows(struct decode *d, const int32_t *ids, int seq, int length)
{
    static const struct sample_config rules[] = {{.temperature = 1, .top_p = 1},
                                                 {.temperature = 0.8, .top_p = 0.9}};
    float *logits = malloc(sizeof *logits * BATCH * VOCAB);
    struct sampler s = {0};
    decode_begin(d);
    for (int t = 0; t < length; t++) {
        const struct sample_config *c = &rules[t >= length / 2];
        if (t == 0 || t == length / 2) {
            sample_close(&s);
            CHECK(sample_open(&s, c, VOCAB - 1) == 0);
            decode_rule(d, &(struct pick_rule){c->temperature, c->top_p, 0, 0}, VOCAB - 1);
        }
        int32_t now[BATCH], chosen[BATCH];
        double draw[BATCH];
        for (int b = 0; b < BATCH; b++) {
            now[b] = ids[b * seq + t];
            draw[b] = random_uniform((uint64_t)b, random_stream("sample"), (uint64_t)t);
        }
        CHECK(decode_pick(d, now, draw, chosen) == 0);
        decode_logits(d, logits);
        for (int b = 0; b < BATCH; b++) {
            struct sample_text text = {.seed = (uint64_t)b, .draws = (uint64_t)t};
            int32_t want;
            CHECK(sample_pick(&s, &text, logits + b * VOCAB, &want) == 0 && chosen[b] == want);
        }
    }
    sample_close(&s);
    free(logits);
}

static void test_kind(const struct kind *k)
{
    enum { SEQ = 80 };
    static const int lengths[] = {17, SEQ}; /* the second from its start: each place is looked at */
    struct config c;
    struct params p = {0};
    struct model m = {0};
    struct decode d = {0};
    case_begin(k->name);
    int rc = config_load(&c, "125m-TTT") ||
             config_update(&c, "dict(vocab_size=96, hidden_size=64, intermediate_size=80, "
                               "num_hidden_layers=2, num_attention_heads=2)") ||
             config_update(&c, k->update) || params_list(&p, &c) || params_alloc(&p, false);
    if (rc) {
        fprintf(stderr, "%s: %s\n", k->name, why());
        CHECK(!rc);
        case_end("");
        return;
    }
    params_init(&p, 1, 0.1);
    shake(&p);
    int32_t ids[BATCH * SEQ];
    float mask[BATCH * SEQ];
    for (int i = 0; i < BATCH * SEQ; i++) {
        ids[i] = (int32_t)(random_uniform(2, 3, (uint64_t)i) * VOCAB);
        mask[i] = 1;
    }
    float *whole = malloc(sizeof *whole * BATCH * SEQ * VOCAB);
    struct tokens t = {ids, ids, mask};
    struct score score = {0};
    CHECK(model_open(&m, &c, &p, BATCH, SEQ, false) == 0);
    CHECK(model_score(&m, &t, 1, &score) == 0);
    model_logits(&m, whole, 0, BATCH * SEQ);
    CHECK(decode_open(&d, &c, &p, BATCH, SEQ) == 0);
    double worst = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        double error = decode_rows(&d, ids, whole, SEQ, lengths[i]);
        worst = error > worst ? error : worst;
    }
    static const int pairs[][2] = {{1, 1}, {16, 17}, {40, 3}, {33, 34}, {79, 64}, {2, 80}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        double error = read_prompts(&d, ids, whole, SEQ, pairs[i][0], pairs[i][1]);
        worst = error > worst ? error : worst;
    }
    double error = read_portions(&d, ids, whole, SEQ);
    worst = error > worst ? error : worst;
    error = d.capacity || k == kinds ? read_interrupted(&d, ids, whole, SEQ) : 0;
    worst = error > worst ? error : worst;
    if (decode_picks(&d) && k == kinds) /* whatever the block, the choice is the same */
        pick_rows(&d, ids, SEQ, 20);
    char note[64];
    snprintf(note, sizeof note, "largest difference of logits %.1e, largest logit %.1f", worst,
             (double)whole[first_largest(whole, BATCH * SEQ * VOCAB)]);
    free(whole);
    decode_close(&d);
    model_close(&m);
    params_close(&p);
    case_end(note);
}

int main(void)
{
    const char *closed = device_open(0);
    if (closed) {
        fprintf(stderr, "device_decode: %s\n", closed);
        return 1;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        test_kind(&kinds[i]);
    device_close();
    return check_finish();
}
