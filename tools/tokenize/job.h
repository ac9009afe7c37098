/* job.h -- what ttt-tokenize does: documents through all processors into one output, which can be
   interrupted and continued. */
#ifndef JOB_H
#define JOB_H

#include "keep.h"
#include "pipeline.h"
#include "reader.h"
#include "report.h"
#include "tally.h"
#include "tok.h"

/* Set by the caller: the first group. Lives as long as the process. */
struct job {
    struct tokenizer tokenizer;
    struct framing framing;
    enum on_error on_error;
    struct reader reader; /* its caller's part */
    struct tok_meta meta;
    int threads;
    const char *out;     /* "-": standard output; NULL: only counted */
    const char *rejects; /* NULL: only warned of */
    bool compress;
    bool resumable;      /* out is a file, and the inputs can be read again */
    size_t budget;       /* bytes of text on their way */
    double save_every_s; /* of a resumable job's state */
    struct keep keep;    /* of a resumable job */

    struct tally tally;
    struct pipeline pipeline; /* here, since its threads may outlive job_run when that fails */
    struct scratch *scratch;  /* [threads], owned */
    struct tok_writer tok;
    struct writer reject_list;
    bool saved; /* there is a state */
    double saved_s;
    uint64_t stored_before; /* bytes read before the job was resumed */
    struct progress progress;
};

/* Open the output, or go on with it: 1 when work was done before, 0, -1. */
must_check int job_open(struct job *job);
/* Work until all is read. -1 with why(), then job_leave is to follow, and the end of the process.
 */
must_check int job_run(struct job *job);
/* All is read: give the output its name. -1 when nothing was made of it; it is gone then. */
must_check int job_finish(struct job *job);
/* Keep what is done if the job can go on from there, and say so; else remove it. */
void job_leave(struct job *job);

/* From now on SIGINT, SIGTERM and SIGHUP let job_run save the state and fail; a second one ends the
   process. The signal that came, or 0. */
#define JOB_STOPPED "stopped by a signal" /* why() then */
void job_stop_on_signals(void);
int job_stopped_by(void);

#endif
