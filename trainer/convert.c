/* convert.c -- ttt-convert: checkpoints of others to ours and back. */
#include "exchange.h"
#include "file.h"
#include "flags.h"
#include "report.h"

#include <string.h>

static const char *from_kind = "", *to_kind = "", *dtype = "fp32", *part = "auto";
static int64_t step_flag, max_bytes = 5000000000;
static struct config_flags model = CONFIG_FLAGS_DEFAULT;

static struct flag table[] = {
    {FLAG_GROUP, .name = "what to convert"},
    {FLAG_CHOICE, .name = "from", .value = &from_kind, .operand = "reference|hf|ttt",
     .help = "what the first operand is"},
    {FLAG_CHOICE, .name = "to", .value = &to_kind, .operand = "reference|hf|ttt",
     .help = "what the second operand becomes"},
    {FLAG_CHOICE, .name = "part", .value = &part, .operand = "auto|trainstate|params",
     .help = "with the optimiser's state or the parameters alone; auto: with it where it is"},
    {FLAG_CHOICE, .name = "dtype", .value = &dtype, .operand = "fp32|bf16|f16",
     .help = "of what is written for others, to nearest even; ours are fp32.\n"
             "f16 for hf alone"},
    {FLAG_INT, .name = "step", .value = &step_flag, .operand = "N",
     .help = "the step of what does not tell it, as streaming_params and hf;\n"
             "0: the number that its name ends with, else 1"},
    {FLAG_SIZE, .name = "max_shard_bytes", .value = &max_bytes, .operand = "SIZE",
     .help = "cut a larger hf model into files of so much"},

    {FLAG_GROUP, .name = "what the reference's files do not tell of a model"},
    CONFIG_FLAGS(model),
    {FLAG_ON, 'q', "quiet", &quiet, .help = "tell only of trouble"},
    {0},
};

static const struct program program_table = {
    "ttt-convert",
    "FROM TO",
    "Convert checkpoints, from and to:\n"
    "  ttt        the directory of a run that ttt-train resumes and ttt-generate speaks from\n"
    "  reference  what the JAX trainer streams: streaming_train_state, streaming_params\n"
    "  hf         the directory of a Hugging Face model: config.json, model.safetensors or\n"
    "             several such files with their index; model_type ttt (the authors' PyTorch\n"
    "             code) or llama (self_attention)\n"
    "Every tensor has to be there, of its shape, and no other. There and back gives the same\n"
    "bytes. The checksum told is of the parameters as numbers, so it is the same in any form.",
    "  ttt-convert --from=reference exp/streaming_train_state --to=ttt runs/converted\n"
    "  ttt-train ... --exp_dir=runs --resume_exp_name=converted\n"
    "  ttt-convert --from=ttt runs/small/step_300 --to=reference streaming_params --part=params\n"
    "  ttt-convert --from=ttt runs/small --to=hf small-hf --dtype=bf16\n"
    "  ttt-convert --from=hf TinyLlama --to=ttt runs/llama\n",
    table,
};

static enum exchange_form form_of(const char *kind)
{
    return !strcmp(kind, "ttt")  ? EXCHANGE_TTT
           : !strcmp(kind, "hf") ? EXCHANGE_HF
                                 : EXCHANGE_REFERENCE;
}

int main(int argc, char **argv)
{
    int count;
    char **operand = flags_parse(argc, argv, &program_table, &count);
    if (count != 2)
        misuse("expected two operands, what to read and what to write, not %d", count);
    if (!*from_kind || !*to_kind || !strcmp(from_kind, to_kind))
        misuse("expected --from and --to, two different ones of reference, hf and ttt");
    if (step_flag < 0 || step_flag > INT32_MAX)
        misuse("--step=%lld: expected 1 to 2147483647", (long long)step_flag);
    if (max_bytes < 1)
        misuse("--max_shard_bytes=%lld: expected a positive number", (long long)max_bytes);
    if (!strcmp(dtype, "f16") && strcmp(to_kind, "hf"))
        misuse("--dtype=f16: only for --to=hf");
    writer_clean_on_signals();
    struct exchange_options o = {
        .model = &model,
        .model_given = flag_find(&program_table, "load_model_config")->given,
        .part = part,
        .dtype = !strcmp(dtype, "fp32")   ? TENSOR_F32
                 : !strcmp(dtype, "bf16") ? TENSOR_BF16
                                          : TENSOR_F16,
        .step = step_flag,
        .max_bytes = max_bytes,
    };
    struct exchange x;
    if (exchange_read(&x, &o, form_of(from_kind), operand[0]) ||
        exchange_write(&x, form_of(to_kind), operand[1]))
        die("%s", why());
    exchange_close(&x);
    return finish(0);
}
