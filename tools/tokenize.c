/* tokenize.c -- ttt-tokenize: documents to token documents. */
#include "documents.h"
#include "flags.h"
#include "pipeline.h"
#include "reader.h"
#include "rejects.h"
#include "report.h"
#include "tok.h"
#include "version.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    EXIT_REJECTED = 3,   /* finished, but some documents were left out or mended */
    WARNED_REJECTS = 10, /* named on stderr when no file lists them */
    MAX_THREADS = 1024,
    FLIGHT_BYTES = 64 << 20, /* of text on its way, but for one document that is longer */
};

static const char *model, *special = "literal", *text_key = "", *format = "auto";
static const char *on_error = "fail", *rejects = "", *out = "-";
static bool bos = true, eos = true, compress;
static int64_t threads;

static struct flag flags[] = {
    {FLAG_TEXT, 't', "tokenizer", &model, "MODEL", "SentencePiece BPE model file; needed"},
    {FLAG_TEXT, 'o', "out", &out, "OUT.tok", "where the token documents go; - is standard output"},
    {FLAG_INT, 'j', "threads", &threads, "N",
     "threads that encode; 0 takes every processor. The output does not depend on it"},
    {FLAG_ON, 0, "compress", &compress, NULL, "deflate the blocks of the output"},
    {FLAG_GROUP, .name = "Documents"},
    {FLAG_CHOICE, 0, "format", &format, "auto|jsonl|text",
     "jsonl: a document per JSON record; text: a document per file;\n"
     "auto: by name (.jsonl .ndjson .json, .txt), else jsonl if the first character is { or ["},
    {FLAG_TEXT, 0, "text-key", &text_key, "KEY",
     "the member that holds the text; otherwise \"text\", or the first member of the first\n"
     "object where that has no \"text\""},
    {FLAG_GROUP, .name = "Ids"},
    {FLAG_ON, 0, "bos", &bos, NULL, "begin each document with the id of <s>"},
    {FLAG_ON, 0, "eos", &eos, NULL, "end each document, but for an empty one, with the id of </s>"},
    {FLAG_CHOICE, 0, "special", &special, "literal|text",
     "what <s>, </s> and <unk> in a text are. literal: the ids themselves, as in the\n"
     "reference; text: characters like others, for text that is not trusted"},
    {FLAG_GROUP, .name = "Faults"},
    {FLAG_CHOICE, 0, "on-error", &on_error, "fail|skip|replace",
     "invalid UTF-8, half a surrogate pair, a record that is no JSON or has no text:\n"
     "fail: stop; skip: leave the document out; replace: put U+FFFD for the bad part, leave\n"
     "the document out where that is no remedy. With skip and replace the exit status is 3\n"
     "when anything was left out or replaced"},
    {FLAG_TEXT, 0, "rejects", &rejects, "FILE", "list those documents there, a JSON object a line"},
    {FLAG_ON, 'q', "quiet", &quiet, NULL, "no progress and no summary"},
    {0}};

static const struct program self = {
    .name = "ttt-tokenize",
    .operands = "INPUT...",
    .purpose =
        "Turn documents into token documents (.tok), in the order given. INPUT is JSON lines, "
        "an array of objects, or plain text; plain or compressed (gzip, zstd, xz, bzip2, "
        "lz4, known by content); - is standard input. Memory: 64 MB of text and its ids, or "
        "the longest document, and a cache per thread. Exit status: 0 done, 1 failed, 2 "
        "misused, 3 done but with faulty documents left out or mended.",
    .examples = "ttt-tokenize --tokenizer tokenizer.model -o books.tok books.jsonl.zst\n"
                "ttt-tokenize --tokenizer tokenizer.model --on-error=skip --rejects bad.jsonl \\\n"
                "    *.jsonl | ttt-shuffle --seed 1 - | ttt-pack -o data --tokenizer-name llama -",
    .flags = flags,
};

/* ---- the job ------------------------------------------------------------------------------ */

struct job {
    struct tokenizer tokenizer;
    struct framing framing;
    enum on_error on_error;
    struct reader reader;
    struct scratch *scratch; /* [threads] */
    struct tok_writer tok;
    struct writer rejects;
    bool list_rejects;
    uint64_t text_bytes, skipped, mended;
    struct progress progress;
};

static int fill(void *self_, void *item)
{
    struct job *job = self_;
    documents_clear(item);
    return reader_fill(&job->reader, item);
}

/* With its ids a text takes about twice its bytes, counted here only once. */
static size_t weight(void *self_, const void *item)
{
    (void)self_;
    const struct documents *run = item;
    return run->raw_bytes;
}

static void work(void *self_, int worker, void *item)
{
    struct job *job = self_;
    documents_encode(item, &job->scratch[worker], job->framing, job->on_error);
}

static int report_fault(struct job *job, const struct document *doc, const struct jsonl_fault *f)
{
    if (job->on_error == ON_ERROR_FAIL)
        return fail("%s:%" PRIu64 ": %s (byte %" PRIu64 "); --on-error=skip leaves such documents "
                    "out",
                    doc->input, f->place.line, f->reason, f->place.offset);
    uint64_t so_far = job->skipped + job->mended;
    doc->broken ? job->skipped++ : job->mended++;
    if (job->list_rejects)
        return rejects_put(&job->rejects, doc->input, f, doc->broken);
    if (so_far < WARNED_REJECTS)
        warn("%s:%" PRIu64 ": %s (byte %" PRIu64 "); %s", doc->input, f->place.line, f->reason,
             f->place.offset, doc->broken ? "left out" : "replaced by U+FFFD");
    else if (so_far == WARNED_REJECTS)
        warn("further faults are only counted; --rejects FILE lists them all");
    return 0;
}

static int drain(void *self_, void *item)
{
    struct job *job = self_;
    const struct documents *run = item;
    size_t at = 0;
    for (size_t i = 0; i < run->count; i++) {
        const struct document *doc = &run->docs[i];
        if (doc->fault && report_fault(job, doc, &run->faults[doc->fault - 1]))
            return -1;
        if (run->failure[0] && at == run->ids.count && !doc->ids && !doc->broken)
            break;
        if (!doc->broken && tok_writer_put(&job->tok, run->ids.id + at, doc->ids))
            return -1;
        at += doc->ids;
        job->text_bytes += doc->text_bytes;
    }
    if (run->failure[0])
        return fail("%s", run->failure);
    progress_to(&job->progress, run->stored_bytes);
    return 0;
}

/* ---- before and after --------------------------------------------------------------------- */

/* Refuse what can be refused before hours of work. Returns the bytes of all, 0 when unknown. */
static uint64_t survey(char **paths)
{
    uint64_t total = 0;
    bool known = true;
    int from_stdin = 0;
    for (; *paths; paths++) {
        struct stat st;
        if (!strcmp(*paths, "-")) {
            from_stdin++;
            known = false;
        } else if (stat(*paths, &st))
            die("%s: %s", *paths, strerror(errno));
        else if (S_ISDIR(st.st_mode))
            die("%s: is a directory; name the files in it", *paths);
        else {
            known = known && S_ISREG(st.st_mode);
            total += (uint64_t)st.st_size;
        }
    }
    if (from_stdin > 1)
        misuse("standard input (-) is named %d times", from_stdin);
    return known ? total : 0;
}

static void check_flags(int operands)
{
    if (!model)
        misuse("--tokenizer MODEL is needed");
    if (!operands)
        misuse("no INPUT is named; - is standard input");
    if (threads < 0 || threads > MAX_THREADS)
        misuse("--threads=%" PRId64 ": expected 0 to %d", threads, MAX_THREADS);
    if (*rejects && !strcmp(on_error, "fail"))
        misuse("--rejects needs --on-error=skip or --on-error=replace");
    if (!strcmp(out, "-") && isatty(STDOUT_FILENO))
        misuse("token documents are no text for a terminal; add -o OUT.tok, or a pipe");
}

static void open_tokenizer(struct job *job)
{
    if (tokenizer_open(&job->tokenizer, model))
        die("%s", why());
    if (bos && job->tokenizer.bos_id == TOKENIZER_NONE)
        die("%s: has no piece that begins a document; add --no-bos", model);
    if (eos && job->tokenizer.eos_id == TOKENIZER_NONE)
        die("%s: has no piece that ends a document; add --no-eos", model);
    job->framing =
        (struct framing){.bos = bos,
                         .eos = eos,
                         .special = !strcmp(special, "text") ? SPECIAL_TEXT : SPECIAL_LITERAL};
}

/* Who made the stream, and how: the path lets ttt-peek find the tokenizer again. */
static int describe(char *options, size_t bytes)
{
    json_t *o = json_pack("{s:s+, s:s, s:s}", "program", "ttt-tokenize ", version_text(),
                          "on_error", on_error, "tokenizer_file", model);
    if (!o) /* the path is not UTF-8 */
        o = json_pack("{s:s+, s:s}", "program", "ttt-tokenize ", version_text(), "on_error",
                      on_error);
    size_t n = o ? json_dumpb(o, options, bytes, JSON_COMPACT) : 0;
    json_decref(o);
    if (!n || n >= bytes)
        return fail("--tokenizer=%s: too long a path", model);
    options[n] = 0;
    return 0;
}

static int open_output(struct job *job)
{
    struct tok_meta meta = {.vocab_size = job->tokenizer.vocab_size,
                            .tokenizer = job->tokenizer.hash,
                            .add_bos = bos,
                            .add_eos = eos,
                            .special_text = job->framing.special == SPECIAL_TEXT,
                            .bos_id = bos ? job->tokenizer.bos_id : 0,
                            .eos_id = eos ? job->tokenizer.eos_id : 0};
    if (describe(meta.options, sizeof meta.options) ||
        tok_writer_open(&job->tok, out, &meta, compress))
        return -1;
    job->list_rejects = *rejects;
    if (!job->list_rejects || !writer_open(&job->rejects, rejects))
        return 0;
    tok_writer_abandon(&job->tok);
    return -1;
}

static int run_threads(struct job *job)
{
    struct pipeline p = {.workers = (int)threads,
                         .slots = 2 * (int)threads + 2,
                         .budget = FLIGHT_BYTES,
                         .self = job,
                         .fill = fill,
                         .weight = weight,
                         .work = work,
                         .drain = drain};
    job->scratch = calloc((size_t)p.workers, sizeof *job->scratch);
    p.items = calloc((size_t)p.slots, sizeof *p.items);
    struct documents *runs = calloc((size_t)p.slots, sizeof *runs);
    if (!job->scratch || !p.items || !runs)
        return fail("out of memory for %d threads; ask for fewer with -j", p.workers);
    for (int i = 0; i < p.slots; i++)
        p.items[i] = &runs[i];
    for (int i = 0; i < p.workers; i++)
        if (encoder_open(&job->scratch[i].encoder, &job->tokenizer))
            return fail("%s; fewer threads (-j) need less", why());
    if (pipeline_run(&p))
        return -1; /* threads may still hold what would be freed here */
    for (int i = 0; i < p.slots; i++)
        documents_free(&runs[i]);
    for (int i = 0; i < p.workers; i++)
        scratch_free(&job->scratch[i]);
    free(runs);
    free(p.items);
    free(job->scratch);
    return 0;
}

/* Everything was read: give the files their names. */
static int conclude(struct job *job)
{
    uint64_t documents = job->tok.totals.documents;
    int status = 0;
    if (!documents && job->skipped)
        status = fail("no document is left: all %" PRIu64 " records are faulty", job->skipped);
    else if (!documents)
        status = fail("no document in any input; expected at least one JSON record or text file");
    if (job->list_rejects && writer_commit(&job->rejects))
        status = -1;
    if (status)
        tok_writer_abandon(&job->tok);
    else
        status = tok_writer_commit(&job->tok);
    return status;
}

static void summarize(const struct job *job, const struct tok_totals *totals, double spent_s)
{
    char documents[16], tokens[16], bytes[16], spent[24];
    double text_bytes = (double)job->text_bytes;
    if (spent_s < 10)
        snprintf(spent, sizeof spent, "%.2f s", spent_s);
    else
        human_s(spent, spent_s);
    say("%s documents, %s tokens, %s bytes of text, %.2f bytes per token, %.1f MB/s, %s",
        human(documents, (double)totals->documents), human(tokens, (double)totals->tokens),
        human(bytes, text_bytes), totals->tokens ? text_bytes / (double)totals->tokens : 0,
        spent_s > 0 ? text_bytes / 1e6 / spent_s : 0, spent);
    if (job->skipped || job->mended)
        say("%" PRIu64 " faulty documents left out, %" PRIu64 " mended%s%s", job->skipped,
            job->mended, job->list_rejects ? ", listed in " : "", job->list_rejects ? rejects : "");
}

int main(int argc, char **argv)
{
    static struct job job;
    int operands;
    char **paths = flags_parse(argc, argv, &self, &operands);
    check_flags(operands);
    uint64_t total = survey(paths);
    if (threads == 0)
        threads = pipeline_cores() < MAX_THREADS ? pipeline_cores() : MAX_THREADS;
    job.on_error = !strcmp(on_error, "skip")      ? ON_ERROR_SKIP
                   : !strcmp(on_error, "replace") ? ON_ERROR_REPLACE
                                                  : ON_ERROR_FAIL;
    job.reader = (struct reader){.paths = paths, .count = operands};
    job.reader.format = !strcmp(format, "jsonl")  ? FORMAT_JSONL
                        : !strcmp(format, "text") ? FORMAT_TEXT
                                                  : FORMAT_AUTO;
    if (*text_key && jsonl_key_give(&job.reader.key, text_key))
        misuse("--text-key: %s", why());
    open_tokenizer(&job);
    writer_clean_on_signals();
    if (open_output(&job))
        die("%s", why());

    double began_s = now_s();
    progress_begin(&job.progress, "tokenize", "B", total);
    if (run_threads(&job)) {
        tok_writer_abandon(&job.tok);
        writer_abandon(&job.rejects);
        die("%s", why());
    }
    progress_end(&job.progress);
    if (conclude(&job))
        die("%s", why());
    summarize(&job, &job.tok.totals, now_s() - began_s);
    tokenizer_close(&job.tokenizer);
    return finish(job.skipped || job.mended ? EXIT_REJECTED : 0);
}
