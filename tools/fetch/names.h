/* names.h -- what a user names: operands, then lines of standard input, one at a time. */
#ifndef NAMES_H
#define NAMES_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* However many names there are, one line is held. */
struct names {
    /* set by the caller */
    char **operands; /* borrowed; NULL ends them */
    FILE *lines;     /* borrowed: further names, one a line; NULL: none */

    char *line; /* owned */
    size_t room, bytes;
    uint64_t number; /* of the line */
    bool ahead;      /* it was read, and is still to be handed out */
    int broken;      /* errno, where reading failed */
};

/* Whether there is none at all; waits for the first line where there is no operand. */
bool names_are_none(struct names *n);
/* 1 with the next one, the caller's to free; 0 after the last; -1 with why() for a line that cannot
   be a source, or that cannot be read: there may be more. */
must_check int names_next(struct names *n, char **name);
void names_close(struct names *n); /* harmless when closed */

#endif
