/* transfer.h -- which objects are to be fetched, and to where; what is here already is not. */
#ifndef TRANSFER_H
#define TRANSFER_H

#include "flags.h"
#include "ledger.h"
#include "localname.h"
#include "object.h"
#include "report.h"

#include <signal.h>
#include <stdbool.h>

struct transfer {
    /* set by the caller */
    const char *dest; /* a folder, or a file when one object is all */
    bool dest_is_file;
    bool no_clobber, force, verify, dry_run, decompress;
    bool part; /* --range: bytes [from, from + length) of the one object */
    uint64_t from, length;
    const struct flag_list *include, *exclude;
    struct ledger *ledger;
    const volatile sig_atomic_t *interrupted;

    /* what came of it */
    struct object_queue queue;
    uint64_t there, failed; /* objects */
    uint64_t here_bytes;    /* of the queue's bytes: finished ranges of an earlier run */
    uint64_t need_bytes;    /* of disk, beyond what parts occupy already */
    struct localnames taken;
};

/* Take an object into the plan: `relative` is its path below dest. An object that cannot be
   copied is told of and counted in failed. -1 with why() ends everything. */
must_check int transfer_object(struct transfer *p, struct object *o, const char *relative);
/* Whether --include and --exclude want it. */
bool transfer_wants(const struct transfer *p, const char *relative);
/* Cut o to the bytes that --range asks for. -1 with why() when it has not as many. */
must_check int transfer_cut(const struct transfer *p, struct object *o);
/* -1 with why() when the file system of dest has no room for the queue. */
must_check int transfer_room(const struct transfer *p);
void transfer_free(struct transfer *p);

#endif
