/* pour.h -- one object, or a range of it, in order to a pipe, over many connections. */
#ifndef POUR_H
#define POUR_H

#include "object.h"
#include "remote.h"

#include <signal.h>
#include <stdbool.h>

struct pour {
    /* set by the caller */
    const struct remote *remote;
    const struct object *object;
    int fd;           /* where the bytes go */
    const char *name; /* how it is called in sentences */
    int connections;
    bool unpack; /* gunzip on the way */
    const volatile sig_atomic_t *interrupted;

    uint64_t received; /* bytes that came in */
};

/* Write all of it; pieces wait in at most 24 MiB of memory for their turn. The checksum of a whole
   object is proved at the end: -1 with why() when it is wrong, though the bytes have gone. */
must_check int pour_run(struct pour *s);

#endif
