/* speak.c -- prompts in, texts out, for files and pipes. */
#include "speak.h"

#include <stdlib.h>

/* A batch that is being filled and said. */
struct load {
    struct text *text;     /* [batch] */
    struct prompt *prompt; /* [batch]; its own copy of a record is each one's */
    int64_t *sample;       /* [batch] */
    int count;
    uint64_t said; /* texts before */
};

/* ---- a text ------------------------------------------------------------------------------- */

static int encode(const struct speak *s, const struct prompt *one, struct ids *ids)
{
    struct encoder e;
    if (encoder_open(&e, s->tokenizer))
        return -1;
    /* Control ids in a prompt would be an outsider's way to end the document. */
    int status = encoder_document(&e, one->text, one->bytes,
                                  (struct framing){s->bos, false, SPECIAL_TEXT}, ids);
    encoder_close(&e);
    if (!status && ids->count == 0 && !s->memory)
        return fail("%s: there is nothing to begin with: give a --prompt, or let it --bos",
                    one->place);
    return status;
}

static int begin_text(const struct speak *s, struct text *t, const struct prompt *one,
                      int64_t sample)
{
    *t = (struct text){.echo = s->echo && !s->json, .keeps = s->save_path, .out.t = s->tokenizer};
    t->out.to = s->batch == 1 && !s->json ? stdout : NULL;
    if (encode(s, one, &t->ids) ||
        sample_begin(&s->texts->sampler, &t->chance, s->seed + (uint64_t)sample))
        return -1;
    return s->memory ? text_remember(t, s->memory) : 0;
}

/* ---- out ---------------------------------------------------------------------------------- */

static int put_json(const struct speak *s, const struct text *t, const struct prompt *one,
                    int64_t sample)
{
    json_t *record =
        one->record ? json_copy(one->record) : json_pack("{s:s%}", "prompt", one->text, one->bytes);
    int bad = !record ||
              json_object_set_new(record, "completion",
                                  json_stringn(t->out.bytes ? t->out.text : "", t->out.bytes)) ||
              json_object_set_new(record, "tokens", json_integer(t->made)) ||
              json_object_set_new(record, "finish", json_string(text_end_name(t->end)));
    if (!bad && s->samples > 1)
        bad = json_object_set_new(record, "sample", json_integer(sample));
    if (!bad)
        bad = json_dumpf(record, stdout, JSON_COMPACT) || putchar('\n') == EOF || fflush(stdout);
    json_decref(record);
    return bad ? fail("the text could not be written") : 0;
}

static int put_text(const struct speak *s, const struct load *l, int i)
{
    const struct text *t = &l->text[i];
    if (s->json)
        return put_json(s, t, &l->prompt[i], l->sample[i]);
    if (!t->out.to) {
        if (l->said + (uint64_t)i)
            fputs("---\n", stdout);
        if (t->out.bytes)
            fwrite(t->out.text, 1, t->out.bytes, stdout);
    }
    /* The text ends its line, so that what comes after it does not stand in it. */
    return putchar('\n') == EOF || fflush(stdout) ? fail("the text could not be written") : 0;
}

/* ---- a batch ------------------------------------------------------------------------------ */

static int run(const struct speak *s, struct load *l)
{
    size_t longest = 0, before = s->memory ? s->memory->count : 0;
    for (int i = 0; i < l->count; i++)
        longest = l->text[i].ids.count > longest ? l->text[i].ids.count : longest;
    int64_t capacity = (int64_t)(before + longest) + s->texts->config.tokens;
    if (l->said && l->text[0].out.to && fputs("---\n", stdout) == EOF)
        return fail("the text could not be written");
    if (texts_begin(s->texts, l->count, capacity, s->memory, s->memory_path) ||
        (s->save_path && texts_save(s->texts, &l->text[0], s->owner, s->save_path)) ||
        texts_run(s->texts, l->text))
        return -1;
    for (int i = 0; i < l->count; i++)
        if (put_text(s, l, i))
            return -1;
    return 0;
}

static int say_batch(const struct speak *s, struct load *l)
{
    int status = l->count ? run(s, l) : 0;
    for (int i = 0; i < l->count; i++) {
        text_close(&l->text[i]);
        prompt_close(&l->prompt[i]);
    }
    l->said += (uint64_t)l->count;
    l->count = 0;
    return status;
}

/* A prompt of its own for every sample. */
static int copy_prompt(struct prompt *to, const struct prompt *from)
{
    *to = *from;
    to->text = malloc(from->bytes + 1);
    if (!to->text)
        return fail("out of memory for the prompt");
    memcpy(to->text, from->text, from->bytes);
    to->text[from->bytes] = 0;
    json_incref(to->record);
    return 0;
}

static int queue(const struct speak *s, struct load *l, const struct prompt *one, int64_t sample)
{
    if (copy_prompt(&l->prompt[l->count], one))
        return -1;
    l->sample[l->count] = sample;
    int i = l->count++;
    if (begin_text(s, &l->text[i], one, sample))
        return -1;
    return l->count == s->batch ? say_batch(s, l) : 0;
}

static int say_all(const struct speak *s, struct load *l, struct prompts *from)
{
    struct prompt one;
    int more, status = 0;
    while (!status && (more = prompts_next(from, &one)) == 1) {
        for (int64_t k = 0; k < s->samples && !status; k++)
            status = queue(s, l, &one, k);
        prompt_close(&one);
    }
    if (status || more == 0)
        return status || say_batch(s, l) ? -1 : 0;
    /* What came before the bad one is not lost. */
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", why());
    return say_batch(s, l) ? -1 : fail("%s", sentence);
}

int speak_prompts(const struct speak *s, struct prompts *from)
{
    size_t batch = (size_t)s->batch;
    struct load l = {calloc(batch, sizeof *l.text), calloc(batch, sizeof *l.prompt),
                     calloc(batch, sizeof *l.sample), 0, 0};
    int status = l.text && l.prompt && l.sample ? 0 : fail("out of memory for %zu texts", batch);
    if (!status)
        status = say_all(s, &l, from);
    for (int i = 0; i < l.count; i++) {
        text_close(&l.text[i]);
        prompt_close(&l.prompt[i]);
    }
    free(l.text);
    free(l.prompt);
    free(l.sample);
    prompts_close(from);
    return status;
}
