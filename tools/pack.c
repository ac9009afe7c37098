/* pack.c -- ttt-pack: token documents to the dataset directory that trainers read. */
#include "flags.h"
#include "packer.h"
#include "pcg.h"
#include "report.h"
#include "spool.h"

#include <stdlib.h>

enum { STREAMS = PACKER_SPLITS };

/* A place where a document's ids go. */
struct target {
    struct packer *d;
    int split;
};

static int put(void *to, const uint32_t *ids, size_t count)
{
    struct target *t = to;
    return packer_put(t->d, t->split, ids, count);
}

static int put_document(struct packer *d, int split, const struct spool *s, uint64_t n)
{
    struct target t = {d, split};
    return packer_document(d, split) || spool_document(s, n, put, &t) ? -1 : 0;
}

/* ---- one stream, split as the reference splits -------------------------------------------- */

static uint64_t tokens_of(const struct spool *s, const uint64_t *rows, uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++)
        sum += s->starts[rows[i] + 1] - s->starts[rows[i]];
    return sum;
}

static int write_splits(struct packer *d, const struct spool *s, const uint64_t *rows,
                        uint64_t test)
{
    struct progress p;
    uint64_t test_tokens = tokens_of(s, rows, test);
    if (packer_begin(d, PACKER_TRAIN, s->tokens - test_tokens, s->documents - test) ||
        packer_begin(d, PACKER_VALIDATION, test_tokens, test) ||
        packer_begin(d, PACKER_TEST, test_tokens, test))
        return -1;
    progress_begin(&p, "packed", " documents", s->documents);
    for (uint64_t i = 0; i < s->documents; i++) {
        if (i >= test ? put_document(d, PACKER_TRAIN, s, rows[i])
                      : put_document(d, PACKER_VALIDATION, s, rows[i]) ||
                            put_document(d, PACKER_TEST, s, rows[i]))
            return -1;
        progress_to(&p, i + 1);
    }
    progress_end(&p);
    return 0;
}

static int draw_splits(struct packer *d, struct tok_reader *r, const char *in)
{
    const struct packer_plan *plan = d->plan;
    struct spool s;
    struct pcg g;
    uint64_t test;
    char beside[4096];
    snprintf(beside, sizeof beside, "%s/", d->dir);
    if (spool_fill(&s, r, beside))
        return -1;
    int status = s.documents ? pcg_split(&test, plan->val_ratio, s.documents)
                             : fail("no documents: there is nothing to pack");
    uint64_t *rows = NULL;
    if (!status && !(rows = malloc(s.documents * sizeof *rows)))
        status = fail("no memory for the order of %llu documents", (unsigned long long)s.documents);
    if (status)
        fail("%s: %s", in, why());
    else {
        pcg_seed(&g, (uint64_t)plan->split_seed);
        pcg_permutation(&g, rows, s.documents);
        status = write_splits(d, &s, rows, test);
    }
    free(rows);
    spool_close(&s);
    return status;
}

/* ---- splits that were given --------------------------------------------------------------- */

static int copy_split(struct packer *d, int split, struct tok_reader *r, const char *in)
{
    struct tok_doc piece;
    struct progress p;
    int status;
    if (packer_begin(d, split, r->totals.tokens, r->totals.documents))
        return -1;
    progress_begin(&p, packer_split_name[split], "B", r->file_bytes);
    while ((status = tok_reader_piece(r, &piece)) > 0) {
        if ((piece.first && packer_document(d, split)) ||
            packer_put(d, split, piece.ids, piece.count))
            return -1;
        progress_to(&p, r->offset);
    }
    progress_end(&p);
    if (!status && r->totals.documents == 0)
        return fail("%s: no documents: there is nothing to pack as %s", in,
                    packer_split_name[split]);
    return status;
}

/* ---- the job ------------------------------------------------------------------------------ */

static void source_take(struct packer_plan *plan, int split, const struct tok_reader *r)
{
    struct manifest_source *s = &plan->source[split];
    s->documents = r->totals.documents;
    s->tokens = r->totals.tokens;
    s->chain = r->totals.chain;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Open what is to be read: one stream for all splits, or one each. */
static int sources_open(struct packer_plan *plan, struct tok_reader r[STREAMS],
                        const char *const in[STREAMS], int streams)
{
    for (int i = 0; i < streams; i++) {
        if (tok_reader_open(&r[i], in[i]))
            return -1;
        if (i > 0 && tok_meta_agree(&r[0].meta, &r[i].meta))
            return fail("%s does not go with %s: %s", in[i], in[0], why());
        bool known = r[i].file_bytes > 0;
        if (known && tok_reader_index(&r[i]))
            return -1;
        for (int split = i; split < (streams == 1 ? PACKER_SPLITS : i + 1); split++) {
            plan->source[split].name = base_name(in[i]);
            plan->source_known[split] = known;
            source_take(plan, split, &r[i]);
        }
    }
    plan->meta = r[0].meta;
    return 0;
}

static void summary(const struct packer *d)
{
    const struct packer_split *train = &d->split[PACKER_TRAIN],
                              *validation = &d->split[PACKER_VALIDATION],
                              *test = &d->split[PACKER_TEST];
    say("train %llu documents, %llu tokens; validation %llu, %llu; test %llu, %llu%s; %s",
        (unsigned long long)train->documents, (unsigned long long)train->ids.count,
        (unsigned long long)validation->documents, (unsigned long long)validation->ids.count,
        (unsigned long long)test->documents, (unsigned long long)test->ids.count,
        d->plan->given ? "" : " (the same)", npy_dtype_name(train->ids.dtype));
}

/* Every document and token that went in has come out. */
static int count_check(const struct packer *d)
{
    for (int i = 0; i < PACKER_SPLITS; i++) {
        const struct manifest_source *in = &d->plan->source[i];
        uint64_t documents = d->split[i].documents, tokens = d->split[i].ids.count;
        if (!d->plan->given) {
            int other = i == PACKER_TRAIN ? PACKER_TEST : PACKER_TRAIN;
            documents += d->split[other].documents;
            tokens += d->split[other].ids.count;
        }
        if (documents != in->documents || tokens != in->tokens)
            return fail("%s: %llu documents and %llu tokens were read, but %llu and %llu written",
                        d->dir, (unsigned long long)in->documents, (unsigned long long)in->tokens,
                        (unsigned long long)documents, (unsigned long long)tokens);
    }
    return 0;
}

/* 1: it stood there already. */
static int pack(struct packer_plan *plan, struct tok_reader r[STREAMS],
                const char *const in[STREAMS], bool force)
{
    struct packer d;
    int streams = plan->given ? PACKER_SPLITS : 1, status = 0;
    if (sources_open(plan, r, in, streams))
        return -1;
    int there = packer_open(&d, plan, force);
    if (there)
        return there;
    if (!plan->given)
        status = draw_splits(&d, &r[0], in[0]);
    for (int i = 0; !status && plan->given && i < PACKER_SPLITS; i++)
        status = copy_split(&d, i, &r[i], in[i]);
    for (int i = 0; !status && i < PACKER_SPLITS; i++)
        source_take(plan, i, &r[plan->given ? i : 0]);
    if (!status)
        status = count_check(&d);
    if (!status) {
        status = packer_commit(&d);
        if (!status)
            summary(&d);
        return status;
    }
    packer_abandon(&d);
    return status;
}

int main(int argc, char **argv)
{
    struct packer_plan plan = {.val_ratio = 0.0005, .split_seed = 2357, .tokenizer_pkl = ""};
    const char *in[STREAMS] = {"", "", ""};
    bool force = false;
    struct flag flags[] = {
        {FLAG_TEXT, 'o', "out", &plan.out, "DIR",
         "where the dataset's own folder is made, which is printed; needed"},
        {FLAG_TEXT, 0, "tokenizer-name", &plan.tokenizer_name, "NAME",
         "as on the Hugging Face hub; part of the folder's name, a slash makes two levels; needed"},
        {FLAG_NUMBER, 0, "val-ratio", &plan.val_ratio, "R",
         "share of the documents that becomes test and, alike, validation; with given splits\n"
         "only a part of the folder's name"},
        {FLAG_INT, 0, "split-seed", &plan.split_seed, "S",
         "of numpy's permutation that draws them"},
        {FLAG_TEXT, 0, "train", &in[0], "A.tok", "given splits: all three, instead of IN.tok"},
        {FLAG_TEXT, 0, "validation", &in[1], "B.tok", ""},
        {FLAG_TEXT, 0, "test", &in[2], "C.tok", ""},
        {FLAG_TEXT, 0, "tokenizer-pkl", &plan.tokenizer_pkl, "FILE",
         "copy this pickle in, which the Python reader asks for"},
        {FLAG_ON, 0, "force", &force, NULL, "replace another dataset that stands there"},
        {FLAG_ON, 'q', "quiet", &quiet, NULL, "no news and no progress"},
        {0},
    };
    const struct program about = {
        .name = "ttt-pack",
        .operands = "[IN.tok]",
        .purpose =
            "Write the dataset directory that the reference's reader and ttt-train read:\n"
            "train.npy, validation.npy and test.npy, byte for byte the reference's; beside each\n"
            "the offsets of its documents, and manifest.jsonl, written last. From IN.tok (\"-\":\n"
            "standard input) the splits are drawn as the reference draws them; its ids wait in a\n"
            "temporary file in $TMPDIR or else in the dataset's folder, and 16 bytes a document "
            "are\n"
            "held in memory. A whole dataset of the same input is left alone. Each stream is read\n"
            "once; the folder is printed on standard output.",
        .examples = "ttt-pack -o data --tokenizer-name meta-llama/Llama-2-7b-hf books.tok\n"
                    "ttt-pack -o data --tokenizer-name meta-llama/Llama-2-7b-hf \\\n"
                    "    --train=train.tok --validation=validation.tok --test=test.tok",
        .flags = flags,
    };
    int count;
    char **operands = flags_parse(argc, argv, &about, &count);
    int splits = (*in[0] != 0) + (*in[1] != 0) + (*in[2] != 0);
    plan.given = splits == PACKER_SPLITS;
    if (splits ? count > 0 || !plan.given : count != 1)
        misuse("expected one IN.tok, or --train, --validation and --test together");
    if ((!strcmp(in[0], "-") + !strcmp(in[1], "-") + !strcmp(in[2], "-")) > 1)
        misuse("only one of the splits can come from standard input");
    if (!plan.out || !*plan.out)
        misuse("-o DIR is missing: where shall the dataset's folder be made?");
    if (!plan.tokenizer_name)
        misuse("--tokenizer-name is missing: it is a part of the folder's name");
    if (!(plan.val_ratio > 0 && plan.val_ratio < 1))
        misuse("--val-ratio=%g: expected a number between 0 and 1", plan.val_ratio);
    if (plan.split_seed < 0)
        misuse("--split-seed=%lld: expected a number that is not negative",
               (long long)plan.split_seed);
    if (!plan.given)
        in[0] = operands[0];
    writer_clean_on_signals();

    struct tok_reader r[STREAMS] = {0};
    int status = pack(&plan, r, in, force);
    for (int i = 0; i < STREAMS; i++)
        tok_reader_close(&r[i]);
    if (status < 0)
        die("%s", why());
    char *path = packer_path(&plan);
    if (!path)
        die("%s", why());
    if (status == 1)
        say("%s: whole already, of the same input; left alone", path);
    printf("%s\n", path);
    free(path);
    return finish(0);
}
