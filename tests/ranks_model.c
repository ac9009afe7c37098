/* ranks_model.c -- whole models of every block on a mesh: what one rank finds, many find as well.

   ranks_model MESH DIR FILE STEPS: trains each model so many steps, scores a batch and decodes
   three texts. A single rank writes what it found into FILE, many compare theirs with it. A block's
   model is the reference's golden in DIR, where there is one; else of linear_k8's sizes, with start
   values of our own. Alone, or as one of several ranks started by tests/cli/mesh.sh and
   tests/cli/nccl.sh. */
#include "check.h"
#include "decode.h"
#include "device.h"
#include "golden_case.h"
#include "report.h"
#include "team.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_STEPS = 10, ROWS = 4, TEXTS = 3, MADE = 12, MOST_VOCAB = 256 };

static const bool BF16 = sizeof(real) != sizeof(float);
/* In fp32 what adding up in another order leaves; in bf16 what rounding each part leaves. */
static const double LOSS = sizeof(real) == sizeof(float) ? 2e-6 : 2e-2; /* of its size */
static const double AFTER = sizeof(real) == sizeof(float) ? 2e-5 : 2e-2;
static const double LOGITS = sizeof(real) == sizeof(float) ? 2e-5 : 2e-2; /* relative L2 */

static const struct {
    const char *golden, *block;
} blocks[] = {{"attention", "self_attention"},
              {"linear", "ttt_linear"},
              {"mlp", "ttt_mlp"},
              {"linear_base", "ttt_linear_base"},
              {"mlp_base", "ttt_mlp_base"}};

/* What a model comes to, beside its parameters. */
struct findings {
    double loss[MOST_STEPS + 1]; /* of the steps, then of the batch scored */
    int32_t id[TEXTS][MADE];
    float logits[TEXTS][MOST_VOCAB];
};

static struct team team;
static int steps;
static FILE *file;
static bool from_golden; /* the model's start values are the golden's */

/* ---- parameters ---------------------------------------------------------------------------- */

/* This rank's floats of a whole array, [held]. */
static void take_own(float *to, const float *whole, const struct param *q, const struct mesh *mesh)
{
    for (size_t done = 0, n, at; done < q->held; done += n) {
        n = param_run(q, mesh, q->first + done, &at);
        n = n < q->held - done ? n : q->held - done;
        memcpy(to + done, whole + at, n * sizeof *to);
    }
}

/* The golden's start values, where it has some. */
static int begin(struct golden *g, struct params *p)
{
    char name[PARAM_NAME_BYTES + 8];
    params_init(p, 1, g->config.initializer_range);
    if (!from_golden)
        return 0;
    for (int i = 0; i < p->count; i++) {
        const struct param *q = &p->list[i];
        snprintf(name, sizeof name, "param/%s", q->name);
        const struct tensor *t = tensors_find(&g->file, name);
        if (!t || t->dtype != TENSOR_F32 || t->count != q->whole)
            return fail("no %s of %zu values", name, q->whole);
        float *whole = malloc(t->bytes), *own = malloc((q->held + 1) * sizeof *own);
        memcpy(whole, t->data, t->bytes); /* the file need not align them */
        take_own(own, whole, q, &p->mesh);
        device_put(p->master + q->offset, own, q->held * sizeof *own);
        free(own);
        free(whole);
    }
    params_refresh(p);
    return 0;
}

/* Write the parameters, or add up how far they are from those in the file. */
static void keep_or_compare(const struct params *p)
{
    double sums[2] = {0};
    for (int i = 0; i < p->count; i++) {
        const struct param *q = &p->list[i];
        float *got = malloc((q->held + 1) * sizeof *got),
              *own = malloc((q->held + 1) * sizeof *own);
        float *whole = malloc(q->whole * sizeof *whole);
        bool counts = mesh_dp_rank(&p->mesh) == 0 && (q->split >= 0 || !mesh_mp_rank(&p->mesh));
        device_get(got, p->master + q->offset, q->held * sizeof *got);
        if (team_is_alone(&team)) {
            CHECK(fwrite(got, sizeof *got, q->whole, file) == q->whole);
        } else {
            CHECK(fread(whole, sizeof *whole, q->whole, file) == q->whole);
            take_own(own, whole, q, &p->mesh);
        }
        for (size_t k = 0; counts && !team_is_alone(&team) && k < q->held; k++) {
            sums[0] += ((double)got[k] - own[k]) * ((double)got[k] - own[k]);
            sums[1] += (double)own[k] * own[k];
        }
        free(whole);
        free(own);
        free(got);
    }
    CHECK(team_sum(&team, sums, 2) == 0);
    CHECK(team_is_alone(&team) || sqrt(sums[0] / sums[1]) <= AFTER);
    if (!team_is_alone(&team) && team_is_first(&team))
        printf("     parameters %.1e of %.0e\n", sqrt(sums[0] / sums[1]), AFTER);
}

/* ---- training ------------------------------------------------------------------------------ */

/* This rank's rows of a step, of all that the golden trains on, over and over. */
struct rows {
    int32_t *ids; /* [count][seq + 1], owned, as are the next two */
    int32_t *input, *target;
    float *mask;
    int count, own, seq;
};

static struct tokens rows_of(struct rows *r, int step)
{
    int first = step * ROWS + mesh_data_rank(&team.mesh) * r->own;
    for (int b = 0; b < r->own; b++) {
        const int32_t *row = r->ids + (size_t)((first + b) % r->count) * ((size_t)r->seq + 1);
        for (int i = 0; i < r->seq; i++) {
            int at = b * r->seq + i;
            r->input[at] = row[i];
            r->target[at] = row[i + 1];
            r->mask[at] = row[i + 1] != 1;
        }
    }
    return (struct tokens){r->input, r->target, r->mask};
}

/* The loss of all ranks' rows. */
static double join(const struct score *score)
{
    double loss = mesh_mp_rank(&team.mesh) ? 0 : score->loss;
    CHECK(team_sum(&team, &loss, 1) == 0);
    return loss;
}

static void train(struct golden *g, struct rows *rows, struct findings *f)
{
    struct model m;
    struct optim o;
    double share = 1.0 / mesh_data_ranks(&team.mesh);
    if (model_open(&m, &g->config, &g->params, rows->own, g->seq, true) ||
        optim_open(&o, &g->optim, &g->params))
        team_die(&team);
    for (int s = 0; s < steps; s++) {
        struct score score = {0};
        struct tokens t = rows_of(rows, s);
        model_zero_grad(&m);
        CHECK(!model_train(&m, &t, optim_ttt_lr_mult(&g->config, s + 1), share, &score, NULL));
        optim_grad_norm(&o, &g->params);
        optim_step(&o, &g->params, s);
        f->loss[s] = join(&score);
    }
    struct score score = {0};
    struct tokens t = rows_of(rows, steps);
    CHECK(model_score(&m, &t, share, &score) == 0);
    f->loss[steps] = join(&score);
    optim_close(&o);
    model_close(&m);
}

/* ---- decoding ------------------------------------------------------------------------------ */

static int32_t likeliest(const float *logits, int vocab)
{
    int best = 0;
    for (int i = 1; i < vocab; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* Texts of different lengths, in whole mini-batches and not, go on greedily. */
static void decode(struct golden *g, const struct rows *rows, struct findings *f)
{
    static const int lengths[TEXTS] = {21, 5, 37};
    int vocab = g->config.vocab_size;
    struct mesh mesh = team.mesh;
    mesh.dp *= mesh.fsdp;
    mesh.fsdp = 1;
    struct params p;
    struct decode d;
    struct decode_prompt prompts[TEXTS];
    float *logits = malloc(sizeof *logits * TEXTS * (size_t)vocab);
    for (int b = 0; b < TEXTS; b++)
        prompts[b] = (struct decode_prompt){rows->ids + b * (rows->seq + 1), lengths[b]};
    if (params_list_on(&p, &g->config, &mesh) || params_alloc(&p, false) || begin(g, &p) ||
        decode_open(&d, &g->config, &p, TEXTS, 64))
        team_die(&team);
    CHECK(decode_read(&d, prompts, logits) == 0);
    for (int i = 0; i < MADE; i++) {
        int32_t next[TEXTS];
        for (int b = 0; b < TEXTS; b++)
            f->id[b][i] = next[b] = likeliest(logits + b * vocab, vocab);
        CHECK(decode_step(&d, next, logits) == 0);
    }
    for (int b = 0; b < TEXTS; b++)
        memcpy(f->logits[b], logits + b * vocab, sizeof *logits * (size_t)vocab);
    free(logits);
    decode_close(&d);
    params_close(&p);
}

/* ---- a model ------------------------------------------------------------------------------- */

static void compare(const struct findings *got, const struct findings *one)
{
    double worst = 0, square = 0, size = 0;
    for (int s = 0; s <= steps; s++) {
        double error = fabs(got->loss[s] - one->loss[s]) / fmax(1, fabs(one->loss[s]));
        CHECK(error <= LOSS);
        worst = fmax(worst, error);
    }
    for (int i = 0; i < TEXTS * MOST_VOCAB; i++) {
        double a = got->logits[i / MOST_VOCAB][i % MOST_VOCAB];
        double b = one->logits[i / MOST_VOCAB][i % MOST_VOCAB];
        square += (a - b) * (a - b);
        size += b * b;
    }
    CHECK(BF16 || sqrt(square / size) <= LOGITS);
    CHECK(BF16 || !memcmp(got->id, one->id, sizeof got->id));
    if (team_is_first(&team))
        printf("     losses %.1e of %.0e, logits %.1e of %.0e\n", worst, LOSS, sqrt(square / size),
               LOGITS);
}

static void run_model(struct golden *g)
{
    struct findings found, one;
    const struct tensor *ids = tensors_find(&g->file, "train/ids");
    struct rows rows = {.own = ROWS / mesh_data_ranks(&team.mesh), .seq = g->seq};
    if (!ids || ids->dims != 3 || g->config.vocab_size > MOST_VOCAB)
        die("%s: no train/ids, or too many of them", g->name);
    size_t own = (size_t)rows.own * (size_t)g->seq;
    rows.count = (int)(ids->shape[0] * ids->shape[1]);
    rows.ids = malloc(ids->bytes);
    memcpy(rows.ids, ids->data, ids->bytes);
    rows.input = malloc(own * sizeof *rows.input);
    rows.target = malloc(own * sizeof *rows.target);
    rows.mask = malloc(own * sizeof *rows.mask);
    memset(&found, 0, sizeof found);
    if (params_list_on(&g->params, &g->config, &team.mesh) || params_alloc(&g->params, true) ||
        begin(g, &g->params))
        team_die(&team);
    train(g, &rows, &found);
    decode(g, &rows, &found);
    if (team_is_alone(&team)) {
        CHECK(fwrite(&found, sizeof found, 1, file) == 1);
    } else {
        CHECK(fread(&one, sizeof one, 1, file) == 1);
        compare(&found, &one);
    }
    keep_or_compare(&g->params);
    free(rows.mask);
    free(rows.target);
    free(rows.input);
    free(rows.ids);
}

/* The golden of a block, or one of its block's own making. */
static void run_block(int i, const char *dir)
{
    char path[4096];
    struct golden g = {.name = blocks[i].golden, .optim = OPTIM_DEFAULT};
    case_begin(blocks[i].block);
    snprintf(path, sizeof path, "%s/%s.json", dir, g.name);
    if (access(path, R_OK))
        g.name = "linear_k8";
    if (golden_open(&g, dir))
        team_die(&team);
    json_t *model = json_object_get(g.json, "model");
    const char *block = json_string_value(json_object_get(model, "seq_modeling_block"));
    from_golden = block && !strcmp(block, blocks[i].block);
    json_object_set_new(model, "seq_modeling_block", json_string(blocks[i].block));
    if (golden_configure(&g))
        team_die(&team);
    run_model(&g);
    case_end(from_golden ? g.name : "start values of our own");
    golden_close(&g);
}

int main(int argc, char **argv)
{
    steps = argc == 5 ? atoi(argv[4]) : 0;
    if (steps < 1 || steps > MOST_STEPS) {
        fprintf(stderr, "usage: ranks_model MESH DIR FILE STEPS\n");
        return 2;
    }
    team_find(&team, "ranks_model");
    quiet = true;
    team_shape(&team, argv[1], 60);
    if (team_meet(&team, 60))
        die("%s", why());
    const char *trouble = device_open(1);
    if (trouble)
        die("%s", trouble);
    file = fopen(argv[3], team_is_alone(&team) ? "wb" : "rb");
    if (!file)
        die("%s: cannot be opened", argv[3]);
    if (team_join(&team))
        team_die(&team);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        run_block((int)i, argv[2]);
    fclose(file);
    team_close(&team);
    device_close();
    return check_finish();
}
