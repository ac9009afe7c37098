/* tokenize.c -- ttt-tokenize: documents to token documents. */
#include "flags.h"
#include "job.h"
#include "pipeline.h"
#include "report.h"
#include "version.h"

#include <inttypes.h>
#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    EXIT_REJECTED = 3,    /* finished, but some documents were left out or mended */
    EXIT_SIGNALLED = 128, /* and the signal's number: stopped, the same command goes on */
    MAX_THREADS = 1024,
    FLIGHT_BYTES = 64 << 20, /* of text on its way, but for one document that is longer */
};

static const char *model, *special = "literal", *text_key = "", *format = "auto";
static const char *on_error = "fail", *rejects = "", *out = "-", *separator = "";
static const char *shard_text = "", *stats = "";
static bool bos = true, eos = true, compress, recursive, lists, split_blank, count, force;
static int64_t threads, memory;
static double save_every_s = 20;

static struct flag flags[] = {
    {FLAG_TEXT, 't', "tokenizer", &model, "MODEL",
     "SentencePiece BPE model, or Hugging Face's tokenizer.json of one; needed"},
    {FLAG_TEXT, 'o', "out", &out, "OUT.tok", "where the token documents go; - is standard output"},
    {FLAG_INT, 'j', "threads", &threads, "N",
     "threads that encode; 0 takes every processor. The output does not depend on it"},
    {FLAG_SIZE, 0, "memory", &memory, "SIZE",
     "what one long document may take: three quarters of it is the longest record that is\n"
     "read, held once; 0: whatever there is"},
    {FLAG_ON, 0, "compress", &compress, NULL, "deflate the blocks of the output"},
    {FLAG_ON, 0, "count", &count, NULL,
     "write no token documents, but a table of documents, tokens, bytes of text and MB/s of\n"
     "every input on standard output"},
    {FLAG_TEXT, 0, "stats", &stats, "FILE", "write the counts there as JSON, in all and by input"},
    {FLAG_GROUP, .name = "Inputs"},
    {FLAG_ON, 'r', "recursive", &recursive, NULL,
     "take the files in folders, sorted by their paths: those called .jsonl .ndjson .json\n"
     ".txt .tar .zip, also compressed, or all with --format; none whose name begins with a dot"},
    {FLAG_ON, '0', "null", &lists, NULL,
     "each INPUT is a list of inputs, every name ended by NUL, as find -print0 writes it"},
    {FLAG_CHOICE, 0, "format", &format, "auto|jsonl|text",
     "jsonl: a document per JSON record; text: a document per file;\n"
     "auto: by name (.jsonl .ndjson .json, .txt), else jsonl if the first character is { or ["},
    {FLAG_TEXT, 0, "text-key", &text_key, "KEY",
     "the member that holds the text, or a path to it: meta.body is \"body\" in \"meta\", and\n"
     "\\. a dot in a name; otherwise \"text\", or the first member of the first object where\n"
     "that has no \"text\""},
    {FLAG_ON, 0, "split-blank", &split_blank, NULL,
     "text files hold several documents, parted by blank lines"},
    {FLAG_TEXT, 0, "separator", &separator, "LINE",
     "text files hold several documents, parted by lines that are LINE"},
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
    {FLAG_GROUP, .name = "Several machines, and another day"},
    {FLAG_TEXT, 0, "shard", &shard_text, "I/N",
     "only part I of N, from 0 to N - 1: whole files, and ranges of lines of JSON lines that\n"
     "are not compressed. OUT.tok becomes OUT-0000I-of-0000N.tok; all of them in order are\n"
     "the whole, and ttt-pack makes the same bytes of them for every N. A part may be empty.\n"
     "Default: as SLURM_ARRAY_TASK_ID, _MIN, _STEP and _COUNT say; none: not even then"},
    {FLAG_NUMBER, 0, "save-every", &save_every_s, "S",
     "seconds between two states, from which the same command goes on after any end"},
    {FLAG_ON, 0, "force", &force, NULL, "begin anew, whatever is there already"},
    {FLAG_ON, 'q', "quiet", &quiet, NULL, "no progress and no summary"},
    {0}};

static const struct program self = {
    .name = "ttt-tokenize",
    .operands = "INPUT...",
    .purpose =
        "Turn documents into token documents (.tok), in the order given. INPUT is JSON lines, "
        "an array of objects, plain text, or a tar or zip archive of such files; plain or "
        "compressed (gzip, zstd, xz, bzip2, lz4, known by content); - is standard input. Memory: "
        "64 MB of text and its ids, the longest document, and a cache of 11 MB per thread. With -o "
        "OUT.tok the state of the work is kept in OUT.tok.part and OUT.tok.state, and after a "
        "signal, a crash or a full disk the same command goes on from there; a finished run "
        "leaves its counts in OUT.tok.json, and the same command does nothing then. Exit status: "
        "0 done, 1 failed, 2 misused, 3 done but with faulty documents left out or mended, 128 "
        "and the signal's number (143 for SIGTERM) stopped with the state kept.",
    .examples = "ttt-tokenize --tokenizer tokenizer.model -o books.tok books.jsonl.zst\n"
                "ttt-tokenize --tokenizer tokenizer.model --on-error=skip --rejects bad.jsonl \\\n"
                "    *.jsonl | ttt-shuffle --seed 1 - | ttt-pack -o data --tokenizer-name llama -\n"
                "ttt-tokenize --tokenizer tokenizer.model -r --shard 3/16 -o out/pile.tok pile/\n"
                "find . -name '*.txt' -print0 | ttt-tokenize -t tokenizer.model -0 --count -",
    .flags = flags,
};

/* ---- before the work ---------------------------------------------------------------------- */

static void check_flags(char **operands)
{
    int from_stdin = 0;
    for (char **o = operands; *o; o++)
        from_stdin += !strcmp(*o, "-");
    if (from_stdin > 1)
        misuse("standard input (-) is named %d times", from_stdin);
    if (!model)
        misuse("--tokenizer MODEL is needed");
    if (!*operands)
        misuse("no INPUT is named; - is standard input");
    if (threads < 0 || threads > MAX_THREADS)
        misuse("--threads=%" PRId64 ": expected 0 to %d", threads, MAX_THREADS);
    if (*rejects && !strcmp(on_error, "fail"))
        misuse("--rejects needs --on-error=skip or --on-error=replace");
    if (split_blank && *separator)
        misuse("--split-blank and --separator exclude each other");
    if (memory && memory < 64 << 20)
        misuse("--memory: expected 64M at least");
    if (save_every_s < 0)
        misuse("--save-every: expected seconds, 0 or more");
    if (count && (*rejects || flag_find(&self, "out")->given))
        misuse("--count writes no token documents: leave out and rejects away");
    if (!count && !strcmp(out, "-") && isatty(STDOUT_FILENO))
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
    job->framing = (struct framing){.bos = bos, .eos = eos, .special = job->reader.special};
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

/* Who made the stream, how it is framed. */
static void describe_output(struct job *job)
{
    job->meta = (struct tok_meta){.vocab_size = job->tokenizer.vocab_size,
                                  .tokenizer = job->tokenizer.hash,
                                  .add_bos = bos,
                                  .add_eos = eos,
                                  .special_text = job->framing.special == SPECIAL_TEXT,
                                  .bos_id = bos ? job->tokenizer.bos_id : 0,
                                  .eos_id = eos ? job->tokenizer.eos_id : 0};
    if (describe(job->meta.options, sizeof job->meta.options))
        die("%s", why());
}

static void list_inputs(struct inputs *inputs, char **operands)
{
    struct inputs_rule rule = {.recursive = recursive,
                               .any_name = strcmp(format, "auto") != 0,
                               .lists = lists};
    if (inputs_open(inputs, operands, rule))
        die("%s", why());
    if (inputs->passed)
        say("%zu files in the folders are passed over, whose names tell no format", inputs->passed);
}

static void share_out(struct job *job, const struct inputs *inputs)
{
    struct shard shard;
    int sharded = shard_parse(&shard, shard_text);
    job->reader.inputs = inputs;
    job->reader.portion = portion_whole(inputs);
    if (sharded < 0)
        misuse("%s", why());
    if (!sharded)
        return;
    if (!inputs->regular)
        misuse("--shard needs files, whose sizes are known; pipes cannot be shared out");
    if (!*shard_text)
        say("shard %" PRIu64 "/%" PRIu64 ", as SLURM_ARRAY_TASK_ID says", shard.index, shard.count);
    if (portion_find(&job->reader.portion, inputs, &shard, job->reader.format == FORMAT_JSONL,
                     job->reader.format == FORMAT_TEXT))
        die("%s", why());
    if (!count && strcmp(out, "-") && !(out = shard_name(&shard, out)))
        die("out of memory");
    if (*rejects && strcmp(rejects, "-") && !(rejects = shard_name(&shard, rejects)))
        die("out of memory");
}

static void set_reader(struct job *job)
{
    struct reader *r = &job->reader;
    r->format = !strcmp(format, "jsonl")  ? FORMAT_JSONL
                : !strcmp(format, "text") ? FORMAT_TEXT
                                          : FORMAT_AUTO;
    r->split = split_blank || *separator;
    r->parting = *separator ? separator : NULL;
    r->most = (size_t)(memory - memory / 4);
    r->most_uncut = (size_t)memory / 32;
    job->budget = memory && memory / 16 < FLIGHT_BYTES ? (size_t)memory / 16 : FLIGHT_BYTES;
    job->on_error = !strcmp(on_error, "skip")      ? ON_ERROR_SKIP
                    : !strcmp(on_error, "replace") ? ON_ERROR_REPLACE
                                                   : ON_ERROR_FAIL;
    r->tokenizer = &job->tokenizer;
    r->special = !strcmp(special, "text") ? SPECIAL_TEXT : SPECIAL_LITERAL;
    r->on_error = job->on_error;
    if (*text_key && jsonl_key_give(&r->key, text_key))
        misuse("--text-key: %s", why());
}

/* Everything that the output's bytes depend on. */
static uint64_t identity(const struct job *job)
{
    const struct portion *p = &job->reader.portion;
    const char *texts[] = {job->tokenizer.hash.hex,
                           version_text(),
                           special,
                           text_key,
                           format,
                           on_error,
                           separator,
                           rejects,
                           job->meta.options};
    uint64_t sum = job->reader.inputs->identity;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        sum = XXH3_64bits_withSeed(texts[i], strlen(texts[i]) + 1, sum);
    uint64_t numbers[] = {p->first, p->last, p->from, p->to, bos, eos, compress, split_blank};
    return XXH3_64bits_withSeed(numbers, sizeof numbers, sum);
}

/* ---- after the work ----------------------------------------------------------------------- */

/* The counts, and where they are from. NULL with why(). */
static json_t *report_of(const struct job *job, double spent_s)
{
    json_t *all = json_pack("{s:s+,s:s,s:i,s:f,s:I}", "program", "ttt-tokenize ", version_text(),
                            "tokenizer", job->tokenizer.hash.hex, "threads", job->threads, "wall_s",
                            spent_s, "vocab_size", (json_int_t)job->tokenizer.vocab_size);
    if (all && !tally_report(&job->tally, job->reader.inputs, all))
        return all;
    json_decref(all);
    fail("out of memory");
    return NULL;
}

static void keep_counts(const struct job *job, double spent_s)
{
    json_t *all = report_of(job, spent_s);
    struct stat st;
    if (!all || (*stats && keep_json(stats, all)))
        die("%s", why());
    if (job->resumable) {
        int bad = stat(out, &st) ? fail("%s: gone", out) : 0;
        if (!bad && json_object_set_new(all, "out_bytes", json_integer((json_int_t)st.st_size)))
            bad = fail("out of memory");
        if (bad || keep_finish(&job->keep, all))
            die("%s", why());
        keep_forget(&job->keep);
    }
    json_decref(all);
}

static void summarize(const struct job *job, double spent_s)
{
    char documents[16], tokens[16], bytes[16], spent[24];
    const struct tally_count *all = &job->tally.all;
    double text_bytes = (double)all->text_bytes;
    if (spent_s < 10)
        snprintf(spent, sizeof spent, "%.2f s", spent_s);
    else
        human_s(spent, spent_s);
    say("%s documents, %s tokens, %s bytes of text, %.2f bytes per token, %.1f MB/s, %s",
        human(documents, (double)all->documents), human(tokens, (double)all->tokens),
        human(bytes, text_bytes), all->tokens ? text_bytes / (double)all->tokens : 0,
        all->spent_s > 0 ? text_bytes / 1e6 / all->spent_s : 0, spent);
    if (all->left_out || all->mended)
        say("%" PRIu64 " faulty documents left out, %" PRIu64 " mended%s%s", all->left_out,
            all->mended, *rejects ? ", listed in " : "", rejects);
}

/* What was made earlier by the same command; true: nothing is left to do. */
static bool made_already(const struct job *job, int *status)
{
    json_t *record = force ? NULL : keep_finished(&job->keep, out);
    if (!record)
        return false;
    say("%s is there already, whole, of the same inputs and flags; --force makes it again", out);
    bool faulty = json_integer_value(json_object_get(record, "left_out")) ||
                  json_integer_value(json_object_get(record, "mended"));
    *status = faulty ? EXIT_REJECTED : 0;
    if (*stats && keep_json(stats, record))
        die("%s", why());
    json_decref(record);
    return true;
}

/* An output that can be gone on with is a plain file, made of what can be read again. */
static bool can_resume(const struct inputs *inputs)
{
    struct stat st;
    return !count && strcmp(out, "-") && inputs->regular &&
           (stat(out, &st) ? true : S_ISREG(st.st_mode));
}

/* Nothing at all was made: a mistake, but for a shard, of which there may be more than records. */
static void refuse_nothing(struct job *job)
{
    const struct tally_count *all = &job->tally.all;
    const struct portion *p = &job->reader.portion;
    bool part = p->first || p->last + 1 < job->reader.inputs->count || p->to != UINT64_MAX;
    if (all->documents || part)
        return;
    if (*rejects && !count && writer_commit(&job->reject_list))
        die("%s", why());
    job->saved = false;
    job_leave(job);
    keep_forget(&job->keep);
    if (all->left_out)
        die("no document is left: all %" PRIu64 " records are faulty", all->left_out);
    die("no document in any input; expected at least one JSON record or text file");
}

static int stopped(struct job *job)
{
    bool kept = job->saved;
    job_leave(job);
    if (!job_stopped_by() || strcmp(why(), JOB_STOPPED) != 0)
        die("%s%s", why(), kept ? "; what is done is kept, and the same command goes on" : "");
    warn("stopped by signal %d; the same command goes on from here", job_stopped_by());
    return EXIT_SIGNALLED + job_stopped_by();
}

/* So that --memory and `ulimit -v` can be as little more than the longest document as is said. */
static void use_memory_sparingly(void)
{
    mallopt(M_ARENA_MAX, 1);            /* else each thread takes 64 MB of addresses */
    mallopt(M_MMAP_THRESHOLD, 4 << 20); /* what grows for long is moved, not copied */
}

int main(int argc, char **argv)
{
    static struct job job;
    static struct inputs inputs;
    int status = 0;
    use_memory_sparingly();
    char **paths = flags_parse(argc, argv, &self, NULL);
    check_flags(paths);
    set_reader(&job);
    list_inputs(&inputs, paths);
    share_out(&job, &inputs);
    if (threads == 0)
        threads = pipeline_cores() < MAX_THREADS ? pipeline_cores() : MAX_THREADS;
    job.threads = (int)threads;
    open_tokenizer(&job);
    describe_output(&job);
    job.out = count ? NULL : out;
    job.rejects = *rejects ? rejects : NULL;
    job.compress = compress;
    job.save_every_s = save_every_s;
    job.resumable = can_resume(&inputs);
    if (job.resumable && keep_open(&job.keep, out, identity(&job)))
        die("%s", why());
    if (job.resumable && made_already(&job, &status))
        return finish(status);
    writer_clean_on_signals();
    if (job.resumable)
        job_stop_on_signals();

    double began_s = now_s();
    if (force && job.resumable)
        keep_forget(&job.keep);
    int got = job_open(&job);
    if (got < 0)
        die("%s", why());
    if (got > 0)
        say("going on behind %" PRIu64 " documents", job.tally.all.documents);
    if (job_run(&job))
        return finish(stopped(&job));
    refuse_nothing(&job);
    if (job_finish(&job))
        die("%s", why());
    double spent_s = now_s() - began_s;
    keep_counts(&job, spent_s);
    if (count)
        tally_print(&job.tally, &inputs);
    summarize(&job, spent_s);
    status = job.tally.all.left_out || job.tally.all.mended ? EXIT_REJECTED : 0;
    tally_close(&job.tally);
    tokenizer_close(&job.tokenizer);
    keep_close(&job.keep);
    inputs_close(&inputs);
    return finish(status);
}
