/* generate.c -- ttt-generate: text from a checkpoint, token by token. */
#include "decode.h"
#include "device.h"
#include "encoder.h"
#include "flags.h"
#include "report.h"
#include "sample.h"
#include "sibling.h"
#include "state.h"
#include "stream.h"
#include "utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *checkpoint, *tokenizer_path, *prompt = "", *device = "auto", *dtype = "auto";
static int64_t tokens = 256, threads;
static bool bos = true, echo = true, ignore_eos;
static struct sample_config choice = {.temperature = 0.8, .top_p = 0.95};

static struct flag flags[] = {
    {FLAG_TEXT, 'c', "checkpoint", &checkpoint, "DIR",
     "a run's directory (its newest checkpoint) or one step_N; needed"},
    {FLAG_TEXT, 't', "tokenizer", &tokenizer_path, "MODEL",
     "the SentencePiece BPE model file of the training data; needed"},
    {FLAG_TEXT, 'p', "prompt", &prompt, "TEXT", "the text to go on from; - reads standard input"},
    {FLAG_INT, 'n', "tokens", &tokens, "N", "how many tokens to add at most"},
    {FLAG_ON, 0, "ignore_eos", &ignore_eos, NULL, "go on after the end of a document"},
    {FLAG_ON, 0, "bos", &bos, NULL, "begin with the id of <s>, as training documents do"},
    {FLAG_ON, 0, "echo", &echo, NULL, "print the prompt before its continuation"},
    {FLAG_GROUP, .name = "choice of the next token"},
    {FLAG_NUMBER, 0, "temperature", &choice.temperature, "X",
     "divides the logits: below 1 is more cautious; 0 takes the likeliest"},
    {FLAG_INT, 0, "top_k", &choice.top_k, "K", "only from the K likeliest; 0: from all"},
    {FLAG_NUMBER, 0, "top_p", &choice.top_p, "P",
     "only from the likeliest that together reach this probability; 1: from all"},
    {FLAG_INT, 0, "seed", &choice.seed, "S", "the same seed gives the same text"},
    {FLAG_GROUP, .name = "machine"},
    {FLAG_CHOICE, 0, "device", &device, "auto|cpu|cuda",
     "auto: a GPU where one is visible and a CUDA build lies beside this program"},
    {FLAG_CHOICE, 0, "dtype", &dtype, "auto|fp32|bf16",
     "what activations are stored as; auto: fp32 on the CPU, bf16 on a GPU"},
    {FLAG_INT, 0, "threads", &threads, "N", "CPU threads; 0: all"},
    {FLAG_ON, 'q', "quiet", &quiet, NULL, "tell only of trouble"},
    {0},
};

static const struct program self = {
    .name = "ttt-generate",
    .purpose =
        "Text from a model that ttt-train has trained. It comes on standard output as it is made,\n"
        "character by whole character; the speed is told on standard error. The model decodes\n"
        "recurrently: memory does not grow with the text.",
    .examples =
        "  ttt-generate --checkpoint=runs/small --tokenizer=kjv.model --prompt='In the beginning'\n"
        "  ttt-generate -c runs/small/step_300 -t kjv.model -n 1000 --temperature=0 --ignore_eos\n",
    .flags = flags,
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
    if (threads < 0 || threads > 4096)
        misuse("--threads=%" PRId64 ": expected 0 to 4096", threads);
    if (sample_check(&choice))
        misuse("%s", why());
}

/* The checkpoint's model with its parameters, without what only training needs. */
static int load(struct config *c, struct params *p)
{
    char dir[PATH_MAX];
    struct state s;
    if (state_find(dir, checkpoint) || state_read(&s, dir))
        return -1;
    *c = s.config;
    int64_t step = s.step;
    state_close(&s);
    if (config_check(c, 0))
        return fail("%s: %s", dir, why());
    if (params_list(p, c) || params_alloc(p, false) || state_load_params(p, dir))
        return -1;
    char count[16];
    say("%s: %s, %s parameters, step %" PRId64, dir, mixer_name(c->seq_modeling_block),
        human(count, (double)p->total), step);
    return 0;
}

/* Standard input to its end, in *text, the caller's. */
static int read_stdin(char **text, size_t *bytes)
{
    size_t room = 0;
    *text = NULL;
    *bytes = 0;
    for (;;) {
        if (*bytes == room) {
            char *larger = realloc(*text, room = 2 * room + 4096);
            if (!larger)
                return fail("out of memory for the prompt");
            *text = larger;
        }
        size_t n = fread(*text + *bytes, 1, room - *bytes, stdin);
        *bytes += n;
        if (n == 0)
            return ferror(stdin) ? fail("standard input could not be read") : 0;
    }
}

static int encode_prompt(const struct tokenizer *t, struct ids *ids)
{
    struct encoder e;
    char *read = NULL;
    const char *text = prompt;
    size_t bytes = strlen(prompt), bad;
    int rc = 0;
    if (!strcmp(prompt, "-")) {
        rc = read_stdin(&read, &bytes);
        text = read;
    }
    if (!rc && !utf8_valid(text, bytes, &bad))
        rc = fail("the prompt is not UTF-8: byte %zu", bad);
    if (!rc && (rc = encoder_open(&e, t)) == 0) {
        /* Control ids in a prompt would be an outsider's way to end the document. */
        rc = encoder_document(&e, text, bytes, (struct framing){bos, false, SPECIAL_TEXT}, ids);
        encoder_close(&e);
    }
    free(read);
    if (!rc && ids->count == 0)
        rc = fail("there is nothing to begin with: give a --prompt, or let it --bos");
    return rc;
}

/* ---- the text ----------------------------------------------------------------------------- */

struct speed {
    size_t read, made;
    double read_s, made_s;
};

static int generate(struct decode *d, struct sampler *sampler, const struct tokenizer *t,
                    const struct ids *ids, struct speed *speed)
{
    struct stream out = {.t = t, .to = stdout};
    float *logits = calloc((size_t)d->config.vocab_size, sizeof *logits);
    if (!logits)
        return fail("out of memory for the logits");
    double began_s = now_s();
    int rc = 0;
    for (size_t i = 0; i < ids->count && !rc; i++) {
        int32_t id = (int32_t)ids->id[i];
        rc = decode_step(d, &id, i + 1 == ids->count && tokens ? logits : NULL);
        if (!rc && echo)
            rc = stream_put(&out, ids->id[i]);
        else if (!rc)
            tokenizer_decode(t, &ids->id[i], 1, &out.begun, NULL, 0);
    }
    speed->read = ids->count;
    speed->read_s = now_s() - began_s;
    began_s = now_s();
    for (int64_t i = 0; i < tokens && !rc; i++) {
        int32_t id;
        rc = sample_pick(sampler, logits, &id);
        if (rc || ((uint32_t)id == t->eos_id && !ignore_eos))
            break;
        rc = stream_put(&out, (uint32_t)id);
        speed->made++;
        if (!rc && i + 1 < tokens)
            rc = decode_step(d, &id, logits);
    }
    speed->made_s = now_s() - began_s;
    if (!rc)
        rc = stream_end(&out);
    free(logits);
    return rc;
}

int main(int argc, char **argv)
{
    struct config config;
    struct params params = {0};
    struct decode decode = {0};
    struct sampler sampler = {0};
    struct tokenizer tokenizer = {0};
    struct ids ids = {0};
    struct speed speed = {0};
    char **as_given = malloc(sizeof *as_given * ((size_t)argc + 1));
    if (!as_given)
        die("out of memory");
    memcpy(as_given, argv, sizeof *as_given * ((size_t)argc + 1));
    char **operands = flags_parse(argc, argv, &self, NULL);
    if (*operands)
        misuse("%s: no operand is expected; a prompt is given by --prompt", *operands);
    check_flags();
    if (sibling_exec(self.name, as_given, device, dtype))
        die("%s", why());
    free(as_given);

    const char *closed = device_open((int)threads);
    if (closed)
        die("%s", closed);
    if (tokenizer_open(&tokenizer, tokenizer_path) || load(&config, &params))
        die("%s", why());
    if (tokenizer.vocab_size > (uint32_t)config.vocab_size)
        die("%s: has %" PRIu32 " ids, and the model %d: it was trained with another tokenizer",
            tokenizer_path, tokenizer.vocab_size, config.vocab_size);
    if (encode_prompt(&tokenizer, &ids) ||
        decode_open(&decode, &config, &params, 1, (int64_t)ids.count + tokens) ||
        sample_open(&sampler, &choice, (int)tokenizer.vocab_size))
        die("%s", why());
    int rc = generate(&decode, &sampler, &tokenizer, &ids, &speed);
    /* The text ends its line, so that what comes after it does not stand in it. */
    if (putchar('\n') == EOF && !rc)
        rc = fail("the text could not be written");
    if (rc)
        die("%s", why());
    say("%zu tokens read at %.1f tokens/s, %zu made at %.1f tokens/s", speed.read,
        (double)speed.read / (speed.read_s > 0 ? speed.read_s : 1), speed.made,
        (double)speed.made / (speed.made_s > 0 ? speed.made_s : 1));

    ids_free(&ids);
    sample_close(&sampler);
    decode_close(&decode);
    params_close(&params);
    tokenizer_close(&tokenizer);
    device_close();
    return finish(0);
}
