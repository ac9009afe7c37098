/* sharing.c -- a dataset packed by several programs at once: here as processes, or anywhere. */
#include "sharing.h"
#include "ordered.h"
#include "pcg.h"
#include "report.h"
#include "shards.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- one part ----------------------------------------------------------------------------- */

/* The first place of part i of n. */
static uint64_t first_place(uint64_t places, int i, int n)
{
    return (uint64_t)((unsigned __int128)places * (unsigned)i / (unsigned)n);
}

/* What of the splits this part writes: train has the places from `test` on, the others those
   before. */
static int spans_begin(struct shards *s, const struct ordered *o, int split, uint64_t test)
{
    uint64_t at = o->before_tokens, from = o->plan.from, held_out = o->head_tokens;
    if (s->plan->given)
        return shards_begin(s, split, o->tokens, o->documents, from, at);
    bool within = from < test;
    uint64_t before = within ? from : test, at_test = within ? at : held_out;
    return shards_begin(s, PACKER_TRAIN, o->tokens - held_out, o->documents - test, from - before,
                        within ? 0 : at - held_out) ||
                   shards_begin(s, PACKER_VALIDATION, held_out, test, before, at_test) ||
                   shards_begin(s, PACKER_TEST, held_out, test, before, at_test)
               ? -1
               : 0;
}

/* This program's places of one feed: of the splits drawn from it, or of the one that it is. */
static int feed_part(struct sharing *h, struct shards *s, int split)
{
    const struct packer_plan *plan = h->plan;
    struct feed *f = &h->feed[plan->given ? split : 0];
    uint64_t n = f->totals.documents, test = 0;
    struct ordered o;
    struct reorder_piece piece;
    if (!f->known || n == 0)
        return fail("%s: --shard needs files with documents in them", f->paths[0]);
    if (!plan->given && pcg_split(&test, plan->val_ratio, n))
        return -1;
    struct reorder_plan order = {
        .kind = plan->given ? PLACING_SAME : PLACING_NUMPY,
        .seed = (uint64_t)plan->split_seed,
        .id_bytes = tok_id_bytes(&plan->meta),
        .memory = h->memory,
        .tmp = plan->tmp,
        .beside = s->dir,
        .known = true,
        .documents = n,
        .tokens = f->totals.tokens,
        .from = first_place(n, s->index, s->count),
        .to = first_place(n, s->index + 1, s->count),
        .head = test,
    };
    if (order.to == 0) /* fewer documents than programs, and none for this one */
        order.from = order.to = n;
    if (ordered_open(&o, &order, f, s->index, s->count, h->programs))
        return -1;
    struct progress p;
    progress_begin(&p, "packed", " documents", order.to - order.from);
    int status = spans_begin(s, &o, split, test);
    while (!status && (status = ordered_next(&o, &piece)) > 0) {
        bool held_out = piece.place < test;
        int to = plan->given ? split : held_out ? PACKER_VALIDATION : PACKER_TRAIN;
        status =
            shards_put(s, to, piece.stored, piece.count, piece.first) ||
                    (held_out && shards_put(s, PACKER_TEST, piece.stored, piece.count, piece.first))
                ? -1
                : 0;
        progress_to(&p, piece.place - order.from + 1);
    }
    progress_end(&p);
    ordered_close(&o);
    return status;
}

int sharing_part(struct sharing *h, int index, int count, int *missing)
{
    struct shards s;
    int status = shards_open(&s, h->plan, index, count);
    *missing = 0;
    if (status == 0) {
        for (int i = 0; !status && i < (h->plan->given ? PACKER_SPLITS : 1); i++)
            status = feed_part(h, &s, i);
        if (!status)
            status = shards_done(&s);
    } else if (status == 2)
        status = 0;
    if (!status)
        status = shards_finish(&s, missing);
    shards_close(&s);
    return status;
}

/* ---- all parts, as processes --------------------------------------------------------------- */

/* The process of part `index`; does not return. It ends with its parent. */
static void run_part(struct sharing *h, int index, pid_t parent)
{
    int missing;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    quiet |= index > 0;
    int status = sharing_part(h, index, h->programs, &missing);
    if (status < 0)
        warn("%s", why());
    _exit(status < 0);
}

int sharing_run(struct sharing *h, bool force)
{
    pid_t *process = calloc((size_t)h->programs, sizeof *process), parent = getpid();
    int status = process ? shards_clear(h->plan, h->programs, force) : fail("out of memory");
    int begun = 0, failed = 0;
    for (; !status && begun < h->programs; begun++) {
        process[begun] = fork();
        if (process[begun] == 0)
            run_part(h, begun, parent);
        if (process[begun] < 0) {
            status = fail("no process for part %d of %d: %s", begun, h->programs, strerror(errno));
            break;
        }
    }
    for (int i = 0; i < begun; i++) {
        int how;
        while (waitpid(process[i], &how, 0) < 0 && errno == EINTR)
            ;
        failed += !WIFEXITED(how) || WEXITSTATUS(how);
    }
    free(process);
    if (status)
        return status;
    char *dir = packer_path(h->plan);
    if (!failed && (!dir || !packer_stands(h->plan, dir)))
        failed = h->programs;
    if (!failed)
        say("%s: written by %d processes", dir, h->programs);
    free(dir);
    return failed ? fail("%d of %d processes failed; the same command goes on where they ended",
                         failed, h->programs)
                  : 0;
}
