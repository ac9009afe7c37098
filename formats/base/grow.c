/* grow.c -- a list that becomes longer. */
#include "grow.h"

#include <stdlib.h>
#include <string.h>

int grow(void *list, size_t count, size_t *room, size_t bytes, size_t first, const char *what)
{
    if (count < *room)
        return 0;
    void *items;
    memcpy(&items, list, sizeof items);
    size_t more = *room ? 2 * *room : first;
    void *grown = reallocarray(items, more, bytes);
    if (!grown)
        return fail("no memory for a list of %zu %s", more, what);
    memcpy(list, &grown, sizeof grown);
    *room = more;
    return 0;
}
