/* options.c -- the flags of ttt-train. */
#include "options.h"
#include "dataset.h"
#include "device.h"
#include "file.h"
#include "flags.h"
#include "peers.h"
#include "real.h"
#include "report.h"
#include "sibling.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static struct options o = {
    .model = CONFIG_FLAGS_DEFAULT,
    .optim = OPTIM_DEFAULT,
    .dataset_path = "",
    .dataset_name = "the_pile",
    .tokenizer_name = DATASET_LLAMA2,
    .mask_bos = "auto",
    .order = "torch2.3",
    .seq_length = 2048,
    .global_batch_size = 1,
    .loader_workers = 48,
    .micro_text = "0",
    .recompute_blocks = "auto",
    .total_steps = 100,
    .spike_window = 128,
    .accum_steps = 1,
    .eval_batches = 0,
    .tensorboard = true,
    .metrics_textfile = "",
    .exp_dir = "",
    .exp_name = "",
    .resume_exp_name = "",
    .resume_step = "",
    .resume = "off",
    .load_part = "trainstate",
    .save_checkpoint_freq = 100,
    .save_in_background = true,
    .float_dtype = "fp32",
    .save_optimizer_state = true,
    .coordinator_address = "",
    .num_processes = "",
    .process_id = "",
    .local_device_ids = "",
    .mesh_dim = "-1,1,1",
    .comm_timeout_s = 600,
    .gpus = 8,
    .gpu = "h100",
    .dtype = "auto",
    .device = "auto",
    .matmul = "ieee",
    .flagfile = "",
};

static struct flag table[] = {
    {FLAG_GROUP, .name = "model"},
    CONFIG_FLAGS(o.model),
    {FLAG_INT, .name = "vocab_size", .value = &o.vocab_size, .operand = "N",
     .help = "ids of the model; 0: as many as the dataset's tokenizer has"},

    {FLAG_GROUP, .name = "data"},
    {FLAG_TEXT, .name = "dataset_path", .value = &o.dataset_path, .operand = "DIR",
     .help = "the directory that holds tokenizer_name-..., as ttt-pack makes it"},
    {FLAG_TEXT, .name = "dataset_name", .value = &o.dataset_name, .operand = "NAME",
     .help = "for people; the data are found by --dataset_path alone"},
    {FLAG_TEXT, .name = "tokenizer_name", .value = &o.tokenizer_name, .operand = "NAME",
     .help = "which of the datasets there; a single one is taken without it"},
    {FLAG_INT, .name = "seq_length", .value = &o.seq_length, .operand = "N",
     .help = "tokens in a row"},
    {FLAG_INT, .name = "global_batch_size", .value = &o.global_batch_size, .operand = "N",
     .help = "rows in a step"},
    {FLAG_INT, .name = "seed", .value = &o.seed, .operand = "N",
     .help = "of the start values and the order of the data"},
    {FLAG_CHOICE, .name = "order", .value = &o.order, .operand = "torch2.3|torch2.6",
     .help = "whose permutations order the data; they differ from 214748364 rows on"},
    {FLAG_CHOICE, .name = "mask_bos", .value = &o.mask_bos, .operand = "auto|on|off",
     .help = "do not learn to predict the beginning of a document, id 1;\n"
             "auto: only with the tokenizer " DATASET_LLAMA2 ", as the reference"},
    {FLAG_INT, .name = "loader_workers", .value = &o.loader_workers, .operand = "N",
     .help = "without effect: rows are read from the mapped file"},

    {FLAG_GROUP, .name = "training"},
    {FLAG_INT, .name = "total_steps", .value = &o.total_steps, .operand = "N",
     .help = "updates in all, a resumed run's earlier ones included"},
    {FLAG_INT, .name = "accum_steps", .value = &o.accum_steps, .operand = "N",
     .help = "compute a step's gradient in N equal parts"},
    {FLAG_TEXT, .name = "micro_batch", .value = &o.micro_text, .operand = "ROWS|auto",
     .help = "rows computed at once, which is what memory grows with;\n"
             "0: global_batch_size / accum_steps; auto: as many of those as fit"},
    {FLAG_INT, .name = "recompute_every", .value = &o.recompute_every, .operand = "N",
     .help = "TTT: keep the inner state before every N-th mini-batch and recompute what\n"
             "is between; 0: the model's remat_mini_batch_group_size or, where memory\n"
             "is short, the root of the number of mini-batches"},
    {FLAG_CHOICE, .name = "recompute_blocks", .value = &o.recompute_blocks,
     .operand = "auto|on|off",
     .help = "keep of each block the input alone and compute it again in the backward;\n"
             "auto: as the model's remat_block has it, and where memory is short"},
    {FLAG_INT, .name = "skip_nonfinite", .value = &o.skip_nonfinite, .operand = "N",
     .help = "leave out up to N updates in a row whose loss or gradient is not a number;\n"
             "0: stop at the first"},
    {FLAG_NUMBER, .name = "skip_spikes", .value = &o.skip_spikes, .operand = "Z",
     .help = "leave out updates whose loss lies more than Z standard deviations above the mean\n"
             "of --spike_window losses before it, such as 6; 0: none"},
    {FLAG_INT, .name = "spike_window", .value = &o.spike_window, .operand = "STEPS",
     .help = "with --skip_spikes: how many losses, of steps that were none; before so many\n"
             "are known nothing is left out"},
    {FLAG_INT, .name = "norms_every", .value = &o.norms_every, .operand = "STEPS",
     .help = "every so many steps tell of each layer the norm of its weights and the root mean\n"
             "square of what leaves it, in metrics.jsonl and TensorBoard; 0: never"},
    {FLAG_NUMBER, .name = "ema_decay", .value = &o.optim.ema_decay, .operand = "X",
     .help = "keep a running average of the parameters, such as 0.999 of it and the rest of\n"
             "them after each update; each checkpoint has it as step_N/average; 0: none"},
    OPTIM_FLAGS(o.optim),

    {FLAG_GROUP, .name = "validation"},
    {FLAG_ON, .name = "eval_mode", .value = &o.eval_mode,
     .help = "print the validation loss of --resume_exp_name and leave"},
    {FLAG_INT, .name = "eval_every", .value = &o.eval_every, .operand = "STEPS",
     .help = "measure the validation loss every so many steps and at the end; 0: never"},
    {FLAG_INT, .name = "eval_batches", .value = &o.eval_batches, .operand = "N",
     .help = "on the first N batches of validation.npy; 0: on all"},
    {FLAG_INT, .name = "eval_tokens", .value = &o.eval_tokens, .operand = "N",
     .help = "on as many of its first batches as have N tokens; 0: on all"},

    {FLAG_GROUP, .name = "run"},
    {FLAG_TEXT, .name = "exp_dir", .value = &o.exp_dir, .operand = "DIR", .help = "where runs lie"},
    {FLAG_TEXT, .name = "exp_name", .value = &o.exp_name, .operand = "NAME",
     .help = "this run's directory there: metrics.jsonl, checkpoints, flags"},
    {FLAG_INT, .name = "save_checkpoint_freq", .value = &o.save_checkpoint_freq, .operand = "STEPS",
     .help = "write a checkpoint, which replaces the last one; 0: at the end"},
    {FLAG_INT, .name = "save_milestone_freq", .value = &o.save_milestone_freq, .operand = "STEPS",
     .help = "write one that stays, and TTT statistics to metrics.jsonl; 0: none"},
    {FLAG_ON, .name = "save_in_background", .value = &o.save_in_background,
     .help = "write checkpoints while training goes on: on a GPU from a snapshot in memory,\n"
             "on a CPU up to the next update; --no-save_in_background waits"},
    {FLAG_ON, .name = "tensorboard", .value = &o.tensorboard,
     .help = "write TensorBoard's event files into the run's directory, too"},
    {FLAG_ON, .name = "profile", .value = &o.profile,
     .help = "time every operation of three early steps: a table in profile.txt, a timeline for\n"
             "chrome://tracing or ui.perfetto.dev in trace.json, in the run's directory"},
    {FLAG_TEXT, .name = "metrics_textfile", .value = &o.metrics_textfile, .operand = "FILE",
     .help = "keep the newest numbers there for a cluster's collectors, in the text format of\n"
             "Prometheus, as node_exporter reads FILE.prom"},
    {FLAG_TEXT, .name = "resume_exp_name", .value = &o.resume_exp_name, .operand = "NAME",
     .help = "begin with the checkpoint of a run in --exp_dir, this one or another"},
    {FLAG_TEXT, .name = "resume_step", .value = &o.resume_step, .operand = "N",
     .help = "with its checkpoint step_N; empty: with its newest"},
    {FLAG_CHOICE, .name = "load_part", .value = &o.load_part,
     .operand = "trainstate|trainstate_params",
     .help = "take everything and go on, or take the parameters and begin a run"},
    {FLAG_CHOICE, .name = "resume", .value = &o.resume, .operand = "off|auto",
     .help = "auto: go on with this run if it has a checkpoint, else begin; for jobs\n"
             "that are killed and started again"},
    {FLAG_CHOICE, .name = "checkpointer.float_dtype", .value = &o.float_dtype,
     .operand = "fp32|bf16|fp16|float32|bfloat16|float16",
     .help = "without effect: checkpoints are fp32"},
    {FLAG_ON, .name = "checkpointer.save_optimizer_state", .value = &o.save_optimizer_state,
     .help = "without effect: checkpoints hold everything"},
    {FLAG_ON, .name = "is_rollback_reshuffle", .value = &o.is_rollback_reshuffle,
     .help = "give the data after the checkpoint another order, after a rollback:\n"
             "once, each start with it reshuffles again"},

    {FLAG_GROUP, .name = "machine"},
    {FLAG_CHOICE, .name = "device", .value = &o.device, .operand = "auto|cpu|cuda",
     .help = "auto: a GPU where one is visible and a CUDA build lies beside this program"},
    {FLAG_CHOICE, .name = "dtype", .value = &o.dtype, .operand = "auto|fp32|bf16|float32|bfloat16",
     .help = "what activations are stored as; auto: fp32 on the CPU, bf16 on a GPU"},
    {FLAG_CHOICE, .name = "matmul", .value = &o.matmul, .operand = "ieee|tf32",
     .help = "products of fp32 on a GPU: of 24-bit operands, or of 11-bit ones, several\n"
             "times as fast (TF32)"},
    {FLAG_INT, .name = "threads", .value = &o.threads, .operand = "N",
     .help = "CPU threads; 0: all"},
    {FLAG_TEXT, .name = "mesh_dim", .value = &o.mesh_dim, .operand = "DP,FSDP,MP",
     .help = "ranks along each axis, of which one may be -1, what is left:\n"
             "dp replicates the model, fsdp shares its parameters and moments out,\n"
             "mp splits heads, feed-forward and vocabulary"},
    {FLAG_NUMBER, .name = "comm_timeout", .value = &o.comm_timeout_s, .operand = "SECONDS",
     .help = "end the run when a rank has been silent or has stood still for so long"},

    {FLAG_ON, .name = "jax_distributed.initialize_jax_distributed",
     .value = &o.initialize_jax_distributed, .help = "without effect, as are the next four"},
    {FLAG_TEXT, .name = "jax_distributed.coordinator_address", .value = &o.coordinator_address,
     .operand = "TEXT", .help = ""},
    {FLAG_TEXT, .name = "jax_distributed.num_processes", .value = &o.num_processes,
     .operand = "TEXT", .help = ""},
    {FLAG_TEXT, .name = "jax_distributed.process_id", .value = &o.process_id, .operand = "TEXT",
     .help = ""},
    {FLAG_TEXT, .name = "jax_distributed.local_device_ids", .value = &o.local_device_ids,
     .operand = "TEXT", .help = ""},

    {FLAG_GROUP, .name = "this program"},
    {FLAG_TEXT, .name = "flagfile", .value = &o.flagfile, .operand = "FILE",
     .help = "more flags, one a line, such as a run's flags.txt; the command line wins"},
    {FLAG_ON, .name = "plan", .value = &o.plan,
     .help = "print memory, bytes sent and expected time of a step on --gpus devices and the\n"
             "best mesh of them, and leave; no device and no data are needed"},
    {FLAG_INT, .name = "gpus", .value = &o.gpus, .operand = "N", .help = "with --plan: how many"},
    {FLAG_CHOICE, .name = "gpu", .value = &o.gpu, .operand = "h100|h200",
     .help = "with --plan: of which kind"},
    {FLAG_ON, .name = "print_config", .value = &o.print_config,
     .help = "print flags, model and memory as resolved, and leave"},
    {FLAG_ON, 'q', "quiet", &quiet, .help = "tell only of trouble"},
    {0},
};

static const struct program program_table = {
    "ttt-train",
    NULL,
    "Train a TTT language model. Flags have the names and meaning of the JAX trainer that\n"
    "published these models, so that its launch scripts run with the program's name changed.\n"
    "EXP_DIR/EXP_NAME then holds metrics.jsonl, checkpoints and all that is needed to repeat it.\n"
    "SIGTERM and Ctrl-C write a checkpoint first; a second one leaves at once.",
    "  ttt-train --dataset_path=data --seq_length=512 --global_batch_size=8 --total_steps=300 \\\n"
    "    --load_model_config=125m-TTT \\\n"
    "    --update_model_config=\"dict(num_hidden_layers=2, hidden_size=256,\n"
    "                           num_attention_heads=4, intermediate_size=704)\" \\\n"
    "    --optimizer.adamw_optimizer.lr=3e-3 --optimizer.adamw_optimizer.lr_warmup_steps=30 \\\n"
    "    --optimizer.adamw_optimizer.lr_decay_steps=300 --eval_every=100 --exp_dir=runs \\\n"
    "    --exp_name=small\n"
    "  ttt-train --flagfile=runs/small/flags.txt --resume=auto    # go on after a kill\n"
    "  ttt-train --flagfile=runs/small/flags.txt --eval_mode --resume_exp_name=small\n",
    table,
    sibling_builds,
};

const struct program *options_program(void)
{
    return &program_table;
}

void options_write(FILE *to)
{
    flags_write(&program_table, to);
}

json_t *options_to_json(void)
{
    char text[4096];
    json_t *flags = json_object();
    for (const struct flag *f = table; f->kind; f++)
        if (f->kind != FLAG_GROUP)
            json_object_set_new(flags, f->name, json_string(flag_text(f, text, sizeof text)));
    return flags;
}

/* ---- checks ------------------------------------------------------------------------------- */

/* One line of a flag file, cut at its "=" and kept. */
static void take_line(char *line, const char *path, int number)
{
    if (!*line || *line == '#')
        return;
    char *equals = strchr(line, '=');
    if (strncmp(line, "--", 2) || !equals)
        misuse("%s: line %d: expected --name=value, not \"%s\"", path, number, line);
    *equals = 0;
    struct flag *f = flag_find(&program_table, line + 2);
    if (!f)
        misuse("%s: line %d: %s: no such flag", path, number, line);
    if (f->given || !strcmp(f->name, "flagfile"))
        return;
    if (flag_set(f, equals + 1))
        misuse("%s: line %d: %s", path, number, why());
    f->given = false; /* what people type counts as given; a resolved default does not */
}

/* End the line, and with it those that begin with a blank, which go on it (flags_write). Returns
   what follows, NULL at the end. */
static char *cut_line(char *line, int *lines)
{
    char *to = line, *at = line;
    *lines = 1;
    while (*at && !(at[0] == '\n' && at[1] != ' ')) {
        *to++ = *at;
        if (*at++ == '\n') {
            at++;
            ++*lines;
        }
    }
    char *next = *at ? at + 1 : NULL;
    *to = 0;
    return next;
}

static void read_flagfile(const char *path)
{
    static char *text; /* the flags' values lie in it from now on */
    struct map m;
    if (map_open(&m, path))
        misuse("--flagfile: %s", why());
    text = strndup((const char *)m.data, m.bytes);
    map_close(&m);
    if (!text)
        misuse("--flagfile: %s: out of memory", path);
    int number = 1, lines;
    for (char *line = text, *next; line; line = next, number += lines) {
        next = cut_line(line, &lines);
        take_line(line, path, number);
    }
}

static void within(const char *name, int64_t value, int64_t least, int64_t most)
{
    if (value < least || value > most)
        misuse("--%s=%lld: expected %lld to %lld", name, (long long)value, (long long)least,
               (long long)most);
}

static void resolve_step(void)
{
    char *end;
    if (!*o.resume_step)
        return;
    errno = 0;
    o.step_to_resume = strtoll(o.resume_step, &end, 10);
    if (errno || *end || o.step_to_resume < 1)
        misuse("--resume_step=%s: expected the number of a step", o.resume_step);
    if (!*o.resume_exp_name)
        misuse("--resume_step=%s: needs --resume_exp_name", o.resume_step);
}

static void resolve_batch(void)
{
    within("global_batch_size", o.global_batch_size, 1, 1 << 20);
    within("accum_steps", o.accum_steps, 1, o.global_batch_size);
    if (o.global_batch_size % o.accum_steps)
        misuse("--accum_steps=%lld: does not divide --global_batch_size=%lld",
               (long long)o.accum_steps, (long long)o.global_batch_size);
    int64_t data_ranks = mesh_data_ranks(&o.mesh);
    if (o.global_batch_size / o.accum_steps % data_ranks)
        misuse("--global_batch_size=%lld: its %lld rows a part cannot be shared out evenly among "
               "the %lld ranks of --mesh_dim along dp and fsdp",
               (long long)o.global_batch_size, (long long)(o.global_batch_size / o.accum_steps),
               (long long)data_ranks);
    o.rank_rows = o.global_batch_size / data_ranks;
    int64_t part = o.rank_rows / o.accum_steps;
    if (!strcmp(o.micro_text, "auto"))
        return;
    char *end;
    errno = 0;
    o.micro_batch = strtoll(o.micro_text, &end, 10);
    if (errno || *end || end == o.micro_text)
        misuse("--micro_batch=%s: expected a number of rows, or auto", o.micro_text);
    /* What a flag file of another mesh holds is made to fit. */
    while (o.micro_batch > 1 && data_ranks > 1 &&
           !flag_find(&program_table, "micro_batch")->given &&
           (o.micro_batch > part || part % o.micro_batch))
        o.micro_batch--;
    if (o.micro_batch == 0)
        o.micro_batch = part;
    within("micro_batch", o.micro_batch, 1, part);
    if (part % o.micro_batch)
        misuse("--micro_batch=%lld: does not divide the %lld rows of global_batch_size / "
               "accum_steps%s",
               (long long)o.micro_batch, (long long)part, data_ranks > 1 ? " on each rank" : "");
    static char resolved[24];
    snprintf(resolved, sizeof resolved, "%lld", (long long)o.micro_batch);
    o.micro_text = resolved;
    if (o.micro_batch * o.seq_length > INT_MAX)
        misuse("--micro_batch=%lld: more than 2^31 tokens at once; raise --accum_steps",
               (long long)o.micro_batch);
}

/* A call written over several lines means the same in one, which is what flags.txt has room for. */
static void join_lines(const char **text)
{
    static char *joined;
    if (!strpbrk(*text, "\n\r"))
        return;
    joined = strdup(*text);
    if (!joined)
        misuse("out of memory");
    for (char *c = joined; (c = strpbrk(c, "\n\r"));)
        *c = ' ';
    *text = joined;
}

/* The reference's long names of types. */
static void short_dtype(const char **dtype)
{
    static const char *const names[][2] = {{"float32", "fp32"},
                                           {"bfloat16", "bf16"},
                                           {"float16", "fp16"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(*dtype, names[i][0]))
            *dtype = names[i][1];
}

static void resolve(int rank, int ranks)
{
    short_dtype(&o.dtype);
    short_dtype(&o.float_dtype);
    within("gpus", o.gpus, 1, 1 << 20);
    if (mesh_parse(&o.mesh, o.mesh_dim, o.plan ? (int)o.gpus : ranks) ||
        peers_check_timeout(o.comm_timeout_s))
        misuse("%s", why());
    if (o.plan && strstr(o.mesh_dim, "-1")) /* all are tried */
        o.mesh = MESH_ONE;
    o.mesh.rank = rank;
    join_lines(&o.model.update_model_config);
    within("seed", o.seed, 0, INT64_MAX);
    within("seq_length", o.seq_length, 1, 1 << 28);
    within("total_steps", o.total_steps, 1, (int64_t)1 << 40);
    within("vocab_size", o.vocab_size, 0, 1 << 28);
    within("loader_workers", o.loader_workers, 0, 1 << 20);
    within("eval_every", o.eval_every, 0, INT64_MAX);
    within("eval_batches", o.eval_batches, 0, INT64_MAX);
    within("eval_tokens", o.eval_tokens, 0, INT64_MAX);
    within("save_checkpoint_freq", o.save_checkpoint_freq, 0, INT64_MAX);
    within("save_milestone_freq", o.save_milestone_freq, 0, INT64_MAX);
    within("threads", o.threads, 0, 4096);
    within("recompute_every", o.recompute_every, 0, 1 << 20);
    within("skip_nonfinite", o.skip_nonfinite, 0, 1 << 20);
    within("spike_window", o.spike_window, 2, 1 << 20);
    within("norms_every", o.norms_every, 0, INT64_MAX);
    if (!(o.skip_spikes >= 0))
        misuse("--skip_spikes=%g: expected a number of deviations, or 0", o.skip_spikes);
    resolve_batch();
    resolve_step();
    if (order_rule_find(&o.order_rule, o.order) || optim_check(&o.optim))
        misuse("%s", why());
    if (o.skip_nonfinite && o.optim.accumulate_gradient_steps > 1)
        misuse(
            "--skip_nonfinite: a mean that --optimizer.accumulate_gradient_steps has begun cannot "
            "do without a step; accumulate by --accum_steps");
    if (o.skip_spikes > 0 && o.optim.accumulate_gradient_steps > 1)
        misuse("--skip_spikes: as --skip_nonfinite, not within "
               "--optimizer.accumulate_gradient_steps; accumulate by --accum_steps");
    if (o.plan)
        return;
    if (!*o.dataset_path)
        misuse("--dataset_path=DIR is needed: the directory that ttt-pack wrote to");
    if (!*o.exp_name && !o.eval_mode && !o.print_config)
        misuse("--exp_name=NAME is needed: the run's files go to EXP_DIR/NAME");
    if (!*o.exp_dir)
        o.exp_dir = ".";
}

const struct options *options_parse(int argc, char **argv, int rank, int ranks)
{
    flags_parse(argc, argv, &program_table, NULL);
    o.tokenizer_given = flag_find(&program_table, "tokenizer_name")->given;
    if (*o.flagfile)
        read_flagfile(o.flagfile);
    resolve(rank, ranks);
    return &o;
}

void options_notes(const struct options *given)
{
    if (!strcmp(given->matmul, "tf32") &&
        (strcmp(device_kind(), "cuda") || sizeof(real) != sizeof(float)))
        say("--matmul=tf32: without effect, for it is about products of fp32 on a GPU");
    if (flag_find(&program_table, "loader_workers")->given)
        say("--loader_workers=%lld: without effect, rows are read from the mapped file",
            (long long)given->loader_workers);
    if (strcmp(given->float_dtype, "fp32"))
        say("--checkpointer.float_dtype=%s: without effect, checkpoints are fp32",
            given->float_dtype);
    if (!given->save_optimizer_state)
        say("--checkpointer.save_optimizer_state=false: without effect, checkpoints hold "
            "everything");
    for (const struct flag *f = table; f->kind; f++)
        if (f->kind != FLAG_GROUP && f->given && !strncmp(f->name, "jax_distributed.", 16))
            say("--%s: without effect, ranks find each other by their launcher", f->name);
}
