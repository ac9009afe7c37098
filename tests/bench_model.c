/* bench_model.c -- how fast one block of the 125m model is, beside what the processor can do.

     bench_model BLOCK train|recompute|turns|forward|decode [THREADS [ROUNDS [LAYERS]]]
     bench_model machine

   Rows of 512, one row a step, fp32, made-up tokens; the first round is not counted. recompute is
   train with --recompute_blocks=on; turns is train, every step once on one thread and once on
   THREADS, so that the two are compared in the same minute. Prints lines of a name and a number:

     tokens_per_core_s   tokens a processor second, user and system, of the best round
     tokens_per_s        tokens a second of the best round
     times_one           turns: by the clock, the median of THREADS' speed over one's
     peak_mib            the process's largest resident memory
     flop_per_token      of the model (docs/model.md, section 9), replay not counted
     bytes_per_token     of parameters that decoding a token reads

   machine: sgemm_gflops, of [512][768] by [768][2048], and triad_gb_s, a[i] = b[i] + s c[i] with
   the three arrays counted once each, on one thread; best of many, by processor time. */
#include "decode.h"
#include "device.h"
#include "kernels.h"
#include "optim.h"
#include "random.h"
#include "report.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { SEQ = 512, DECODED = 32 };

/* Of all threads, user and system. */
static double core_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the machine --------------------------------------------------------------------------- */

static double sgemm_gflops(void)
{
    enum { M = 512, N = 2048, K = 768, RUNS = 40 };
    real *a = device_alloc(sizeof *a * M * K), *b = device_alloc(sizeof *b * K * N);
    real *c = device_alloc(sizeof *c * M * N);
    double best = 0;
    for (int run = 0; a && b && c && run < RUNS; run++) {
        double began = core_s();
        matmul(c, a, b, NN, M, N, K, 0);
        double rate = 2e-9 * M * N * K / (core_s() - began);
        best = rate > best ? rate : best;
    }
    return best;
}

static double triad_gb_s(void)
{
    enum { COUNT = 1 << 24, RUNS = 20 }; /* 64 MiB an array, more than caches hold */
    float *a = device_alloc(sizeof *a * COUNT), *b = device_alloc(sizeof *b * COUNT);
    float *c = device_alloc(sizeof *c * COUNT);
    double best = 0;
    for (int run = 0; a && b && c && run < RUNS; run++) {
        const float s = 1 + (float)run;
        double began = core_s();
        for (int i = 0; i < COUNT; i++)
            a[i] = b[i] + s * c[i];
        double rate = 3e-9 * sizeof *a * COUNT / (core_s() - began);
        best = rate > best ? rate : best;
    }
    return best;
}

/* ---- the model ----------------------------------------------------------------------------- */

struct bench {
    struct config config;
    struct params params;
    struct model model;
    struct optim optim;
    struct decode decode;
    int32_t ids[SEQ + 1];
    float mask[SEQ];
    float *logits;
    int64_t steps;
};

static bool is_training(const char *mode)
{
    return !strcmp(mode, "train") || !strcmp(mode, "recompute") || !strcmp(mode, "turns");
}

static double read_bytes(const struct params *p)
{
    double bytes = 0;
    for (int i = 0; i < p->count; i++)
        bytes += (double)sizeof(real) * (double)p->list[i].count;
    return bytes;
}

static int open_bench(struct bench *b, const char *block, const char *mode, int layers)
{
    static const struct optim_config settings = OPTIM_DEFAULT;
    bool training = is_training(mode), decoding = !strcmp(mode, "decode");
    char update[128];
    snprintf(update, sizeof update, "dict(seq_modeling_block='%s', num_hidden_layers=%d)", block,
             layers);
    if (config_load(&b->config, !strcmp(block, "self_attention") ? "125m" : "125m-TTT") ||
        config_update(&b->config, update) || params_list(&b->params, &b->config) ||
        params_alloc(&b->params, training))
        return -1;
    config_recompute_blocks(&b->config, !strcmp(mode, "recompute"));
    params_init(&b->params, 1, b->config.initializer_range);
    for (int i = 0; i <= SEQ; i++)
        b->ids[i] = (int32_t)(random_uniform(2, 3, (uint64_t)i) * b->config.vocab_size);
    for (int i = 0; i < SEQ; i++)
        b->mask[i] = 1;
    if (decoding) {
        b->logits = malloc(sizeof *b->logits * (size_t)b->config.vocab_size);
        return b->logits ? decode_open(&b->decode, &b->config, &b->params, 1, SEQ)
                         : fail("out of memory");
    }
    if (model_open(&b->model, &b->config, &b->params, 1, SEQ, training))
        return -1;
    return training ? optim_open(&b->optim, &settings, &b->params) : 0;
}

/* One round; returns the tokens of it, or -1. */
static int train_round(struct bench *b)
{
    struct tokens t = {b->ids, b->ids + 1, b->mask};
    struct score score = {0};
    model_zero_grad(&b->model);
    if (model_train(&b->model, &t, 1, 1, &score, NULL) ||
        !(optim_grad_norm(&b->optim, &b->params) > 0))
        return fail("no gradient: %s", why());
    optim_step(&b->optim, &b->params, b->steps++);
    return SEQ;
}

static int forward_round(struct bench *b)
{
    struct tokens t = {b->ids, b->ids + 1, b->mask};
    struct score score = {0};
    return model_score(&b->model, &t, 1, &score) ? -1 : SEQ;
}

static int decode_round(struct bench *b)
{
    decode_begin(&b->decode);
    for (int i = 0; i < DECODED; i++)
        if (decode_step(&b->decode, &b->ids[i], b->logits))
            return -1;
    return DECODED;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds of a round, or -1. */
static double timed_round(struct bench *b, int threads)
{
    const char *closed = device_open(threads);
    double began = now_s();
    return closed ? fail("%s", closed) : train_round(b) < 0 ? -1 : now_s() - began;
}

static int measure_turns(const char *block, int threads, int rounds, int layers)
{
    static struct bench b;
    double *times = calloc((size_t)rounds, sizeof *times);
    if (!times || open_bench(&b, block, "turns", layers))
        return -1;
    for (int i = 0; i <= rounds; i++) {
        double alone = timed_round(&b, 1), shared = timed_round(&b, threads);
        if (alone < 0 || shared < 0)
            return -1;
        if (i > 0)
            times[i - 1] = alone / shared;
    }
    qsort(times, (size_t)rounds, sizeof *times, by_size);
    printf("times_one %.3f\n", (times[rounds / 2] + times[(rounds - 1) / 2]) / 2);
    free(times);
    return 0;
}

static int measure(const char *block, const char *mode, int rounds, int layers)
{
    static struct bench b;
    int (*round)(struct bench * b) = is_training(mode)          ? train_round
                                     : !strcmp(mode, "forward") ? forward_round
                                                                : decode_round;
    double core = 0, wall = 0;
    if (open_bench(&b, block, mode, layers))
        return -1;
    for (int i = 0; i <= rounds; i++) {
        double core_began = core_s(), began = now_s();
        int tokens = round(&b);
        if (tokens < 0)
            return -1;
        double of_core = tokens / (core_s() - core_began);
        double of_wall = tokens / (now_s() - began);
        if (i > 0) {
            core = of_core > core ? of_core : core;
            wall = of_wall > wall ? of_wall : wall;
        }
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("tokens_per_core_s %.3f\ntokens_per_s %.3f\npeak_mib %ld\n", core, wall,
           used.ru_maxrss / 1024);
    printf("flop_per_token %.0f\nbytes_per_token %.0f\n",
           config_train_flops(&b.config, SEQ) / (is_training(mode) ? 1 : 3), read_bytes(&b.params));
    return 0;
}

static int measure_machine(void)
{
    printf("sgemm_gflops %.2f\ntriad_gb_s %.2f\n", sgemm_gflops(), triad_gb_s());
    return 0;
}

static bool is_mode(const char *text)
{
    return is_training(text) || !strcmp(text, "forward") || !strcmp(text, "decode");
}

int main(int argc, char **argv)
{
    bool is_machine = argc == 2 && !strcmp(argv[1], "machine");
    program = "bench_model";
    if (!is_machine && (argc < 3 || argc > 6 || !is_mode(argv[2]))) {
        fprintf(stderr, "usage: bench_model BLOCK train|recompute|turns|forward|decode "
                        "[THREADS [ROUNDS [LAYERS]]]\n"
                        "       bench_model machine\n");
        return 2;
    }
    int threads = argc > 3 ? atoi(argv[3]) : 1, rounds = argc > 4 ? atoi(argv[4]) : 3;
    int layers = argc > 5 ? atoi(argv[5]) : 12;
    if (threads < 1 || rounds < 1 || layers < 1)
        die("THREADS, ROUNDS and LAYERS: expected 1 or more");
    const char *closed = device_open(threads);
    if (closed)
        die("%s", closed);
    if (is_machine                  ? measure_machine()
        : !strcmp(argv[2], "turns") ? measure_turns(argv[1], threads, rounds, layers)
                                    : measure(argv[1], argv[2], rounds, layers))
        die("%s", why());
    say("%s", device_describe());
    device_close();
    return finish(0);
}
