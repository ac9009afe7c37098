/* grow.h -- a list that becomes longer. */
#ifndef GROW_H
#define GROW_H

#include "err.h"

#include <stddef.h>

/* Room behind `count` items of `bytes` each for one more: *list as it is, or moved with its room
   doubled; at first it is NULL, and gets room for `first`. -1 with why(), and nothing has changed;
   `what` is a word for the items. list: the address of a pointer to them. */
must_check int grow(void *list, size_t count, size_t *room, size_t bytes, size_t first,
                    const char *what);

#endif
