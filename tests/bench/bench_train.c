/* bench_train.c -- whole steps of training, the optimiser included, and decoding. */
#include "bench_parts.h"
#include "config.h"
#include "decode.h"
#include "err.h"
#include "model.h"
#include "optim.h"

#include <math.h>

/* ---- training ---------------------------------------------------------------------------------
 */

struct training {
    struct config config;
    struct params params;
    struct model model;
    struct optim optim;
    struct plan plan;
    int rows; /* of a micro-batch */
    int64_t step;
    struct tokens tokens;
    int32_t *ids;
    float *mask;
};

static int make_config(struct config *c, const char *size, const char *block)
{
    char update[256];
    snprintf(update, sizeof update, "dict(seq_modeling_block='%s', vocab_size=%d%s)", block,
             bench.tiny ? 64 : 32000,
             bench.tiny ? ", num_hidden_layers=1, hidden_size=32, num_attention_heads=2, "
                          "intermediate_size=48"
                        : "");
    return config_load(c, size) || config_update(c, update) ? -1 : 0;
}

/* The most rows of a step of bench.batch that fit at once. */
static int plan_rows(struct training *t)
{
    static const struct optim_config adamw = OPTIM_DEFAULT;
    size_t free_bytes = device_free_bytes();
    for (t->rows = bench.batch; t->rows > 0; t->rows /= 2) {
        t->plan = (struct plan){0};
        if (model_plan(&t->plan, &t->config, &t->params, t->rows, bench.seq, true))
            return -1;
        optim_plan(&t->plan, &adamw, &t->params);
        if (plan_total(&t->plan) <= free_bytes)
            return 0;
    }
    return fail("not one row of %d tokens fits", bench.seq);
}

static int make_training(struct training *t, const char *size, const char *block)
{
    static const struct optim_config adamw = OPTIM_DEFAULT;
    size_t count = (size_t)bench.batch * (size_t)bench.seq;
    if (make_config(&t->config, size, block) || params_list(&t->params, &t->config) ||
        plan_rows(t) || params_alloc(&t->params, true) ||
        model_open(&t->model, &t->config, &t->params, t->rows, bench.seq, true) ||
        optim_open(&t->optim, &adamw, &t->params))
        return -1;
    params_init(&t->params, 1, t->config.initializer_range);
    t->ids = malloc(sizeof *t->ids * (count + 1));
    t->mask = malloc(sizeof *t->mask * count);
    if (!t->ids || !t->mask)
        return fail("out of memory");
    for (size_t i = 0; i <= count; i++)
        t->ids[i] = bench_id(i, t->config.vocab_size);
    for (size_t i = 0; i < count; i++)
        t->mask[i] = 1;
    return 0;
}

static void close_training(struct training *t)
{
    optim_close(&t->optim);
    model_close(&t->model);
    params_close(&t->params);
    free(t->ids);
    free(t->mask);
}

/* As the trainer's, every part and the update; -1 with why(). */
static int train_step(struct training *t, struct score *score)
{
    int parts = bench.batch / t->rows;
    *score = (struct score){0};
    model_zero_grad(&t->model);
    for (int i = 0; i < parts; i++) {
        size_t at = (size_t)i * (size_t)t->rows * (size_t)bench.seq;
        struct tokens part = {t->ids + at, t->ids + at + 1, t->mask + at};
        if (model_send(&t->model, &part, 1.0 / parts))
            return -1;
        model_queue(&t->model, 1);
    }
    optim_measure(&t->optim, &t->params);
    optim_step(&t->optim, &t->params, t->step++);
    return model_collect(&t->model, score);
}

static void train_one(const char *size, const char *block)
{
    enum { WARM = 3, TIMED = 10 };
    struct training t = {0};
    struct score score = {0};
    int steps = bench.tiny ? 1 : TIMED, status = make_training(&t, size, block);
    for (int i = 0; i < WARM && !status; i++)
        status = train_step(&t, &score);
    device_clock_start();
    for (int i = 0; i < steps && !status; i++)
        status = train_step(&t, &score);
    double ms = device_clock_ms() / steps;
    if (!status && !isfinite(score.loss))
        status = fail("the loss is not a number");
    if (status)
        printf("| %s %s | %s |\n", size, block, why());
    else
        printf("| %s %s | %d | %.2f | %.0f | %.1f |\n", size, block, t.rows, ms,
               1e3 * bench.batch * bench.seq / ms, (double)plan_total(&t.plan) / (1 << 30));
    fflush(stdout);
    close_training(&t);
}

void bench_train(void)
{
    static const char *const sizes[] = {"125m", "1b"};
    static const char *const blocks[] = {"self_attention", "ttt_linear", "ttt_mlp"};
    printf("\nSteps of %d x %d tokens, forward, backward and AdamW, %s.\n\n"
           "| model | rows at once | ms a step | tokens/s | GiB |\n|---|---|---|---|---|\n",
           bench.batch, bench.seq, REAL_NAME);
    for (int s = 0; s < 2; s++)
        for (int b = 0; b < 3; b++)
            train_one(sizes[s], blocks[b]);
}

/* ---- decoding ---------------------------------------------------------------------------------
 */

static void decode_one(const char *size, const char *block, int batch)
{
    int tokens = bench.tiny ? 3 : 64, warm = bench.tiny ? 2 : 18;
    struct config c;
    struct params p = {0};
    struct decode d = {0};
    int32_t *ids = calloc((size_t)batch, sizeof *ids);
    int status =
        !ids || make_config(&c, size, block) || params_list(&p, &c) || params_alloc(&p, false) ? -1
                                                                                               : 0;
    if (!status) {
        params_init(&p, 1, c.initializer_range);
        status = decode_open(&d, &c, &p, batch, warm + tokens);
    }
    float *logits = status ? NULL : malloc(sizeof *logits * (size_t)batch * (size_t)c.vocab_size);
    for (int i = 0; i < warm && !status; i++)
        status = decode_step(&d, ids, logits);
    device_clock_start();
    for (int i = 0; i < tokens && !status; i++)
        status = decode_step(&d, ids, batch == 1 ? logits : NULL);
    double us = 1e3 * device_clock_ms() / tokens;
    if (status)
        printf("| %s %s | %d | %s |\n", size, block, batch, why());
    else
        printf("| %s %s | %d | %.0f | %.0f |\n", size, block, batch, us, 1e6 * batch / us);
    fflush(stdout);
    free(logits);
    free(ids);
    decode_close(&d);
    params_close(&p);
}

void bench_decode(void)
{
    static const char *const blocks[] = {"self_attention", "ttt_linear", "ttt_mlp"};
    printf("\nDecoding, a token of every sequence; at batch 1 with its logits to the host, else "
           "without the head.\n\n| model | sequences | us | tokens/s |\n|---|---|---|---|\n");
    for (int b = 0; b < 3; b++)
        decode_one("125m", blocks[b], 1);
    for (int b = 0; b < 3; b++)
        decode_one("1b", blocks[b], 1);
    for (int b = 1; b < 3; b++)
        decode_one("1b", blocks[b], bench.tiny ? 2 : 256);
}
