/* names.c -- what a user names: operands, then lines of standard input, one at a time. */
#include "names.h"
#include "object.h"
#include "place.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Whether there is a further line with something in it. */
static bool read_line(struct names *n)
{
    bool had = n->ahead;
    n->ahead = false;
    if (had || !n->lines)
        return had;
    for (ssize_t bytes; (bytes = getline(&n->line, &n->room, n->lines)) >= 0;) {
        n->number++;
        while (bytes && (n->line[bytes - 1] == '\n' || n->line[bytes - 1] == '\r'))
            n->line[--bytes] = 0;
        n->bytes = (size_t)bytes;
        if (bytes)
            return true;
    }
    n->broken = feof(n->lines) ? 0 : errno;
    n->lines = NULL;
    return false;
}

bool names_are_none(struct names *n)
{
    n->ahead = !*n->operands && read_line(n);
    return !*n->operands && !n->ahead && !n->broken;
}

static int check_line(const struct names *n)
{
    const char *wrong = NULL;
    if (strlen(n->line) != n->bytes)
        wrong = "has a byte of zero; expected a name";
    else if (place_check(n->line))
        wrong = why();
    return wrong ? fail("line %" PRIu64 " of standard input: %s", n->number, wrong) : 0;
}

int names_next(struct names *n, char **name)
{
    if (*n->operands) {
        *name = object_text(*n->operands++);
        return 1;
    }
    if (!read_line(n)) {
        int broken = n->broken;
        n->broken = 0;
        return broken ? fail("standard input: %s", strerror(broken)) : 0;
    }
    if (check_line(n))
        return -1;
    *name = object_text(n->line);
    return 1;
}

void names_close(struct names *n)
{
    free(n->line);
    *n = (struct names){0};
}
