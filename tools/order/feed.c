/* feed.c -- the documents of one or several streams, one after another as if they were one. */
#include "feed.h"
#include "tok_block.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* The chain of a's documents, then b's: a step is affine, and b's steps are known as a whole. */
static void totals_join(struct tok_totals *a, const struct tok_totals *b)
{
    uint64_t factor = 1, step = 6364136223846793005u;
    for (uint64_t n = b->documents; n; n >>= 1, step *= step)
        factor *= n & 1 ? step : 1;
    a->chain = a->chain * factor + b->chain;
    a->sum += b->sum;
    a->blocks += b->blocks;
    a->documents += b->documents;
    a->tokens += b->tokens;
}

/* What a foreign file cannot tell is left open. */
static void foreign_meta(struct tok_meta *m, const struct foreign_plan *plan)
{
    *m = (struct tok_meta){.vocab_size = plan->vocab_size, .add_eos = true, .options = "{}"};
    memset(m->tokenizer.hex, '0', sizeof m->tokenizer.hex - 1);
    snprintf(m->options, sizeof m->options, "{\"from\":\"%s\"}", plan->format);
}

static int look(struct feed *f, int i)
{
    struct tok_reader r;
    if (tok_reader_open(&r, f->paths[i]))
        return -1;
    int status = 0;
    if (i == 0)
        f->meta = r.meta;
    else if (tok_meta_agree(&f->meta, &r.meta))
        status = fail("%s does not go with %s: %s", f->paths[i], f->paths[0], why());
    if (!status)
        status = tok_reader_index(&r);
    if (!status) {
        totals_join(&f->totals, &r.totals);
        f->bytes += r.file_bytes;
    }
    tok_reader_close(&r);
    return status;
}

/* Also when it is not there at all: whoever opens it says so. */
static bool is_file(const char *path)
{
    struct stat st;
    return strcmp(path, "-") && (stat(path, &st) || S_ISREG(st.st_mode));
}

int feed_open(struct feed *f, const char *const *paths, int count, const struct foreign_plan *plan)
{
    *f = (struct feed){.paths = paths, .count = count, .plan = *plan};
    int status = 0;
    if (plan->format) {
        foreign_meta(&f->meta, plan);
        f->hash = XXH3_createState();
        return f->hash ? 0 : fail("out of memory");
    }
    if (!is_file(paths[0])) {
        if (count > 1)
            return fail("a pipe and other streams cannot be one corpus: name files");
        status = tok_reader_open(&f->tok, paths[0]);
        f->meta = f->tok.meta;
        f->tok.stored_only = f->open = true;
        f->next = 1;
    } else {
        for (int i = 0; !status && i < count; i++)
            status = look(f, i);
        f->known = true;
    }
    if (status)
        feed_close(f);
    return status;
}

void feed_close(struct feed *f)
{
    tok_reader_close(&f->tok);
    foreign_close(&f->foreign);
    XXH3_freeState(f->hash);
    *f = (struct feed){0};
}

static int next_open(struct feed *f)
{
    const char *path = f->paths[f->next++];
    f->open = true;
    if (f->plan.format)
        return foreign_open(&f->foreign, path, &f->plan);
    int status = tok_reader_open(&f->tok, path);
    f->tok.stored_only = true;
    return status;
}

static void stream_end(struct feed *f)
{
    if (!f->plan.format)
        totals_join(&f->before, &f->tok.totals);
    f->bytes_before += f->tok.offset;
    tok_reader_close(&f->tok);
    foreign_close(&f->foreign);
    f->open = false;
}

/* The chain of what was read, as a .tok stream of these documents would have it. */
static void foreign_sum(struct feed *f, const struct tok_doc *piece)
{
    if (piece->first)
        XXH3_64bits_reset(f->hash);
    XXH3_64bits_update(f->hash, piece->stored, piece->count * tok_id_bytes(&f->meta));
    f->before.tokens += piece->count;
    if (piece->last)
        tok_totals_add(&f->before, XXH3_64bits_digest(f->hash));
}

int feed_piece(struct feed *f, struct tok_doc *piece)
{
    for (;;) {
        if (!f->open && f->next == f->count) {
            f->totals = f->before;
            return 0;
        }
        if (!f->open && next_open(f))
            return -1;
        int status =
            f->plan.format ? foreign_piece(&f->foreign, piece) : tok_reader_piece(&f->tok, piece);
        if (status > 0 && f->plan.format)
            foreign_sum(f, piece);
        if (status)
            return status;
        stream_end(f);
    }
}

uint64_t feed_offset(const struct feed *f)
{
    return f->bytes_before + f->tok.offset;
}
