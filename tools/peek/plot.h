/* plot.h -- counts as bars of text, in the width of the terminal. */
#ifndef PLOT_H
#define PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How numbers fall into classes: 0, then powers of two from 1 on. */
enum { PLOT_CLASSES = 65 };

static inline int plot_class(uint64_t v)
{
    return v ? 64 - __builtin_clzll(v) : 0;
}

/* Is stdout a terminal that wants colours (NO_COLOR is not set)? */
bool plot_colours(void);

/* "key<tab>value" and a newline; on a terminal with the values under each other, tabs as two
   blanks, cut to the width: the terminal's columns, or $COLUMNS, or 80; at least 20. */
void plot_line(const char *key, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A line a class that holds anything, and those between: "from - to  count  bar". */
void plot_classes(const char *title, const uint64_t counts[PLOT_CLASSES]);
/* Columns of counts of ids 0 .. n-1, as many as fit, in `rows` lines. */
void plot_ids(const char *title, const uint64_t *counts, size_t n, int rows);

#endif
