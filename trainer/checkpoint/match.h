/* match.h -- the tensors that a file has, against those that a model wants. */
#ifndef MATCH_H
#define MATCH_H

#include "tensors.h"

/* Every name of want is one of have, and the other way round; else -1 with why() that counts the
   missing and those too many, and tells the first of each. No name occurs twice in have. */
must_check int match_names(const char *path, const struct tensor *want, int wanted,
                           const struct tensor *have, int count);

/* have has want's shape. */
must_check int match_shape(const char *path, const struct tensor *want, const struct tensor *have);

/* A name for people into buf, at least 256 bytes: cuts within it become slashes. */
char *match_name(char *buf, const char *name);

#endif
