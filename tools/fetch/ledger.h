/* ledger.h -- --manifest: a JSON line for every object, whatever became of it. */
#ifndef LEDGER_H
#define LEDGER_H

#include "err.h"
#include "file.h"
#include "object.h"

/* A line has the members source, path, result ("fetched", "there" or "failed"), and where known
   bytes, crc32c (8 hex digits, of the object as stored) and generation. Zero: none is wanted. */
struct ledger {
    struct writer writer;
    bool open;
};
must_check int ledger_open(struct ledger *l, const char *path); /* "" opens none */
must_check int ledger_line(struct ledger *l, const struct object *o, const char *result);
must_check int ledger_close(struct ledger *l); /* gives the file its name */

#endif
