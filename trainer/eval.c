/* eval.c -- ttt-eval: how well checkpoints foretell a text. */
#include "device.h"
#include "eval_job.h"
#include "eval_report.h"
#include "flags.h"
#include "machine.h"
#include "report.h"
#include "sibling.h"
#include "team_data.h"
#include "tokenizer.h"
#include "trained.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct flag_list checkpoints, datasets;
static const char *tokenizer_name = DATASET_LLAMA2, *tokenizer_path, *split = "validation";
static const char *lengths = "", *mask_bos = "auto", *json_path, *png_path, *state_path;
static int64_t batch, tokens, bins = 32, global_batch_size = 1;
static bool reference, by_position;
static struct machine machine = MACHINE_DEFAULT;

static struct flag flags[] = {
    {FLAG_GROUP, .name = "what to evaluate"},
    {FLAG_LIST, 'c', "checkpoint", &checkpoints, "DIR",
     "a run's directory (its newest checkpoint), one step_N, or the average in either,\n"
     "as an operand is one too"},
    {FLAG_LIST, 'd', "dataset_path", &datasets, "DIR",
     "the directory that holds tokenizer_name-..., as for ttt-train; may be given again"},
    {FLAG_TEXT, 0, "tokenizer_name", &tokenizer_name, "NAME",
     "which of the datasets there; a single one is taken without it"},
    {FLAG_CHOICE, 0, "split", &split, "train|validation|test", "the part of the dataset"},
    {FLAG_TEXT, 's', "seq_length", &lengths, "N,N,...",
     "tokens in a window, several one after another; empty: as the model was trained"},
    {FLAG_INT, 0, "tokens", &tokens, "N", "read about so many tokens at most; 0: all"},
    {FLAG_CHOICE, 0, "mask_bos", &mask_bos, "auto|on|off",
     "do not count beginnings of documents, id 1; auto: only with the tokenizer\n" DATASET_LLAMA2
     ", as ttt-train"},
    {FLAG_GROUP, .name = "how"},
    {FLAG_ON, 0, "reference", &reference, NULL,
     "as the JAX trainer's --eval_mode: each window weighs the same, and the last\n"
     "incomplete batch is left out. Else every token weighs the same, and the last\n"
     "window may be shorter"},
    {FLAG_INT, 0, "global_batch_size", &global_batch_size, "N",
     "windows in a batch of --reference"},
    {FLAG_INT, 'b', "batch", &batch, "N",
     "windows computed at once by a rank; 0: what memory holds, up to 16384 tokens"},
    {FLAG_TEXT, 0, "state", &state_path, "FILE",
     "note there every minute and on Ctrl-C how far it is, and go on from there"},
    {FLAG_GROUP, .name = "what to tell"},
    {FLAG_TEXT, 't', "tokenizer", &tokenizer_path, "MODEL",
     "the SentencePiece model of the ids, which bits per byte need"},
    {FLAG_ON, 'p', "by_position", &by_position, NULL, "the loss by the place in the window, too"},
    {FLAG_INT, 0, "bins", &bins, "N", "places are told in so many parts; 0: each one"},
    {FLAG_TEXT, 0, "json", &json_path, "FILE", "write all of it there; - is standard output"},
    {FLAG_TEXT, 0, "png", &png_path, "FILE", "draw the loss by position there, by gnuplot"},
    MACHINE_FLAGS(machine, "the windows out, fsdp the parameters too"),
    {0},
};

static const struct program self = {
    .name = "ttt-eval",
    .operands = "[CHECKPOINT...]",
    .purpose =
        "Loss, perplexity, bits per byte and accuracy of checkpoints on a part of a dataset, and\n"
        "the loss by the place in the window. Every checkpoint meets every dataset in windows of\n"
        "every length; a table is on standard output.",
    .examples =
        "  ttt-eval runs/small --dataset_path=data\n"
        "  ttt-eval runs/small/step_* -d data --tokenizer=kjv.model --json=eval.json\n"
        "  ttt-eval runs/linear runs/transformer -d books -s 1024,2048,4096,8192,16384,32768 \\\n"
        "    --by_position --png=by_position.png --state=eval.state\n"
        "  ttt-eval runs/small -d data --reference --global_batch_size=256\n",
    .flags = flags,
    .builds = sibling_builds,
};

static void check_flags(void)
{
    if (!checkpoints.count)
        misuse("a CHECKPOINT is needed");
    if (!datasets.count)
        misuse("--dataset_path=DIR is needed");
    machine_check(&machine);
    if (batch < 0 || batch > 1 << 20)
        misuse("--batch=%" PRId64 ": expected 0 to 1048576", batch);
    if (tokens < 0)
        misuse("--tokens=%" PRId64 ": must not be negative", tokens);
    if (bins < 0 || bins > 1 << 28)
        misuse("--bins=%" PRId64 ": expected 0 or a number of parts", bins);
    if (global_batch_size < 1 || global_batch_size > 1 << 20)
        misuse("--global_batch_size=%" PRId64 ": expected 1 to 1048576", global_batch_size);
}

/* The next of "1024,2048" in *length, moving *text behind it; false at the end. */
static bool next_length(const char **text, int *length)
{
    char *end;
    if (!**text)
        return false;
    long value = strtol(*text, &end, 10);
    if (end == *text || (*end && *end != ',') || value < 1 || value > 1 << 28)
        misuse("--seq_length=%s: expected numbers of tokens with commas between", lengths);
    *text = *end ? end + 1 : end;
    *length = (int)value;
    return true;
}

/* Find the datasets, [datasets.count], which all ranks have alike. */
static int open_datasets(struct team *team, struct dataset *sets)
{
    bool exactly = flag_find(&self, "tokenizer_name")->given;
    for (int i = 0; i < datasets.count; i++) {
        struct data d = {0};
        const struct data *list[] = {&d};
        char path[PATH_MAX];
        int status = dataset_find(&sets[i], datasets.items[i], tokenizer_name, exactly) ||
                             dataset_split(&sets[i], split, path) ||
                             data_open_short(&d, path, 1, INT_MAX, false) || /* for its ids alone */
                             team_agree_data(team, &sets[i], list, 1)
                         ? -1
                         : 0;
        data_close(&d);
        if (status)
            return -1;
    }
    return 0;
}

/* One checkpoint on one dataset in windows of each length. */
static int evaluate_lengths(struct eval_job *job, struct trained *model, const char *dataset,
                            json_t *results)
{
    const char *rest = lengths;
    int length = model->config.max_sequence_length;
    for (bool more = !*rest || next_length(&rest, &length); more;
         more = next_length(&rest, &length)) {
        struct evaluate sums = {0};
        struct eval_result r = {.checkpoint = model->dir,
                                .dataset = dataset,
                                .split = split,
                                .mixer = mixer_name(model->config.seq_modeling_block),
                                .step = model->step,
                                .sums = &sums,
                                .reference = reference};
        if (eval_job_run(job, &sums, model, length)) {
            evaluate_close(&sums);
            return -1;
        }
        int bad = 0;
        if (team_is_first(job->team)) {
            eval_table_line(&r);
            if (by_position)
                eval_table_positions(&r, (int)bins);
            bad = json_array_append_new(results, eval_to_json(&r, (int)bins));
        }
        evaluate_close(&sums);
        if (bad)
            return fail("out of memory for the results");
    }
    return 0;
}

static int evaluate_all(struct eval_job *job, const struct dataset *sets, json_t *results)
{
    int status = 0;
    for (int c = 0; c < checkpoints.count && !status; c++) {
        struct trained model;
        if (trained_open(&model, checkpoints.items[c], &job->team->mesh))
            return -1;
        status = team_same(job->team, "the checkpoint's XXH3-128", model.digest.hex);
        for (int d = 0; d < datasets.count && !status; d++) {
            job->set = &sets[d];
            status = evaluate_lengths(job, &model, datasets.items[d], results);
        }
        trained_close(&model);
    }
    return status;
}

static int write_json(json_t *results)
{
    json_t *root = json_pack("{s:O}", "results", results);
    char *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(root);
    if (!text)
        return fail("out of memory for the results");
    int status = file_write_text(json_path, text);
    free(text);
    return status;
}

int main(int argc, char **argv)
{
    char **given = machine_arguments(argc, argv);
    struct team team;
    team_find(&team, self.name);
    char **operands = flags_parse(argc, argv, &self, NULL);
    team_speak(&team);
    for (; *operands; operands++)
        if (flag_set(flag_find(&self, "checkpoint"), *operands))
            die("%s", why());
    check_flags();
    team_shape(&team, machine.mesh_dim, machine.comm_timeout_s);
    machine_enter(&machine, &self, given, &team);
    const char *closed = device_open((int)machine.threads);
    if (closed)
        die("%s", closed);

    struct tokenizer tokenizer = {0};
    struct dataset *sets = calloc((size_t)datasets.count, sizeof *sets);
    json_t *results = json_array();
    if (!sets || !results)
        die("out of memory");
    struct eval_job job = {
        .team = &team,
        .split = split,
        .mask_bos = mask_bos,
        .tokenizer = tokenizer_path ? &tokenizer : NULL,
        .batch = (int)batch,
        .most_tokens = (uint64_t)tokens,
        .drop_last = reference ? (uint64_t)global_batch_size : 0,
        .state_path = state_path,
    };
    if (team_agree(&team, &self) || open_datasets(&team, sets) || team_join(&team) ||
        (tokenizer_path && (tokenizer_open(&tokenizer, tokenizer_path) ||
                            team_same(&team, "the tokenizer's XXH3-128", tokenizer.hash.hex))))
        team_die(&team);
    eval_job_catch_signals();
    eval_table_head();
    int status = evaluate_all(&job, sets, results);
    if (!status && team_is_first(&team) &&
        ((json_path && write_json(results)) || (png_path && eval_draw(results, png_path))))
        status = -1;
    if (status && !job.stopped)
        team_die(&team);
    if (status)
        warn("%s", why());
    json_decref(results);
    for (int i = 0; i < datasets.count; i++)
        dataset_close(&sets[i]);
    free(sets);
    tokenizer_close(&tokenizer);
    team_close(&team);
    device_close();
    return finish(status ? 130 : 0);
}
