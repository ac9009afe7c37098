/* pack.c -- ttt-pack: token documents to the dataset directory that trainers read. */
#include "bestfit.h"
#include "flags.h"
#include "ordered.h"
#include "packer.h"
#include "pcg.h"
#include "report.h"
#include "sharing.h"

#include <stdlib.h>
#include <unistd.h>

enum { STREAMS = PACKER_SPLITS };

/* What the program holds beside the documents that wait. */
enum { OTHER_BYTES = 40 << 20, LEAST_MEMORY = 64 << 20 };

/* Where the documents come from: one corpus for all splits, or one each. */
struct job {
    struct packer_plan plan;
    struct feed feed[STREAMS];
    struct flag_list in[STREAMS];
    struct foreign_plan from;
    int64_t memory, pad_id;
    const char *source_name;
    bool force;
    struct packer packer;
    struct bestfit fit[PACKER_SPLITS];
};

/* ---- one split ---------------------------------------------------------------------------- */

static int split_begin(struct job *j, int split, uint64_t tokens, uint64_t documents)
{
    const struct packer_plan *p = &j->plan;
    bool fit = p->best_fit > 0;
    if (packer_begin(&j->packer, split, fit ? 0 : tokens, fit ? 0 : documents))
        return -1;
    return fit ? bestfit_open(&j->fit[split], &j->packer.split[split], (uint32_t)p->best_fit,
                              tok_id_bytes(&p->meta), (uint32_t)j->pad_id, p->truncate)
               : 0;
}

static int split_put(struct job *j, int split, const void *stored, size_t count, bool first,
                     bool last)
{
    if (j->plan.best_fit)
        return bestfit_put(&j->fit[split], stored, count, first, last);
    return (first && packer_document(&j->packer, split)) ||
                   packer_put(&j->packer, split, stored, count)
               ? -1
               : 0;
}

static int split_end(struct job *j, int split)
{
    return j->plan.best_fit ? bestfit_end(&j->fit[split]) : 0;
}

/* ---- one corpus, split as the reference splits -------------------------------------------- */

/* The first `test` documents are validation and test alike, the rest is train. */
static int write_splits(struct job *j, struct ordered *o, uint64_t test)
{
    struct reorder_piece piece;
    struct progress p;
    int status = 0;
    uint64_t held_out = 0;
    if (split_begin(j, PACKER_VALIDATION, 0, test) || split_begin(j, PACKER_TEST, 0, test))
        return -1;
    progress_begin(&p, "packed", " documents", o->documents);
    for (uint64_t place = 0; place < o->documents; place += piece.last) {
        /* What is left for train is known when the others are written. */
        if (place == test && !j->packer.split[PACKER_TRAIN].plan.dir &&
            split_begin(j, PACKER_TRAIN, o->tokens - held_out, o->documents - test))
            return -1;
        if ((status = ordered_next(o, &piece)) <= 0)
            break;
        if (place < test) {
            held_out += piece.count;
            status = split_put(j, PACKER_VALIDATION, piece.stored, piece.count, piece.first,
                               piece.last) ||
                     split_put(j, PACKER_TEST, piece.stored, piece.count, piece.first, piece.last);
        } else
            status = split_put(j, PACKER_TRAIN, piece.stored, piece.count, piece.first, piece.last);
        if (status)
            return -1;
        progress_to(&p, place + 1);
    }
    progress_end(&p);
    for (int split = 0; !status && split < PACKER_SPLITS; split++)
        status = split_end(j, split);
    return status;
}

static int draw_splits(struct job *j)
{
    const struct packer_plan *plan = &j->plan;
    struct feed *f = &j->feed[0];
    struct ordered o;
    uint64_t test;
    char beside[4096];
    snprintf(beside, sizeof beside, "%s/", j->packer.dir);
    struct reorder_plan order = {
        .kind = PLACING_NUMPY,
        .seed = (uint64_t)plan->split_seed,
        .id_bytes = tok_id_bytes(&plan->meta),
        .memory = j->memory - OTHER_BYTES,
        .tmp = plan->tmp,
        .beside = beside,
        .known = f->known,
        .documents = f->totals.documents,
        .tokens = f->totals.tokens,
    };
    if (ordered_open(&o, &order, f, 0, 1, 1))
        return -1;
    int status = o.documents ? pcg_split(&test, plan->val_ratio, o.documents)
                             : fail("no documents: there is nothing to pack");
    if (status)
        fail("%s: %s", j->in[0].items[0], why());
    else
        status = write_splits(j, &o, test);
    ordered_close(&o);
    return status;
}

/* ---- splits that were given --------------------------------------------------------------- */

static int copy_split(struct job *j, int split)
{
    struct feed *f = &j->feed[split];
    struct tok_doc piece;
    struct progress p;
    int status;
    if (split_begin(j, split, f->totals.tokens, f->totals.documents))
        return -1;
    progress_begin(&p, packer_split_name[split], "B", f->bytes);
    while ((status = feed_piece(f, &piece)) > 0) {
        if (split_put(j, split, piece.stored, piece.count, piece.first, piece.last))
            return -1;
        progress_to(&p, feed_offset(f));
    }
    progress_end(&p);
    if (!status && f->totals.documents == 0)
        return fail("%s: no documents: there is nothing to pack as %s", j->in[split].items[0],
                    packer_split_name[split]);
    return status ? -1 : split_end(j, split);
}

/* ---- the job ------------------------------------------------------------------------------ */

static void source_take(struct job *j, int split, const struct feed *f)
{
    struct manifest_source *s = &j->plan.source[split];
    s->documents = f->totals.documents;
    s->tokens = f->totals.tokens;
    s->chain = f->totals.chain;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Open what is to be read: one corpus for all splits, or one each. */
static int sources_open(struct job *j, int streams)
{
    struct packer_plan *plan = &j->plan;
    for (int i = 0; i < streams; i++) {
        const struct flag_list *in = &j->in[i];
        if (feed_open(&j->feed[i], in->items, in->count, &j->from))
            return -1;
        if (i > 0 && tok_meta_agree(&j->feed[0].meta, &j->feed[i].meta))
            return fail("%s does not go with %s: %s", in->items[0], j->in[0].items[0], why());
        for (int split = i; split < (streams == 1 ? PACKER_SPLITS : i + 1); split++) {
            plan->source[split].name = *j->source_name ? j->source_name : base_name(in->items[0]);
            plan->source_known[split] = j->feed[i].known;
            source_take(j, split, &j->feed[i]);
        }
    }
    plan->meta = j->feed[0].meta;
    enum npy_dtype dtype;
    if (sink_dtype(&dtype, plan->format, plan->dtype, plan->meta.vocab_size))
        return -1;
    if (j->pad_id < 0)
        j->pad_id = plan->meta.add_eos ? plan->meta.eos_id : 0;
    return (uint64_t)j->pad_id < plan->meta.vocab_size
               ? 0
               : fail("--pad-id=%lld is not below the vocabulary of %u", (long long)j->pad_id,
                      plan->meta.vocab_size);
}

static uint64_t in_tokens(const struct job *j)
{
    uint64_t sum = 0;
    for (int i = 0; i < (j->plan.given ? PACKER_SPLITS : 1); i++)
        sum += j->plan.source[i].tokens;
    return sum;
}

static void summary(const struct job *j, const struct sink split[PACKER_SPLITS])
{
    const struct sink *train = &split[PACKER_TRAIN], *validation = &split[PACKER_VALIDATION],
                      *test = &split[PACKER_TEST];
    if (j->plan.best_fit)
        for (int i = 0; i < PACKER_SPLITS; i++) {
            const struct bestfit *f = &j->fit[i];
            say("%s: %llu tokens in = %llu out - %llu of padding (%.2f%%) + %llu cut off; "
                "%llu rows of %lld",
                packer_split_name[i], (unsigned long long)f->tokens,
                (unsigned long long)split[i].tokens, (unsigned long long)f->padding,
                100.0 * (double)f->padding / (double)(split[i].tokens + 1),
                (unsigned long long)f->dropped, (unsigned long long)f->rows,
                (long long)j->plan.best_fit);
        }
    else {
        uint64_t in = train->tokens + test->tokens + (j->plan.given ? validation->tokens : 0);
        say("%llu tokens in = %llu out, none of padding", (unsigned long long)in_tokens(j),
            (unsigned long long)in);
    }
    say("train %llu documents, %llu tokens; validation %llu, %llu; test %llu, %llu%s; %s",
        (unsigned long long)train->documents, (unsigned long long)train->tokens,
        (unsigned long long)validation->documents, (unsigned long long)validation->tokens,
        (unsigned long long)test->documents, (unsigned long long)test->tokens,
        j->plan.given ? "" : " (the same)", npy_dtype_name(train->plan.dtype));
}

/* Every document and token that went in has come out; rows of best-fit say so for themselves. */
static int count_check(const struct job *j)
{
    const struct packer *d = &j->packer;
    for (int i = 0; i < PACKER_SPLITS; i++) {
        const struct manifest_source *in = &j->plan.source[i];
        int other = j->plan.given ? i : i == PACKER_TRAIN ? PACKER_TEST : PACKER_TRAIN;
        uint64_t documents = d->split[i].documents, tokens = d->split[i].tokens;
        if (other != i) {
            documents += d->split[other].documents;
            tokens += d->split[other].tokens;
        }
        if (j->plan.best_fit) {
            documents = in->documents;
            tokens = j->fit[i].tokens + (other != i ? j->fit[other].tokens : 0);
        }
        if (documents != in->documents || tokens != in->tokens)
            return fail("%s: %llu documents and %llu tokens were read, but %llu and %llu written",
                        d->dir, (unsigned long long)in->documents, (unsigned long long)in->tokens,
                        (unsigned long long)documents, (unsigned long long)tokens);
    }
    return 0;
}

/* 1: it stood there already. */
static int pack(struct job *j)
{
    int streams = j->plan.given ? PACKER_SPLITS : 1, status = 0;
    if (sources_open(j, streams))
        return -1;
    int there = packer_open(&j->packer, &j->plan, j->force);
    if (there)
        return there;
    if (!j->plan.given)
        status = draw_splits(j);
    for (int i = 0; !status && j->plan.given && i < PACKER_SPLITS; i++)
        status = copy_split(j, i);
    for (int i = 0; !status && i < PACKER_SPLITS; i++)
        source_take(j, i, &j->feed[j->plan.given ? i : 0]);
    if (!status)
        status = count_check(j);
    if (!status) {
        struct sink done[PACKER_SPLITS]; /* for their totals, which commit closes */
        memcpy(done, j->packer.split, sizeof done);
        status = packer_commit(&j->packer);
        if (!status)
            summary(j, done);
        return status;
    }
    packer_abandon(&j->packer);
    return status;
}

/* ---- beside other programs ----------------------------------------------------------------- */

/* Part `index` of `parts`, or with programs > 0 all of them by so many processes. 1: the dataset is
   whole already. */
static int pack_shared(struct job *j, int index, int parts, int programs)
{
    struct sharing s = {.plan = &j->plan,
                        .feed = j->feed,
                        .memory = j->memory - OTHER_BYTES,
                        .programs = programs ? programs : 1};
    int missing = 0;
    if (sources_open(j, j->plan.given ? PACKER_SPLITS : 1))
        return -1;
    if (programs)
        return sharing_run(&s, j->force);
    int status = sharing_part(&s, index, parts, &missing);
    if (!status)
        say("part %d of %d is written; %d are missing", index, parts, missing);
    return status;
}

/* "i/n" */
static int shard_parse(const char *text, int *index, int *count)
{
    char after;
    return sscanf(text, "%d/%d%c", index, count, &after) == 2 && *index >= 0 && *index < *count &&
                   *count <= 100000
               ? 0
               : -1;
}

/* ---- flags ------------------------------------------------------------------------------------
 */

int main(int argc, char **argv)
{
    static struct job j = {
        /* static: the lists of flags live as long as the process */

        .plan = {.val_ratio = 0.0005,
                 .split_seed = 2357,
                 .tokenizer_pkl = "",
                 .dtype = "auto",
                 .tmp = ""},
        .memory = 1 << 30,
        .pad_id = -1,
        .source_name = "",
        .from.eod = -1,
    };
    struct packer_plan *plan = &j.plan;
    const char *format = "npy", *rows = "concat", *from = "tok", *shard = "";
    int index = 0, parts = 0;
    int64_t seq_length = 2048, vocab_size = 0, programs = 1;
    struct flag flags[] = {
        {FLAG_TEXT, 'o', "out", &plan->out, "DIR",
         "where the dataset's own folder is made, which is printed; needed"},
        {FLAG_TEXT, 0, "tokenizer-name", &plan->tokenizer_name, "NAME",
         "as on the Hugging Face hub; part of the folder's name, a slash makes two levels; needed"},
        {FLAG_NUMBER, 0, "val-ratio", &plan->val_ratio, "R",
         "share of the documents that becomes test and, alike, validation; with given splits\n"
         "only a part of the folder's name"},
        {FLAG_INT, 0, "split-seed", &plan->split_seed, "S",
         "of numpy's permutation that draws them"},
        {FLAG_LIST, 0, "train", &j.in[0], "A.tok",
         "given splits: all three, instead of IN.tok; each may be given again and again"},
        {FLAG_LIST, 0, "validation", &j.in[1], "B.tok", ""},
        {FLAG_LIST, 0, "test", &j.in[2], "C.tok", ""},
        {FLAG_TEXT, 0, "tokenizer-pkl", &plan->tokenizer_pkl, "FILE",
         "copy this pickle in, which the Python reader asks for"},
        {FLAG_TEXT, 0, "source-name", &j.source_name, "NAME",
         "what the manifest calls the corpus; \"\" is the name of the first stream"},
        {FLAG_ON, 0, "force", &j.force, NULL, "replace another dataset that stands there"},
        {FLAG_GROUP, 0, "other programs' files"},
        {FLAG_CHOICE, 0, "format", &format, "npy|megatron|nanogpt|llmc|datatrove|mds",
         "of the files written; all but npy into a folder of their own"},
        {FLAG_CHOICE, 0, "dtype", &plan->dtype, "auto|u16|u32|i32",
         "of an id; auto is what the format's own writer takes. An id that does not fit is "
         "refused"},
        {FLAG_CHOICE, 0, "from", &from, "tok|npy|megatron|nanogpt|llmc|datatrove|mds",
         "of the files read, of mds the shards; other than tok they need --vocab-size"},
        {FLAG_INT, 0, "vocab-size", &vocab_size, "N", "with --from: every id is below"},
        {FLAG_INT, 0, "eod", &j.from.eod, "ID",
         "with --from: ends a document (nanogpt, 50256 unless given), begins one (llmc, likewise;\n"
         "npy without .offsets, 1)"},
        {FLAG_GROUP, 0, "rows"},
        {FLAG_CHOICE, 0, "pack", &rows, "concat|best-fit",
         "documents end to end, as the reference has them; or into rows of --seq-length, whole\n"
         "where they fit, cut into rows where they are longer, and padded"},
        {FLAG_INT, 0, "seq-length", &seq_length, "L", "of a row of best-fit"},
        {FLAG_ON, 0, "truncate", &plan->truncate, NULL, "best-fit drops what is longer than a row"},
        {FLAG_INT, 0, "pad-id", &j.pad_id, "ID", "of padding; -1 is EOS"},
        {FLAG_GROUP, 0, "means"},
        {FLAG_TEXT, 0, "shard", &shard, "I/N",
         "write part I of 0 .. N-1 of every array into the files that all N programs share, at\n"
         "its final place. All N are given the same streams, in the same order, and run in any\n"
         "order, at once, on any machines that see the folder; none waits for another. Whoever\n"
         "ends last names the files and writes the manifest. A part that is whole is left alone,\n"
         "one that was killed is run again. The bytes do not depend on N"},
        {FLAG_INT, 'j', "jobs", &programs, "N",
         "N processes write parts of the arrays as --shard does, in the memory of one; 0: one a\n"
         "processor. Only .npy of .tok files, end to end, is written so; else it is one process"},
        {FLAG_SIZE, 'm', "memory", &j.memory, "SIZE",
         "the program holds no more than this; the bytes written do not depend on it"},
        {FLAG_TEXT, 0, "tmp", &plan->tmp, "DIR",
         "for temporary files; \"\" is $TMPDIR, else the dataset's folder"},
        {FLAG_ON, 'q', "quiet", &quiet, NULL, "no news and no progress"},
        {0},
    };
    const struct program about = {
        .name = "ttt-pack",
        .operands = "[IN.tok...]",
        .purpose =
            "Write the dataset directory that the reference's reader and ttt-train read:\n"
            "train.npy, validation.npy and test.npy, byte for byte the reference's; beside each\n"
            "the offsets of its documents, and manifest.jsonl, written last. Several streams are\n"
            "one corpus, in the order given (\"-\": standard input, alone), of which the splits\n"
            "are drawn as the reference draws them. Documents that do not fit in the memory go\n"
            "through temporary files without a name, 1.1 times the data at most; four bytes a\n"
            "document are always held. A whole dataset of the same input is left alone. Each\n"
            "stream is read once; the folder is printed on standard output.",
        .examples = "ttt-pack -o data --tokenizer-name meta-llama/Llama-2-7b-hf books.tok\n"
                    "ttt-pack -o data --tokenizer-name meta-llama/Llama-2-7b-hf \\\n"
                    "    --train=train.tok --validation=validation.tok --test=test.tok\n"
                    "ttt-pack -o data --tokenizer-name gpt2 --format=llmc --from=nanogpt \\\n"
                    "    --vocab-size=50257 train.bin\n"
                    "for i in 0 1 2 3; do ttt-pack -o data --tokenizer-name gpt2 --shard $i/4 \\\n"
                    "    part-*.tok & done; wait",
        .flags = flags,
    };
    int count;
    char **operands = flags_parse(argc, argv, &about, &count);
    int splits = (j.in[0].count > 0) + (j.in[1].count > 0) + (j.in[2].count > 0);
    plan->given = splits == PACKER_SPLITS;
    if (splits ? count > 0 || !plan->given : count < 1)
        misuse("expected IN.tok, or --train, --validation and --test together");
    int pipes = 0;
    for (int i = 0; i < STREAMS; i++)
        for (int k = 0; k < j.in[i].count; k++)
            pipes += !strcmp(j.in[i].items[k], "-");
    if (pipes > 1)
        misuse("only one of the splits can come from standard input");
    if (!plan->out || !*plan->out)
        misuse("-o DIR is missing: where shall the dataset's folder be made?");
    if (!plan->tokenizer_name)
        misuse("--tokenizer-name is missing: it is a part of the folder's name");
    if (!(plan->val_ratio > 0 && plan->val_ratio < 1))
        misuse("--val-ratio=%g: expected a number between 0 and 1", plan->val_ratio);
    if (plan->split_seed < 0)
        misuse("--split-seed=%lld: expected a number that is not negative",
               (long long)plan->split_seed);
    if (j.memory < LEAST_MEMORY)
        misuse("--memory=%lld: at least %dM are needed", (long long)j.memory, LEAST_MEMORY >> 20);
    if (!strcmp(rows, "best-fit")) {
        if (seq_length < 2 || seq_length > 1 << 24)
            misuse("--seq-length=%lld: expected 2 to %d", (long long)seq_length, 1 << 24);
        plan->best_fit = seq_length;
    }
    for (int i = 0; i < SINK_FORMATS; i++)
        if (!strcmp(format, sink_format_name[i]))
            plan->format = (enum sink_format)i;
    if (strcmp(from, "tok")) {
        if (vocab_size < 1 || vocab_size > INT32_MAX)
            misuse("--from=%s needs --vocab-size: the files do not tell", from);
        if (j.from.eod > UINT32_MAX)
            misuse("--eod=%lld is no id", (long long)j.from.eod);
        j.from.format = from;
        j.from.vocab_size = (uint32_t)vocab_size;
        if (j.from.eod < 0 && strcmp(from, "npy"))
            j.from.eod = 50256;
    }
    if (*shard && shard_parse(shard, &index, &parts))
        misuse("--shard=%s: expected I/N with I from 0 to N-1", shard);
    bool shared = plan->format == SINK_NPY && !plan->best_fit && !j.from.format && !pipes &&
                  !*plan->tokenizer_pkl;
    if (parts && (!shared || j.force))
        misuse("--shard writes .npy of .tok files end to end; --force and a pickle do not go with "
               "it");
    if (programs < 0 || programs > 1024)
        misuse("--jobs=%lld: expected 0 to 1024", (long long)programs);
    if (programs == 0)
        programs = sysconf(_SC_NPROCESSORS_ONLN);
    shared &= parts || programs > 1;
    if (!plan->given)
        j.in[0] = (struct flag_list){(const char **)operands, count};
    writer_clean_on_signals();

    int status = shared ? pack_shared(&j, index, parts, parts ? 0 : (int)programs) : pack(&j);
    for (int i = 0; i < STREAMS; i++) {
        feed_close(&j.feed[i]);
        bestfit_close(&j.fit[i]);
    }
    if (status < 0)
        die("%s", why());
    char *path = packer_path(plan);
    if (!path)
        die("%s", why());
    if (status == 1 && !parts)
        say("%s: whole already, of the same input; left alone", path);
    printf("%s\n", path);
    free(path);
    return finish(0);
}
