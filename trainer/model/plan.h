/* plan.h -- what memory a run will take, line by line, known before anything is allocated. */
#ifndef PLAN_H
#define PLAN_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { PLAN_LINES = 24 };

/* Plain value; {0} is an empty plan. Names are literals. */
struct plan {
    struct plan_line {
        const char *name;
        size_t bytes;
        bool host; /* not on the device */
    } line[PLAN_LINES];
    int lines;
};

/* Add bytes to the line of that name, which is made when first mentioned. */
void plan_add(struct plan *p, const char *name, size_t bytes);
/* The same for what lies on the host: of no account where the device has memory of its own. */
void plan_add_host(struct plan *p, const char *name, size_t bytes);
/* Bytes on the device. */
size_t plan_total(const struct plan *p);

/* The table, for people, with its total and what the device has. */
void plan_write(const struct plan *p, size_t free_bytes, FILE *to);

/* -1 with one sentence (total, free, `remedy`: which flag to turn) when it will not fit. */
must_check int plan_check(const struct plan *p, size_t free_bytes, const char *remedy);

/* ---- one allocation cut into arrays ------------------------------------------------------- */

/* Arrays are taken in the same order twice: first with base NULL, which only counts (and tells
   the plan), then with base [used bytes] on the device, which hands out pointers. */
struct arena {
    char *base;
    size_t used;       /* bytes taken so far */
    struct plan *plan; /* or NULL */
};

/* The next array, aligned to 256 bytes; NULL while counting. */
void *arena_take(struct arena *a, const char *line, size_t bytes);

#endif
