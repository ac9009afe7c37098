/* inputs.h -- the list of inputs that the operands mean, in the order in which they are read. */
#ifndef INPUTS_H
#define INPUTS_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xxhash.h>

struct inputs {
    char **paths;    /* [count], owned; "-" is standard input */
    uint64_t *bytes; /* [count], owned: of each file */
    size_t count, room;
    uint64_t total; /* of all bytes */
    bool regular;   /* all are regular files, so that sizes are known and they can be read again */
    size_t passed;  /* files in folders that no name of a format has */
    uint64_t identity; /* of the list: paths, sizes and times of the last change */
};

struct inputs_rule {
    bool recursive; /* folders are taken with all below them, but for names that begin with a dot */
    bool any_name;  /* of the files in folders; else only names of formats that are known */
    bool lists;     /* the operands are files that list inputs, each name ended by NUL */
};

/* Find out what the operands mean: those in folders are sorted by their bytes. -1 with why() on a
   file that is not there, a folder without `recursive`, standard input named twice. On failure in
   is closed. */
must_check int inputs_open(struct inputs *in, char **operands, struct inputs_rule rule);
void inputs_close(struct inputs *in);

#endif
