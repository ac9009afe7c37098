/* generate.c -- ttt-generate: text from a checkpoint, token by token. */
#include "device.h"
#include "flags.h"
#include "machine.h"
#include "memory.h"
#include "prompts.h"
#include "report.h"
#include "sibling.h"
#include "speak.h"
#include "team_data.h"
#include "texts.h"
#include "trained.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char *checkpoint, *tokenizer_path, *file;
static const char *save_state, *load_state;
static struct flag_list prompt, stop;
static int64_t tokens = 256, samples = 1, batch = 1, seed;
static bool bos = true, echo = true, ignore_eos, json, interactive;
static struct machine machine = MACHINE_DEFAULT;
static struct sample_config choice = {.temperature = 0.8, .top_p = 0.95, .repetition_penalty = 1};

static struct flag flags[] = {
    {FLAG_TEXT, 'c', "checkpoint", &checkpoint, "DIR",
     "a run's directory (its newest checkpoint), one step_N, or the average in either; needed"},
    {FLAG_TEXT, 't', "tokenizer", &tokenizer_path, "MODEL",
     "the SentencePiece BPE model file of the training data; needed"},
    {FLAG_GROUP, .name = "what to go on from"},
    {FLAG_LIST, 'p', "prompt", &prompt, "TEXT",
     "a text, as an operand is one too; - reads all of standard input"},
    {FLAG_TEXT, 'f', "prompts", &file, "FILE", "a prompt on each line; - is standard input"},
    {FLAG_ON, 0, "json", &json, NULL,
     "lines of --prompts are objects with the member \"prompt\" or \"text\", and each text\n"
     "comes out as such a line with \"completion\", \"tokens\" and \"finish\" added"},
    {FLAG_ON, 'i', "interactive", &interactive, NULL,
     "talk at the terminal, each line read after all before; taken where there is no\n"
     "prompt and standard input and output are a terminal"},
    {FLAG_TEXT, 0, "load_state", &load_state, "FILE",
     "go on from the memory of a text that --save_state kept"},
    {FLAG_TEXT, 0, "save_state", &save_state, "FILE",
     "keep what the model remembers when the prompt has been read"},
    {FLAG_ON, 0, "bos", &bos, NULL,
     "begin with the id of <s>, as training documents do; not after --load_state"},
    {FLAG_GROUP, .name = "how far"},
    {FLAG_INT, 'n', "tokens", &tokens, "N", "how many tokens to add at most"},
    {FLAG_LIST, 0, "stop", &stop, "TEXT", "end before this text; may be given again"},
    {FLAG_ON, 0, "ignore_eos", &ignore_eos, NULL, "go on after the end of a document"},
    {FLAG_ON, 0, "echo", &echo, NULL, "print the prompt before its continuation"},
    {FLAG_INT, 0, "samples", &samples, "N", "texts for each prompt, of seeds S, S+1, ..."},
    {FLAG_INT, 0, "batch", &batch, "N",
     "texts made side by side, which is faster; 1 prints each token as it comes"},
    {FLAG_GROUP, .name = "choice of the next token"},
    {FLAG_NUMBER, 0, "temperature", &choice.temperature, "X",
     "divides the logits: below 1 is more cautious; 0 takes the likeliest"},
    {FLAG_INT, 0, "top_k", &choice.top_k, "K", "only from the K likeliest; 0: from all"},
    {FLAG_NUMBER, 0, "top_p", &choice.top_p, "P",
     "only from the likeliest that together reach this probability; 1: from all"},
    {FLAG_NUMBER, 0, "min_p", &choice.min_p, "P",
     "only from those at least P times as likely as the likeliest; 0: from all"},
    {FLAG_NUMBER, 0, "repetition_penalty", &choice.repetition_penalty, "X",
     "logits of what came before are divided by X where positive, else multiplied; 1: none"},
    {FLAG_INT, 0, "seed", &seed, "S",
     "the same seed gives the same text, whatever is made beside it, up to rounding"},
    MACHINE_FLAGS(machine, "the texts of a --batch out"),
    {0},
};

static const struct program self = {
    .name = "ttt-generate",
    .operands = "[PROMPT...]",
    .purpose =
        "Text from a model that ttt-train has trained. It comes on standard output as it is made,\n"
        "character by whole character; the speed is told on standard error. The model decodes\n"
        "recurrently: with TTT, memory does not grow with the text. Without a prompt it begins a\n"
        "document. Several texts are kept apart by lines of ---.",
    .examples =
        "  ttt-generate --checkpoint=runs/small --tokenizer=kjv.model --prompt='In the beginning'\n"
        "  ttt-generate -c runs/small/step_300 -t kjv.model -n 1000 --temperature=0 --ignore_eos\n"
        "  ttt-generate -c runs/small -t kjv.model --stop=. --samples=4 --batch=4 'And he said'\n"
        "  ttt-generate -c runs/small -t kjv.model --json --prompts=in.jsonl --batch=32 "
        ">out.jsonl\n"
        "  ttt-generate -c runs/small -t kjv.model -n 0 --no-echo --save_state=book --prompt=- "
        "<book.txt\n"
        "  ttt-generate -c runs/small -t kjv.model --load_state=book 'The end of it was'\n"
        "  ttt-generate -c runs/small -t kjv.model --interactive\n",
    .flags = flags,
    .builds = sibling_builds,
};

/* ---- parts -------------------------------------------------------------------------------- */

static void check_flags(void)
{
    if (!checkpoint)
        misuse("--checkpoint=DIR is needed");
    if (!tokenizer_path)
        misuse("--tokenizer=MODEL is needed");
    if (tokens < 0)
        misuse("--tokens=%" PRId64 ": must not be negative", tokens);
    machine_check(&machine);
    if (samples < 1 || samples > 1000000)
        misuse("--samples=%" PRId64 ": expected 1 to 1000000", samples);
    if (batch < 1 || batch > 65536)
        misuse("--batch=%" PRId64 ": expected 1 to 65536", batch);
    for (int i = 0; i < stop.count; i++)
        if (!*stop.items[i])
            misuse("--stop=: expected a text that is not empty");
    if (sample_check(&choice))
        misuse("%s", why());
    if (interactive && (prompt.count || file || json))
        misuse("--interactive takes no prompts: they are typed");
    if (save_state && (interactive || file || prompt.count > 1 || samples > 1))
        misuse("--save_state keeps the memory of one text: give one --prompt");
}

/* Standard input is one rank's alone, and so is the memory of a text. */
static void check_ranks(int ranks)
{
    bool reads = file && !strcmp(file, "-");
    for (int i = 0; i < prompt.count; i++)
        reads |= !strcmp(prompt.items[i], "-");
    if (ranks > 1 && (reads || interactive))
        misuse("many ranks cannot share standard input: give --prompt=TEXT or --prompts=FILE");
    if (ranks > 1 && (save_state || load_state))
        misuse("--save_state and --load_state are for a single rank");
}

static void tell_speed(const struct texts *t)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    say("%" PRIu64 " tokens read at %.1f tokens/s, %" PRIu64 " made at %.1f tokens/s, peak memory "
        "%.0f MiB",
        t->read, (double)t->read / (t->read_s > 0 ? t->read_s : 1), t->made,
        (double)t->made / (t->made_s > 0 ? t->made_s : 1), (double)used.ru_maxrss / 1024);
}

int main(int argc, char **argv)
{
    struct trained model = {0};
    struct memory memory = {0};
    struct texts texts = {0};
    struct tokenizer tokenizer = {0};
    struct memory_owner owner;
    char **given = machine_arguments(argc, argv);
    struct team team;
    team_find(&team, self.name);
    int ranks = team.ranks.count;
    char **operands = flags_parse(argc, argv, &self, NULL);
    team_speak(&team);
    struct flag *prompt_flag = flag_find(&self, "prompt");
    for (; *operands; operands++)
        if (flag_set(prompt_flag, *operands))
            die("%s", why());
    bool none = !prompt.count && !file;
    if (none && !json && !save_state && ranks == 1 && isatty(0) && isatty(1))
        interactive = true;
    if (none && !interactive && flag_set(prompt_flag, ""))
        die("%s", why());
    check_flags();
    check_ranks(ranks);
    team_shape(&team, machine.mesh_dim, machine.comm_timeout_s);
    /* A token needs all parameters: fsdp, as dp, shares only the texts out. */
    team.mesh.dp *= team.mesh.fsdp;
    team.mesh.fsdp = 1;
    machine_enter(&machine, &self, given, &team);

    const char *closed = device_open((int)machine.threads);
    if (closed)
        die("%s", closed);
    if (team_agree(&team, &self) || team_join(&team) ||
        tokenizer_open(&tokenizer, tokenizer_path) ||
        trained_open(&model, checkpoint, &team.mesh) ||
        team_same(&team, "the tokenizer's XXH3-128", tokenizer.hash.hex) ||
        team_same(&team, "the checkpoint's XXH3-128", model.digest.hex) ||
        (file && team_same_file(&team, "the XXH3-128 of --prompts", file)))
        team_die(&team);
    owner = (struct memory_owner){model.digest, tokenizer.hash};
    if (tokenizer.vocab_size > (uint32_t)model.config.vocab_size) {
        fail("%s: has %" PRIu32 " ids, and the model %d: it was trained with another tokenizer",
             tokenizer_path, tokenizer.vocab_size, model.config.vocab_size);
        team_die(&team);
    }
    struct texts_config how = {
        .tokens = tokens,
        .eos_id = ignore_eos ? TOKENIZER_NONE : tokenizer.eos_id,
        .stops = stop.count ? &stop : NULL,
    };
    if ((load_state && memory_open(&memory, load_state, &owner, &model.config)) ||
        texts_open(&texts, &how, &model.config, &model.params, &choice, (int)tokenizer.vocab_size))
        team_die(&team);
    struct speak speak = {
        .texts = &texts,
        .tokenizer = &tokenizer,
        .owner = &owner,
        .memory = load_state ? &memory : NULL,
        .memory_path = load_state,
        .save_path = save_state,
        .bos = bos && !load_state,
        .echo = echo,
        .json = json,
        .samples = samples,
        .batch = (int)batch,
        .seed = (uint64_t)seed,
    };
    struct prompts from;
    int rc = interactive ? speak_with_person(&speak)
             : prompts_open(&from, prompt.items, prompt.count, file, json)
                 ? -1
                 : speak_prompts(&speak, &from);
    if (rc)
        team_die(&team);
    tell_speed(&texts);

    memory_close(&memory);
    texts_close(&texts);
    trained_close(&model);
    tokenizer_close(&tokenizer);
    team_close(&team);
    device_close();
    return finish(0);
}
