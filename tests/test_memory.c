/* test_memory.c -- what a training step takes is what the plan says: peak resident memory of a
   process within a tenth of the plan's total, for every block. */
#include "check.h"
#include "device.h"
#include "model.h"
#include "optim.h"
#include "random.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH = 2, SEQ = 256, VOCAB = 4096 };

static const double SHARE = 0.1;

static size_t resident_peak(void)
{
    char line[256];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %zu kB", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib << 10;
}

/* One update of a model of this block in this process; the plan's total and the peak after it. */
static int train(const char *update, const char *optimiser, size_t of[2])
{
    struct config c;
    struct params p = {0};
    struct model m = {0};
    struct optim o = {0};
    struct plan plan = {0};
    struct optim_config settings = OPTIM_DEFAULT;
    settings.type = optimiser;
    settings.accumulate_gradient_steps = strcmp(optimiser, "palm") ? 1 : 2;
    const char *closed = device_open(2);
    if (closed)
        return fail("%s", closed);
    if (config_load(&c, "125m-TTT") ||
        config_update(&c, "dict(vocab_size=4096, hidden_size=384, intermediate_size=1024, "
                          "num_hidden_layers=6, num_attention_heads=6)") ||
        config_update(&c, update) || params_list(&p, &c) ||
        model_plan(&plan, &c, &p, BATCH, SEQ, true))
        return -1;
    optim_plan(&plan, &settings, &p);
    if (params_alloc(&p, true) || model_open(&m, &c, &p, BATCH, SEQ, true) ||
        optim_open(&o, &settings, &p))
        return -1;
    params_init(&p, 1, 0.02);
    static int32_t ids[BATCH * SEQ + 1];
    static float mask[BATCH * SEQ];
    for (int i = 0; i <= BATCH * SEQ; i++)
        ids[i] = (int32_t)(random_uniform(2, 3, (uint64_t)i) * VOCAB);
    for (int i = 0; i < BATCH * SEQ; i++)
        mask[i] = 1;
    struct tokens t = {ids, ids + 1, mask};
    for (int step = 0; step < settings.accumulate_gradient_steps; step++) {
        struct score score = {0};
        model_zero_grad(&m);
        if (model_train(&m, &t, 1, 1, &score, NULL) || !(optim_grad_norm(&o, &p) > 0))
            return fail("no gradient");
        optim_step(&o, &p, step);
    }
    of[0] = plan_total(&plan);
    of[1] = resident_peak();
    return 0;
}

/* In a child, whose peak is its own. */
static void test_block(const char *name, const char *update, const char *optimiser)
{
    int pipes[2], status = 1;
    size_t of[2] = {0, 0};
    case_begin(name);
    fflush(stdout);
    if (pipe(pipes))
        abort();
    pid_t child = fork();
    if (child == 0) {
        int rc = train(update, optimiser, of);
        if (rc)
            fprintf(stderr, "%s: %s\n", name, why());
        _exit(rc || write(pipes[1], of, sizeof of) != (ssize_t)sizeof of);
    }
    close(pipes[1]);
    CHECK(read(pipes[0], of, sizeof of) == (ssize_t)sizeof of);
    close(pipes[0]);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    double plan = (double)of[0] / (1 << 20), peak = (double)of[1] / (1 << 20);
    CHECK(plan > 200 && peak >= plan * (1 - SHARE) && peak <= plan * (1 + SHARE));
    char note[96];
    snprintf(note, sizeof note, "plan %.1f MiB, peak %.1f MiB, %+.1f %%", plan, peak,
             100 * (peak / plan - 1));
    case_end(note);
}

#ifdef __SANITIZE_ADDRESS__
static const bool SANITIZED = true;
#else
static const bool SANITIZED = false;
#endif

int main(void)
{
    if (SANITIZED) {
        case_skip("peak memory", "the sanitizer has memory of its own");
        return check_finish();
    }
    test_block("self_attention", "dict(seq_modeling_block='self_attention', pre_conv=False)",
               "adamw");
    test_block("ttt_linear", "dict(seq_modeling_block='ttt_linear')", "adamw");
    test_block("ttt_linear_base", "dict(seq_modeling_block='ttt_linear_base', pre_conv=False)",
               "adamw");
    test_block("ttt_mlp", "dict(seq_modeling_block='ttt_mlp')", "adamw");
    test_block("ttt_mlp, states kept at every sixth",
               "dict(seq_modeling_block='ttt_mlp', remat_mini_batch_group_size=6)", "adamw");
    test_block("self_attention, blocks recomputed",
               "dict(seq_modeling_block='self_attention', pre_conv=False, "
               "remat_block='nothing_saveable')",
               "adamw");
    test_block("ttt_linear, blocks recomputed",
               "dict(seq_modeling_block='ttt_linear', remat_block='nothing_saveable')", "adamw");
    test_block("ttt_mlp_base", "dict(seq_modeling_block='ttt_mlp_base', pre_conv=False)", "adamw");
    test_block("untied, palm, mean of two",
               "dict(seq_modeling_block='ttt_linear', tie_word_embeddings=False)", "palm");
    return check_finish();
}
