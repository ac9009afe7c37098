/* part.h -- an object on its way: NAME.ttt-part, its journal, and how it gets its name. */
#ifndef PART_H
#define PART_H

#include "err.h"
#include "journal.h"
#include "object.h"

#include <signal.h>
#include <stdbool.h>

/* States of a range in journal.marks. */
enum { RANGE_WANTED, RANGE_FINISHED, RANGE_COMING };

struct part {
    int fd, journal_fd;        /* journal_fd is -1 where one range is all */
    char *path, *journal_path; /* owned */
    struct journal journal;    /* marks of every range, with or without a file for it */
    uint64_t resumed_bytes;    /* found here when opened */
    bool named;                /* the journal's name is safe on disk */
};

/* Bytes that a part of the object already holds on disk, and how many of them are finished. */
void part_look(const struct object *o, uint64_t *allocated, uint64_t *finished);

/* Remove a journal without a part beside the finished file: a kill between rename and removal left
   it. */
void part_forget_journal(const struct object *o);

/* Open the part of o, continuing what is there when its journal tells of the same version, else
   from nothing, with a sentence saying so. range_bytes counts for a new one. -1 with
   why(); then p is closed. */
must_check int part_open(struct part *p, const struct object *o, uint64_t range_bytes);
void part_close(struct part *p);  /* leaves the files; harmless when closed */
void part_remove(struct part *p); /* closes, and removes the files */

/* The bytes of range i. */
uint64_t part_range_bytes(const struct part *p, uint64_t i);
/* The object's checksum, from those of its ranges, all of which are finished. */
uint32_t part_crc32c(const struct part *p);

/* For the thread behind, which alone uses the files then: */

/* Put finished ranges into the journal, after their bytes are safe on disk. */
struct part_mark {
    uint64_t index;
    uint32_t crc32c;
};
must_check int part_mark(struct part *p, const struct part_mark *marks, size_t count);
/* Read the part again; ranges that differ from their checksum become wanted. Their number goes to
 *damaged. An interruption is a failure. */
must_check int part_prove(struct part *p, const volatile sig_atomic_t *interrupted,
                          uint64_t *damaged);
/* Sync and rename to o->path, unpacked when o->unpack; the journal goes. On failure the part and
   its journal stay. */
must_check int part_finish(struct part *p, const struct object *o);

#endif
