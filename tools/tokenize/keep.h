/* keep.h -- what a program keeps beside its output, so that the same command goes on where it was
   stopped, and does nothing where it has finished.

   OUT.part        the output so far
   OUT.state       "TTT.STATE 1\n", a line of JSON, bytes that the writer of OUT understands, and
                   XXH3-64 of all before it; renamed into place, so that it is always whole
   OUT.json        the record of a finished run: what was read, made and counted
   Both JSON objects have "job", the identity of the inputs and flags: another job's are not
   taken.*/
#ifndef KEEP_H
#define KEEP_H

#include "err.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct keep {
    char *state, *record; /* owned: paths */
    char job[17];         /* 16 hexadecimal digits */
};

must_check int keep_open(struct keep *k, const char *out, uint64_t job);
void keep_close(struct keep *k); /* harmless when closed */

/* Write the state; "job" is added to facts. */
must_check int keep_save(const struct keep *k, json_t *facts, const void *data, size_t bytes);
/* 1: there is a state of this job, *facts and *data are the caller's; 0: there is none; -1. */
must_check int keep_load(const struct keep *k, json_t **facts, uint8_t **data, size_t *bytes);
/* Remove the state; harmless when closed. */
void keep_forget(const struct keep *k);

/* Write the record; "job" is added to facts. */
must_check int keep_finish(const struct keep *k, json_t *facts);
/* The record of this job, which the caller owns, if the output is there with its "out_bytes". */
json_t *keep_finished(const struct keep *k, const char *out);

/* A JSON object as a file of its own. */
must_check int keep_json(const char *path, const json_t *facts);

#endif
