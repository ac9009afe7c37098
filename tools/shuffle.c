/* shuffle.c -- ttt-shuffle: the documents of a .tok stream in another order. */
#include "flags.h"
#include "gather.h"
#include "report.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

/* The stream's options with a note of this shuffle added. */
static int note_shuffle(struct tok_meta *m, const char *order, int64_t seed, uint64_t documents)
{
    json_t *options = json_loads(m->options, 0, NULL);
    json_t *note = json_pack("{ss sI sI}", "order", order, "seed", (json_int_t)seed, "documents",
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

/* What the program holds beside the documents: itself, a block being read, one being written. */
enum { OTHER_BYTES = 20 << 20, LEAST_MEMORY = 24 << 20 };

struct job {
    const char *in, *out;
    int64_t seed, memory;
    const char *order, *tmp;
    bool compress;
};

static int take_all(struct reorder *o, struct tok_reader *r)
{
    struct tok_doc piece;
    struct progress p;
    int status;
    progress_begin(&p, "read", "B", r->file_bytes);
    while ((status = tok_reader_piece(r, &piece)) > 0) {
        if (reorder_put(o, piece.stored, piece.count, piece.last))
            return -1;
        progress_to(&p, r->offset);
    }
    progress_end(&p);
    return status < 0 ? -1 : reorder_turn(o);
}

/* Documents in their new order: from the file, or from memory and temporary files. */
struct shuffled {
    struct gather g;
    struct reorder o;
    bool gathered;
};

static int write_all(struct tok_writer *w, struct shuffled *s, uint64_t documents)
{
    struct reorder_piece piece;
    struct progress p;
    int status;
    progress_begin(&p, "wrote", " documents", documents);
    while ((status = s->gathered ? gather_next(&s->g, &piece) : reorder_next(&s->o, &piece)) > 0) {
        if ((piece.first && tok_writer_begin(w)) ||
            tok_writer_append_stored(w, piece.stored, piece.count) ||
            (piece.last && tok_writer_end(w)))
            return -1;
        progress_to(&p, piece.place + 1);
    }
    progress_end(&p);
    return status;
}

/* What a damaged file says where it is damaged. */
static int damaged(const char *path)
{
    struct tok_reader r;
    struct tok_doc piece;
    int status = 1;
    if (tok_reader_open(&r, path))
        return -1;
    r.stored_only = true;
    while (status > 0)
        status = tok_reader_piece(&r, &piece);
    tok_reader_close(&r);
    return status ? -1 : fail("%s: it has changed while it was read", path);
}

/* From the reader to the file. */
static int shuffle_through(const struct job *j, struct tok_reader *r, struct shuffled *s,
                           struct tok_writer *w)
{
    if (!s->gathered && take_all(&s->o, r))
        return fail("%s: %s", j->in, why());
    uint64_t documents = r->totals.documents;
    if (documents == 0)
        return fail("%s: no documents: there is nothing to shuffle", j->in);
    if (note_shuffle(&r->meta, j->order, j->seed, documents))
        return fail("%s: %s", j->in, why());
    uint32_t most = 0;
    r->meta.block_ids = 0;
    if (tok_writer_open_alone(w, j->out, &r->meta, j->compress))
        return -1;
    w->watchful = true;
    int status = write_all(w, s, documents) || tok_writer_settle(w, &most) ? -1 : 0;
    /* The sum of the documents' hashes does not depend on their order. */
    bool same = w->totals.documents == documents && w->totals.sum == r->totals.sum &&
                most < r->meta.vocab_size;
    if (!status && !same && s->gathered)
        return damaged(j->in);
    if (!status && !same)
        status = fail("%s: the documents written are not those that were read", j->out);
    return status;
}

static int shuffle(const struct job *j)
{
    struct tok_reader r;
    struct tok_writer w = {0};
    struct shuffled s = {0};
    if (tok_reader_open(&r, j->in))
        return -1;
    r.stored_only = r.unsummed = true;
    /* A damaged end shows while reading, which names the place. */
    bool known = r.file_bytes > 0 && !tok_reader_index(&r);
    struct reorder_plan plan = {
        .kind = *j->order == 'n' ? PLACING_NUMPY : PLACING_TTT,
        .seed = (uint64_t)j->seed,
        .id_bytes = tok_id_bytes(&r.meta),
        .memory = j->memory - OTHER_BYTES,
        .tmp = j->tmp,
        .beside = j->out,
        .known = known,
        .documents = r.totals.documents,
        .tokens = r.totals.tokens,
    };
    struct reorder_plan whole = plan;
    whole.to = plan.documents;
    int status = gather_open(&s.g, &whole, &j->in, 1, 0, 0, 1);
    s.gathered = status > 0;
    if (status < 0)
        status = damaged(j->in);
    else if (s.gathered)
        status = 0;
    else if (reorder_open(&s.o, &plan))
        status = fail("%s: %s", j->in, why());
    if (!status)
        status = shuffle_through(j, &r, &s, &w);
    if (status)
        tok_writer_abandon(&w);
    else
        status = tok_writer_commit(&w);
    char temporary[16];
    if (!status)
        say("%llu documents, %llu tokens in the order of seed %lld; %sB of temporary files",
            (unsigned long long)r.totals.documents, (unsigned long long)r.totals.tokens,
            (long long)j->seed, human(temporary, (double)s.o.temporary_bytes));
    gather_close(&s.g);
    reorder_close(&s.o);
    tok_reader_close(&r);
    return status;
}

int main(int argc, char **argv)
{
    struct job j = {.out = "-", .memory = 1 << 30, .order = "ttt", .tmp = ""};
    struct flag flags[] = {
        {FLAG_INT, 0, "seed", &j.seed, "S",
         "of the order, not negative; must be given. The order is a pure function of S and the\n"
         "number of documents"},
        {FLAG_TEXT, 'o', "out", &j.out, "OUT.tok", "\"-\" is standard output"},
        {FLAG_CHOICE, 0, "order", &j.order, "ttt|numpy",
         "whose permutation: ours, or numpy's default_rng(S).permutation(documents), which holds\n"
         "four bytes a document"},
        {FLAG_SIZE, 'm', "memory", &j.memory, "SIZE",
         "the program holds no more than this; the order does not depend on it"},
        {FLAG_TEXT, 0, "tmp", &j.tmp, "DIR",
         "for temporary files; \"\" is $TMPDIR, else beside the output"},
        {FLAG_ON, 0, "compress", &j.compress, NULL, "deflate the blocks"},
        {FLAG_ON, 'q', "quiet", &quiet, NULL, "no news and no progress"},
        {0},
    };
    const struct program about = {
        .name = "ttt-shuffle",
        .operands = "IN.tok",
        .purpose =
            "Put the documents of IN.tok (\"-\": standard input) into a random order: an exact\n"
            "permutation, the same on every machine. Documents that do not fit in the memory are\n"
            "read when their turn comes, from a file that the system can hold in its own memory;\n"
            "else they go through temporary files without a name, 1.1 times the data at most, and\n"
            "nothing of them stays, however the program ends.",
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
    if (j.seed < 0)
        misuse("--seed=%lld: expected a number that is not negative", (long long)j.seed);
    if (j.memory < LEAST_MEMORY)
        misuse("--memory=%lld: at least %dM are needed", (long long)j.memory, LEAST_MEMORY >> 20);
    if (!strcmp(j.out, "-") && isatty(STDOUT_FILENO))
        misuse("standard output is a terminal: name a file with -o OUT.tok, or pipe it on");
    writer_clean_on_signals();
    j.in = *in;
    if (shuffle(&j))
        die("%s", why());
    return finish(0);
}
