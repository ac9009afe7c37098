/* copy.h -- fetch a queue of objects: ranges over many connections, journaled, proved, renamed. */
#ifndef COPY_H
#define COPY_H

#include "ledger.h"
#include "object.h"
#include "remote.h"

#include <signal.h>
#include <stdbool.h>

struct copy {
    /* set by the caller */
    const struct remote *remote;
    struct object_queue *queue;
    struct ledger *ledger;
    int connections;
    bool decompress;     /* unpack what is stored as gzip */
    bool verify;         /* read finished ranges of parts again */
    bool tell;           /* a line for each object, and every log_every_s for each under way */
    uint64_t here_bytes; /* of the queue, finished in an earlier run */
    const volatile sig_atomic_t *interrupted;

    /* what came of it */
    uint64_t fetched, failed; /* objects */
    uint64_t new_bytes;       /* of objects and ranges that were finished in this run */
    uint64_t received;        /* bytes that came in; what exceeds new_bytes came in vain */
};

/* Fetch all of the queue. Objects that fail are told of and counted. -1 with why() when going on
   makes no sense, or after an interruption; what is finished stays for the next run. */
must_check int copy_run(struct copy *c);

/* The default number of connections for so many objects and bytes. */
int copy_connections(uint64_t objects, uint64_t bytes);

#endif
