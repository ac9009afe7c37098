/* shuffle.c -- ttt-shuffle: the documents of a .tok stream in another order. */
#include "flags.h"
#include "permute.h"
#include "report.h"
#include "spool.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

/* The stream's options with a note of this shuffle added. */
static int note_shuffle(struct tok_meta *m, int64_t seed, uint64_t documents)
{
    json_t *options = json_loads(m->options, 0, NULL);
    json_t *note = json_pack("{ss sI sI}", "order", "ttt", "seed", (json_int_t)seed, "documents",
                             (json_int_t)documents);
    json_object_set_new(options, "shuffle", note);
    char *text = json_dumps(options, JSON_COMPACT);
    json_decref(options);
    size_t bytes = text ? strlen(text) : SIZE_MAX;
    if (bytes < sizeof m->options)
        memcpy(m->options, text, bytes + 1);
    free(text);
    return bytes < sizeof m->options ? 0 : fail("the options text is too long for one more note");
}

static int append(void *to, const uint32_t *ids, size_t count)
{
    return tok_writer_append(to, ids, count);
}

static int write_permuted(struct tok_writer *w, const struct spool *s, uint64_t seed)
{
    struct permute order;
    struct progress p;
    permute_begin(&order, seed, s->documents);
    progress_begin(&p, "wrote", " documents", s->documents);
    for (uint64_t i = 0; i < s->documents; i++) {
        if (tok_writer_begin(w) || spool_document(s, permute_at(&order, i), append, w) ||
            tok_writer_end(w))
            return -1;
        progress_to(&p, i + 1);
    }
    progress_end(&p);
    return 0;
}

static int shuffle(const char *in, const char *out, int64_t seed, bool compress)
{
    struct tok_reader r;
    struct tok_writer w = {0};
    struct spool s = {0};
    struct tok_totals t;
    if (tok_reader_open(&r, in))
        return -1;
    int status = spool_fill(&s, &r, out);
    t = r.totals;
    if (!status && s.documents == 0)
        status = fail("%s: no documents: there is nothing to shuffle", in);
    if (!status && note_shuffle(&r.meta, seed, s.documents))
        status = fail("%s: %s", in, why());
    r.meta.block_ids = 0;
    if (!status)
        status = tok_writer_open(&w, out, &r.meta, compress);
    if (!status)
        status = write_permuted(&w, &s, (uint64_t)seed);
    /* The sum of the documents' hashes does not depend on their order. */
    if (!status && (w.totals.documents != t.documents || w.totals.sum != t.sum))
        status = fail("%s: the documents written are not those that were read", out);
    if (status)
        tok_writer_abandon(&w);
    else
        status = tok_writer_commit(&w);
    if (!status)
        say("%llu documents, %llu tokens in the order of seed %lld",
            (unsigned long long)t.documents, (unsigned long long)t.tokens, (long long)seed);
    spool_close(&s);
    tok_reader_close(&r);
    return status;
}

int main(int argc, char **argv)
{
    int64_t seed = 0;
    const char *out = "-";
    bool compress = false;
    struct flag flags[] = {
        {FLAG_INT, 0, "seed", &seed, "S",
         "of the order, not negative; must be given. The order is a pure function of S and the\n"
         "number of documents"},
        {FLAG_TEXT, 'o', "out", &out, "OUT.tok", "\"-\" is standard output"},
        {FLAG_ON, 0, "compress", &compress, NULL, "deflate the blocks"},
        {FLAG_ON, 'q', "quiet", &quiet, NULL, "no news and no progress"},
        {0},
    };
    const struct program about = {
        .name = "ttt-shuffle",
        .operands = "IN.tok",
        .purpose =
            "Put the documents of IN.tok (\"-\": standard input) into a random order: an exact\n"
            "permutation, the same on every machine. The ids wait in a temporary file without\n"
            "a name, in $TMPDIR or else beside the output, as large as the ids; the places of\n"
            "the documents are held in memory, eight bytes each.",
        .examples =
            "ttt-shuffle --seed 1 -o shuffled.tok corpus.tok\n"
            "ttt-tokenize --tokenizer tokenizer.model corpus.jsonl | ttt-shuffle --seed 1 - |\n"
            "    ttt-pack -o data --tokenizer-name my/tokenizer -",
        .flags = flags,
    };
    int count;
    char **in = flags_parse(argc, argv, &about, &count);
    if (count != 1)
        misuse("expected one .tok file, or \"-\"; %d were given", count);
    if (!flag_find(&about, "seed")->given)
        misuse("--seed is missing: the order is a function of it, so it must be chosen");
    if (seed < 0)
        misuse("--seed=%lld: expected a number that is not negative", (long long)seed);
    if (!strcmp(out, "-") && isatty(STDOUT_FILENO))
        misuse("standard output is a terminal: name a file with -o OUT.tok, or pipe it on");
    writer_clean_on_signals();
    if (shuffle(*in, out, seed, compress))
        die("%s", why());
    return finish(0);
}
