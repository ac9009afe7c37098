/* speak_person.c -- texts for a person at the terminal. */
#include "ask.h"
#include "report.h"
#include "speak.h"
#include "utf8.h"

#include <stdlib.h>

static volatile sig_atomic_t interrupt;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupt = 1;
}

/* From here to the restoring of `before`, Ctrl-C ends what is being read, made or saved. */
static void heed(struct sigaction *before)
{
    struct sigaction act = {.sa_handler = on_interrupt};
    interrupt = 0;
    sigaction(SIGINT, &act, before);
}

static const char HELP[] =
    "a line is read after all before it, and the text goes on; Ctrl-C ends either\n"
    "/new        forget everything\n"
    "/save FILE  keep what is remembered, for --load_state\n"
    "/quit       leave, as Ctrl-D does\n";

/* The talk so far. */
struct talk {
    const struct speak *s;
    struct text text;
    bool begun;
};

static int forget(struct talk *t)
{
    const struct speak *s = t->s;
    const struct memory *m = s->memory;
    int64_t tokens = s->texts->config.tokens, capacity = s->texts->model->max_sequence_length;
    text_close(&t->text);
    t->begun = m;
    t->text = (struct text){.keeps = true, .out = {.t = s->tokenizer, .to = stdout}};
    if (m && capacity <= (int64_t)m->count + tokens)
        capacity = (int64_t)m->count + tokens + 1;
    if (texts_begin(s->texts, 1, capacity, m, s->memory_path) ||
        sample_begin(&s->texts->sampler, &t->text.chance, s->seed))
        return -1;
    return m ? text_remember(&t->text, m) : 0;
}

/* The first line, or one after the end of a document, begins a document; others go on in it. */
static int encode(const struct talk *t, const char *line, struct ids *ids)
{
    const struct speak *s = t->s;
    struct encoder e;
    size_t bytes = strlen(line), bad;
    bool document = !t->begun || t->text.end == TEXT_EOS;
    if (!utf8_valid(line, bytes, &bad))
        return fail("that line is not UTF-8: byte %zu", bad);
    if (encoder_open(&e, s->tokenizer))
        return -1;
    int status = document ? encoder_document(&e, line, bytes,
                                             (struct framing){s->bos, false, SPECIAL_TEXT}, ids)
                          : encoder_encode(&e, line, bytes, SPECIAL_TEXT, ids);
    encoder_close(&e);
    if (!status && !ids->count && !t->begun)
        return fail("there is nothing to begin with: type something");
    return status;
}

static int go_on(struct talk *t, const char *line)
{
    struct ids ids = {0};
    struct sigaction before;
    if (encode(t, line, &ids) || texts_go_on(&t->text, &ids)) {
        ids_free(&ids);
        return -1;
    }
    t->begun = true;
    heed(&before);
    int status = texts_run(t->s->texts, &t->text);
    sigaction(SIGINT, &before, NULL);
    return putchar('\n') == EOF || fflush(stdout) ? fail("the text could not be written") : status;
}

/* What was read and not told yet is told first. */
static int keep(struct talk *t, const char *path)
{
    struct ids none = {0};
    struct sigaction before;
    heed(&before);
    int status =
        texts_go_on(&t->text, &none) || texts_save(t->s->texts, &t->text, t->s->owner, path);
    sigaction(SIGINT, &before, NULL);
    return status ? -1 : 0;
}

/* Whether the talk goes on. */
static bool obey(struct talk *t, const char *line)
{
    int status = 0;
    if (!strcmp(line, "/quit"))
        return false;
    if (!strcmp(line, "/help"))
        fputs(HELP, stderr);
    else if (!strcmp(line, "/new"))
        status = forget(t);
    else if (!strncmp(line, "/save ", 6) && line[6])
        status = keep(t, line + 6);
    else if (*line == '/')
        status = fail("%s: no such command; /help lists them", line);
    else
        status = go_on(t, line);
    if (status)
        warn("%s", why());
    return true;
}

int speak_with_person(const struct speak *s)
{
    struct talk t = {.s = s};
    s->texts->config.interrupt = &interrupt;
    if (forget(&t))
        return -1;
    say("type a beginning; /help tells more");
    ask_begin();
    bool on = true;
    for (char *line; on && (line = ask_line("> ")); free(line))
        on = obey(&t, line);
    ask_end();
    text_close(&t.text);
    return 0;
}
