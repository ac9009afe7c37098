/* texts.c -- texts that go on side by side, token by token. */
#include "texts.h"
#include "report.h"

#include <stdlib.h>

const char *text_end_name(enum text_end e)
{
    static const char *const names[] = {"goes on", "eos", "stop", "length", "interrupted"};
    return names[e];
}

void text_close(struct text *t)
{
    ids_free(&t->ids);
    ids_free(&t->told);
    sample_end(&t->chance);
    stream_close(&t->out);
    *t = (struct text){0};
}

static int tell(struct ids *to, uint32_t id)
{
    if (to->count == to->room) {
        size_t room = 2 * to->room + 256;
        uint32_t *larger = realloc(to->id, room * sizeof *larger);
        if (!larger)
            return fail("out of memory for the tokens of a text");
        to->id = larger;
        to->room = room;
    }
    to->id[to->count++] = id;
    return 0;
}

int text_remember(struct text *t, const struct memory *m)
{
    t->out.begun = true;
    for (size_t i = 0; i < m->count; i++) {
        sample_note(&t->chance, (uint32_t)m->id[i]);
        if (t->keeps && tell(&t->told, (uint32_t)m->id[i]))
            return -1;
    }
    return 0;
}

/* ---- open and close ----------------------------------------------------------------------- */

int texts_open(struct texts *t, const struct texts_config *c, const struct config *model,
               struct params *p, const struct sample_config *choice, int vocab)
{
    *t = (struct texts){.config = *c, .model = model, .params = p};
    return sample_open(&t->sampler, choice, vocab);
}

static void close_batch(struct texts *t)
{
    decode_close(&t->decode);
    free(t->logits);
    free(t->input);
    free(t->draw);
    free(t->chosen);
    t->logits = NULL;
    t->input = t->chosen = NULL;
    t->draw = NULL;
}

/* Whether the device chooses, which has the logits and nothing of what came before in a text. */
static bool device_picks(const struct texts *t)
{
    return decode_picks(&t->decode) && !sample_penalises(&t->sampler);
}

static void tell_rule(struct texts *t)
{
    const struct sample_config *c = &t->sampler.config;
    int choices = t->sampler.vocab, top_k = c->top_k < choices ? (int)c->top_k : choices;
    decode_rule(&t->decode, &(struct pick_rule){c->temperature, c->top_p, c->min_p, top_k},
                choices);
}

void texts_close(struct texts *t)
{
    close_batch(t);
    sample_close(&t->sampler);
    *t = (struct texts){0};
}

int texts_begin(struct texts *t, int batch, int64_t capacity, const struct memory *m,
                const char *path)
{
    size_t rows = (size_t)batch, vocab = (size_t)t->model->vocab_size;
    bool room = !t->decode.capacity || t->decode.capacity >= capacity;
    if (t->decode.batch == batch && room) {
        decode_begin(&t->decode);
    } else {
        close_batch(t);
        t->logits = malloc(rows * vocab * sizeof *t->logits);
        t->input = malloc(rows * sizeof *t->input);
        t->draw = malloc(rows * sizeof *t->draw);
        t->chosen = malloc(rows * sizeof *t->chosen);
        if (!t->logits || !t->input || !t->draw || !t->chosen)
            return fail("out of memory for the logits of %d texts", batch);
        if (decode_open(&t->decode, t->model, t->params, batch, capacity))
            return -1;
        tell_rule(t);
    }
    t->decode.interrupt = t->config.interrupt;
    t->away = false;
    t->fresh = m;
    for (size_t row = 0; m && row < rows; row++)
        memcpy(t->logits + row * vocab, m->logits, vocab * sizeof *t->logits);
    return m ? memory_load(m, &t->decode, path) : 0;
}

/* ---- a token of every text ------------------------------------------------------------------ */

static bool reads(const struct text *one)
{
    return one->read < one->ids.count;
}

/* The model has read the next of what a text had to read. */
static int take(struct text *one)
{
    uint32_t next = one->ids.id[one->read++];
    sample_note(&one->chance, next);
    if (one->keeps && tell(&one->told, next))
        return -1;
    if (one->echo)
        return stream_put(&one->out, next);
    stream_skip(&one->out, next);
    return 0;
}

/* Every text reads all that it has to read, unless interrupted, and the logits are here. */
static int read_all(struct texts *t, struct text *list)
{
    int batch = t->decode.batch, status = 0;
    uint64_t tokens = 0, left = 0;
    double began_s = now_s();
    struct decode_prompt *prompts = calloc((size_t)batch, sizeof *prompts);
    int64_t *ends = calloc((size_t)batch, sizeof *ends); /* positions when all is read */
    if (!prompts || !ends) {
        free(prompts);
        free(ends);
        return fail("out of memory for %d prompts", batch);
    }
    if (t->away)
        decode_logits(&t->decode, t->logits);
    t->away = false;
    for (int i = 0; i < batch; i++) {
        const struct text *one = &list[i];
        if (one->end || !reads(one))
            continue;
        prompts[i] = (struct decode_prompt){(const int32_t *)one->ids.id + one->read,
                                            (int64_t)(one->ids.count - one->read)};
        ends[i] = t->decode.position[i] + prompts[i].count;
        tokens += (uint64_t)prompts[i].count;
    }
    if (tokens)
        status = decode_read(&t->decode, prompts, t->logits);
    for (int i = 0; i < batch; i++) {
        int64_t rest = prompts[i].count ? ends[i] - t->decode.position[i] : 0;
        for (int64_t k = rest; k < prompts[i].count && !status; k++)
            status = take(&list[i]);
        left += (uint64_t)rest;
    }
    free(prompts);
    free(ends);
    t->fresh = tokens ? !left : t->fresh;
    t->read += tokens - left;
    t->read_s += now_s() - began_s;
    return status;
}

/* The model reads what was chosen last, of every text that has not ended. */
static int feed(struct texts *t, struct text *list)
{
    double began_s = now_s();
    for (int i = 0; i < t->decode.batch; i++) {
        struct text *one = &list[i];
        t->input[i] = one->end ? -1 : one->last;
        t->draw[i] = sample_draw(&one->chance);
        if (one->end)
            continue;
        one->pending = false;
        t->made++;
        if (one->keeps && tell(&one->told, (uint32_t)one->last))
            return -1;
    }
    bool picks = device_picks(t);
    if (picks ? decode_pick(&t->decode, t->input, t->draw, t->chosen)
              : decode_step(&t->decode, t->input, t->logits))
        return -1;
    t->away = picks;
    t->fresh = true;
    t->made_s += now_s() - began_s;
    return 0;
}

/* Choose the next token of text i, unless it has come to its end. */
static int choose(struct texts *t, struct text *one, int i)
{
    const struct texts_config *c = &t->config;
    const float *logits = t->logits + (size_t)i * (size_t)t->model->vocab_size;
    if (one->made >= c->tokens) {
        one->end = TEXT_LENGTH;
        return 0;
    }
    one->out.stops = c->stops;
    if (t->away)
        one->last = t->chosen[i];
    if (t->away ? sample_take(&t->sampler, &one->chance, one->last)
                : sample_pick(&t->sampler, &one->chance, logits, &one->last))
        return -1;
    one->pending = true;
    if ((uint32_t)one->last == c->eos_id) {
        one->end = TEXT_EOS;
        return 0;
    }
    sample_note(&one->chance, (uint32_t)one->last);
    if (stream_put(&one->out, (uint32_t)one->last))
        return -1;
    one->made++;
    one->end = one->out.stopped ? TEXT_STOP : one->made == c->tokens ? TEXT_LENGTH : TEXT_GOES_ON;
    return 0;
}

static bool interrupted(const struct texts *t)
{
    return t->config.interrupt && *t->config.interrupt;
}

int texts_save(struct texts *t, struct text *one, const struct memory_owner *owner,
               const char *path)
{
    if (read_all(t, one))
        return -1;
    if (reads(one))
        return fail("%s: is not written: interrupted before all was read", path);
    if (!t->fresh || !one->told.count)
        return fail("%s: there is no text yet to remember", path);
    if (memory_save(path, owner, &t->decode, 0, one->told.id, one->told.count, t->logits))
        return -1;
    say("%s: the memory of %zu tokens", path, one->told.count);
    return 0;
}

int texts_run(struct texts *t, struct text *list)
{
    if (read_all(t, list))
        return -1;
    for (;;) {
        int going = 0;
        for (int i = 0; i < t->decode.batch; i++) {
            struct text *one = &list[i];
            if (interrupted(t) && !one->end)
                one->end = TEXT_INTERRUPTED;
            if (!one->end && choose(t, one, i))
                return -1;
            going += !one->end;
        }
        if (!going)
            break;
        if (feed(t, list))
            return -1;
    }
    for (int i = 0; i < t->decode.batch; i++)
        if (stream_end(&list[i].out))
            return -1;
    return 0;
}

int texts_go_on(struct text *one, struct ids *ids)
{
    struct ids rest = {0};
    rest.room = one->ids.count - one->read + 1 + ids->count;
    rest.id = malloc(rest.room * sizeof *rest.id);
    if (!rest.id)
        return fail("out of memory for the text");
    for (size_t i = one->read; i < one->ids.count; i++)
        rest.id[rest.count++] = one->ids.id[i];
    if (one->pending)
        rest.id[rest.count++] = (uint32_t)one->last;
    for (size_t i = 0; i < ids->count; i++)
        rest.id[rest.count++] = ids->id[i];
    ids_free(&one->ids);
    ids_free(ids);
    one->ids = rest;
    one->read = 0;
    one->pending = false;
    one->made = 0;
    one->end = TEXT_GOES_ON;
    one->out.stopped = false;
    one->out.stops = NULL;
    return 0;
}
