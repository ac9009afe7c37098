/* eval_job.h -- one checkpoint on one text in windows of one length, for ttt-eval. */
#ifndef EVAL_JOB_H
#define EVAL_JOB_H

#include "dataset.h"
#include "evaluate.h"
#include "team.h"
#include "tokenizer.h"
#include "trained.h"

/* What the flags ask; texts are borrowed. */
struct eval_job {
    struct team *team;         /* the ranks that share it out; borrowed */
    const struct dataset *set; /* which all ranks have alike; borrowed */
    const char *split, *mask_bos;
    const struct tokenizer *tokenizer; /* for bytes, or NULL */
    int batch;                         /* windows at once on a rank; 0: choose */
    uint64_t most_tokens;              /* 0: all */
    uint64_t drop_last;                /* batches of so many whole windows alone; 0: every token */
    const char *state_path;            /* or NULL */
    bool stopped;                      /* by a signal; set by eval_job_run, which then fails */
};

/* SIGINT and SIGTERM end the evaluation at the next batch, with its state written. */
void eval_job_catch_signals(void);

/* Evaluate into sums, which is zero, going on from the state where it knows of this very job; of
   many ranks rank 0 has them, and writes the state. -1 with why(). */
must_check int eval_job_run(struct eval_job *job, struct evaluate *sums, struct trained *model,
                            int seq);

#endif
