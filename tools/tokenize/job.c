/* job.c -- documents through all processors into one output. */
#include "job.h"

#include "rejects.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WARNED_REJECTS = 10 /* named on stderr when no file lists them */ };

static volatile sig_atomic_t stopped_by;

static void note_signal(int sig)
{
    stopped_by = sig;
}

void job_stop_on_signals(void)
{
    static const int sigs[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction act = {.sa_handler = note_signal, .sa_flags = (int)SA_RESETHAND | SA_RESTART};
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++)
        sigaction(sigs[i], &act, NULL);
}

int job_stopped_by(void)
{
    return stopped_by;
}

/* ---- the state ---------------------------------------------------------------------------- */

/* Where the next document is, and what was made of those before it. */
static json_t *facts_of(const struct job *job, const struct documents *run)
{
    const struct stand *s = &run->after;
    return json_pack("{s:I,s:I,s:I,s:I,s:i,s:b,s:I,s:I,s:o}", "file", (json_int_t)s->file, "stream",
                     (json_int_t)s->stream, "offset", (json_int_t)s->at.now.offset, "line",
                     (json_int_t)s->at.now.line, "shape", (int)s->at.shape, "skipping",
                     (int)s->at.skipping, "stored", (json_int_t)run->stored_bytes, "rejects",
                     (json_int_t)job->reject_list.bytes, "counts", tally_save(&job->tally));
}

static int save(struct job *job, const struct documents *run)
{
    uint8_t *data = NULL;
    size_t bytes;
    json_t *facts = NULL;
    int status = job->rejects ? writer_sync(&job->reject_list) : 0;
    if (!status)
        status = tok_writer_save(&job->tok, &data, &bytes);
    if (!status)
        status = (facts = facts_of(job, run)) ? 0 : fail("out of memory");
    if (!status)
        status = keep_save(&job->keep, facts, data, bytes);
    json_decref(facts);
    free(data);
    if (status)
        return -1;
    job->saved = true;
    job->saved_s = now_s();
    return 0;
}

static int take_facts(struct job *job, const json_t *facts, uint64_t *reject_bytes)
{
    json_int_t file, stream, offset, line, stored, rejects;
    int shape, skipping;
    json_t *counts;
    if (json_unpack((json_t *)facts, "{s:I,s:I,s:I,s:I,s:i,s:b,s:I,s:I,s:o}", "file", &file,
                    "stream", &stream, "offset", &offset, "line", &line, "shape", &shape,
                    "skipping", &skipping, "stored", &stored, "rejects", &rejects, "counts",
                    &counts) ||
        shape < JSONL_START || shape > JSONL_ARRAY_DONE || tally_load(&job->tally, counts))
        return fail("%s: not what this version writes", job->keep.state);
    job->reader.stand = (struct stand){(size_t)file,
                                       (uint64_t)stream,
                                       {{(uint64_t)line, (uint64_t)offset},
                                        (enum jsonl_shape)shape,
                                        skipping != 0}};
    job->reader.resumed = true;
    job->stored_before = (uint64_t)stored;
    *reject_bytes = (uint64_t)rejects;
    return 0;
}

/* A run that was killed while it named its files: what has its name since the state was written
   becomes a part again, to go on from. */
static int take_back(const struct job *job, const char *path)
{
    struct stat state, named;
    char *part;
    if (asprintf(&part, "%s.part", path) < 0)
        return fail("out of memory");
    int status = 0;
    if (access(part, F_OK) && !stat(path, &named) && !stat(job->keep.state, &state) &&
        (named.st_ctim.tv_sec > state.st_mtim.tv_sec ||
         (named.st_ctim.tv_sec == state.st_mtim.tv_sec &&
          named.st_ctim.tv_nsec >= state.st_mtim.tv_nsec)) &&
        rename(path, part))
        status = fail("%s: %s", path, strerror(errno));
    free(part);
    return status;
}

static int open_writers(struct job *job, const uint8_t *data, size_t bytes, uint64_t reject_bytes)
{
    int status =
        strcmp(job->out, "-")
            ? tok_writer_resume(&job->tok, job->out, &job->meta, job->compress, data, bytes)
            : tok_writer_open(&job->tok, job->out, &job->meta, job->compress);
    if (status)
        return -1;
    if (job->rejects && writer_resume(&job->reject_list, job->rejects, reject_bytes)) {
        job->resumable ? tok_writer_pause(&job->tok) : tok_writer_abandon(&job->tok);
        return -1;
    }
    if (!job->resumable) {
        writer_transient(&job->tok.file);
        writer_transient(&job->reject_list);
    }
    return 0;
}

int job_open(struct job *job)
{
    json_t *facts = NULL;
    uint8_t *data = NULL;
    size_t bytes = 0;
    uint64_t reject_bytes = 0;
    if (tally_open(&job->tally, job->reader.portion.first, job->reader.portion.last))
        return -1;
    job->saved_s = now_s();
    if (!job->out)
        return 0;
    int got = job->resumable ? keep_load(&job->keep, &facts, &data, &bytes) : 0;
    if (got > 0 && (take_facts(job, facts, &reject_bytes) || take_back(job, job->out) ||
                    (job->rejects && take_back(job, job->rejects))))
        got = -1;
    if (got >= 0 && open_writers(job, data, bytes, reject_bytes))
        got = -1;
    job->saved = got > 0;
    json_decref(facts);
    free(data);
    return got;
}

/* ---- the pipeline ------------------------------------------------------------------------- */

static int fill(void *self, void *item)
{
    struct job *job = self;
    documents_clear(item);
    return reader_fill(&job->reader, item);
}

/* With its ids a text takes about twice its bytes, counted here only once. */
static size_t weight(void *self, const void *item)
{
    (void)self;
    const struct documents *run = item;
    return run->raw_bytes;
}

static void work(void *self, int worker, void *item)
{
    struct job *job = self;
    documents_encode(item, &job->scratch[worker], job->framing, job->on_error);
}

static int report_fault(struct job *job, const struct documents *run, const struct document *doc)
{
    const struct jsonl_fault *f = &run->faults[doc->fault - 1];
    const char *name = document_name(run, doc);
    char place[32] = "";
    if (!doc->midway) /* else nobody has counted the lines before */
        snprintf(place, sizeof place, ":%" PRIu64, f->place.line);
    if (job->on_error == ON_ERROR_FAIL)
        return fail("%s%s: %s (byte %" PRIu64 "); --on-error=skip leaves such documents out", name,
                    place, f->reason, f->place.offset);
    uint64_t so_far = job->tally.all.left_out + job->tally.all.mended;
    tally_fault(&job->tally, doc);
    if (job->rejects)
        return rejects_put(&job->reject_list, name, f, doc->midway, doc->broken);
    if (so_far < WARNED_REJECTS)
        warn("%s%s: %s (byte %" PRIu64 "); %s", name, place, f->reason, f->place.offset,
             doc->broken ? "left out" : "replaced by U+FFFD");
    else if (so_far == WARNED_REJECTS)
        warn("further faults are only counted; --rejects FILE lists them all");
    return 0;
}

/* The ids of a document, or of a part of it. */
static int put(struct job *job, const struct document *doc, const uint32_t *ids)
{
    if (!doc->continued && tok_writer_begin(&job->tok))
        return -1;
    if (tok_writer_append(&job->tok, ids, doc->ids))
        return -1;
    return doc->continues ? 0 : tok_writer_end(&job->tok);
}

static int drain(void *self, void *item)
{
    struct job *job = self;
    const struct documents *run = item;
    size_t at = 0;
    for (size_t i = 0; i < run->count; i++) {
        const struct document *doc = &run->docs[i];
        if (doc->fault && report_fault(job, run, doc))
            return -1;
        if (run->failure[0] && at == run->ids.count && !doc->ids && !doc->broken)
            break;
        if (job->out && !doc->broken && put(job, doc, run->ids.id + at))
            return -1;
        at += doc->ids;
    }
    if (run->failure[0])
        return fail("%s", run->failure);
    tally_add(&job->tally, run);
    progress_to(&job->progress, run->stored_bytes);
    bool due = now_s() - job->saved_s >= job->save_every_s;
    if (run->inside)
        return 0;
    if (job->resumable && (stopped_by || due) && save(job, run))
        return -1;
    return stopped_by ? fail(JOB_STOPPED) : 0;
}

int job_run(struct job *job)
{
    struct pipeline *p = &job->pipeline;
    *p = (struct pipeline){.workers = job->threads,
                           .slots = 2 * job->threads + 2,
                           .budget = job->budget,
                           .self = job,
                           .fill = fill,
                           .weight = weight,
                           .work = work,
                           .drain = drain};
    job->scratch = calloc((size_t)p->workers, sizeof *job->scratch);
    p->items = calloc((size_t)p->slots, sizeof *p->items);
    struct documents *runs = calloc((size_t)p->slots, sizeof *runs);
    if (!job->scratch || !p->items || !runs)
        return fail("out of memory for %d threads; ask for fewer with -j", p->workers);
    for (int i = 0; i < p->slots; i++)
        p->items[i] = &runs[i];
    for (int i = 0; i < p->workers; i++)
        if (encoder_open(&job->scratch[i].encoder, &job->tokenizer))
            return fail("%s; fewer threads (-j) need less", why());
    progress_begin(&job->progress, job->out ? "tokenize" : "count", "B",
                   job->reader.inputs->regular ? job->reader.portion.bytes : 0);
    job->progress.skipped = job->stored_before;
    if (pipeline_run(p))
        return -1; /* threads may still hold what would be freed here */
    progress_end(&job->progress);
    for (int i = 0; i < p->slots; i++)
        documents_free(&runs[i]);
    for (int i = 0; i < p->workers; i++)
        scratch_free(&job->scratch[i]);
    free(runs);
    free(p->items);
    free(job->scratch);
    return 0;
}

/* ---- the end ------------------------------------------------------------------------------ */

int job_finish(struct job *job)
{
    if (!job->out)
        return 0;
    int status = job->rejects ? writer_commit(&job->reject_list) : 0;
    if (status) {
        tok_writer_abandon(&job->tok);
        return -1;
    }
    return tok_writer_commit(&job->tok);
}

void job_leave(struct job *job)
{
    if (job->saved) {
        tok_writer_pause(&job->tok);
        writer_pause(&job->reject_list);
        return;
    }
    tok_writer_abandon(&job->tok);
    writer_abandon(&job->reject_list);
}
