/* copying.h -- objects under way and the connections at them: what copy.c and lane.c share. */
#ifndef COPYING_H
#define COPYING_H

#include "behind.h"
#include "copy.h"
#include "part.h"
#include "report.h"

enum { MARKS_AT_ONCE = 256 }; /* more than lanes can finish before the journal has them */

/* One object under way. The lanes and the thread behind only leave word here; the loop acts. */
struct copying {
    struct run *run;
    struct object o;
    struct part part;
    struct address address;
    uint64_t next;   /* no range before it is wanted */
    uint64_t wanted; /* ranges that are neither finished nor coming */
    int coming;      /* lanes at it */
    uint32_t crc32c; /* of an object of unknown size */
    struct part_mark fresh[MARKS_AT_ONCE], batch[MARKS_AT_ONCE]; /* finished, not in the journal */
    size_t fresh_count, batch_count;
    struct behind_job job;
    bool busy;    /* the job is behind */
    bool proved;  /* the part was read again */
    bool again;   /* a second reading is on: ranges keep their checksum until it is replaced */
    bool changed; /* one of them was, since the checksum was looked at */
    int readings, replaced;
    bool failed, gone, refused, finished;
    uint64_t damaged;
    char sentence[1024];
    struct copying *after;
};

struct lane {
    struct http_call call;
    struct copying *of; /* NULL: idle */
    uint64_t range;
    uint32_t crc;
    bool own_trouble; /* it was not the server's fault */
};

struct run {
    struct copy *c;
    struct behind behind;
    struct lane *lanes;
    struct copying *first;
    int open;             /* of the list */
    uint64_t unjournaled; /* finished ranges that a kill would lose */
    bool drained;
    double told_s; /* when objects under way were told of */
    struct progress progress;
};

/* why() is what the object fails of. */
void copying_fail(struct copying *g);

/* Ask for one range of an object, or for all of one of unknown size, over an idle lane. */
void lane_start(struct lane *l, struct copying *g, uint64_t range);
/* Bytes of its range that have come. */
uint64_t lane_received(const struct lane *l);
/* End the lanes that are at g, or all of them where g is NULL. */
void lane_stop_all(struct run *run, const struct copying *g);

#endif
