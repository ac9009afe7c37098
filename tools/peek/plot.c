/* plot.c -- counts as bars of text, in the width of the terminal. */
#include "plot.h"
#include "report.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { NARROWEST = 20, USUAL = 80 };

/* An eighth of a cell to a whole one; the first is none. */
static const char *const across[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
static const char *const upward[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

/* Columns to write in. */
static int terminal_width(void)
{
    struct winsize w;
    const char *columns = getenv("COLUMNS");
    int width = 0;
    if (isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &w))
        width = w.ws_col;
    if (!width && columns)
        width = atoi(columns);
    return width <= 0 ? USUAL : width < NARROWEST ? NARROWEST : width;
}

bool plot_colours(void)
{
    const char *none = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) && !(none && *none);
}

static const char *blue(void)
{
    return plot_colours() ? "\033[34m" : "";
}

static const char *plain(void)
{
    return plot_colours() ? "\033[0m" : "";
}

/* Print what fits in `room` columns; what does not ends with an ellipsis. */
static void put_cut(const char *text, int room)
{
    int columns = 0;
    for (const char *c = text; *c; c++)
        columns += *c == '\t' ? 2 : (*c & 0xc0) != 0x80;
    int most = columns > room ? room - 1 : room, at = 0;
    for (const char *c = text; *c; c++) {
        at += *c == '\t' ? 2 : (*c & 0xc0) != 0x80;
        if (at > most)
            break;
        if (*c == '\t')
            fputs("  ", stdout);
        else
            putchar(*c);
    }
    if (columns > room && room > 0)
        fputs("…", stdout);
}

void plot_line(const char *key, const char *fmt, ...)
{
    char *value;
    va_list args;
    va_start(args, fmt);
    int n = vasprintf(&value, fmt, args);
    va_end(args);
    if (n < 0)
        die("out of memory");
    int width = terminal_width(), keys = width < 60 ? width / 3 : 22, used = (int)strlen(key);
    if (!isatty(STDOUT_FILENO))
        printf("%s\t%s\n", key, value);
    else {
        /* A long key takes its room from the value. */
        used = used < width - 1 ? used : width - 1;
        printf("%s%.*s%s", blue(), used, key, plain());
        int gap = used < keys ? keys - used : 1;
        printf("%*s", gap, "");
        put_cut(value, width - used - gap);
        putchar('\n');
    }
    free(value);
}

static void bar(double cells)
{
    int eighths = (int)(cells * 8 + 0.5);
    fputs(blue(), stdout);
    for (; eighths >= 8; eighths -= 8)
        fputs(across[8], stdout);
    printf("%s%s", across[eighths], plain());
}

void plot_classes(const char *title, const uint64_t counts[PLOT_CLASSES])
{
    int first = PLOT_CLASSES, last = -1;
    uint64_t most = 1;
    for (int c = 0; c < PLOT_CLASSES; c++) {
        if (counts[c]) {
            first = c < first ? c : first;
            last = c;
        }
        most = counts[c] > most ? counts[c] : most;
    }
    int width = terminal_width();
    bool narrow = width < 40; /* then a class is told by where it begins */
    put_cut(title, width);
    putchar('\n');
    for (int c = first; c <= last; c++) {
        char low[16], high[16], range[40], count[16];
        human(low, c ? ldexp(1, c - 1) : 0);
        human(high, c ? ldexp(1, c) - 1 : 0);
        snprintf(range, sizeof range, c > 1 ? "%s - %s" : "%s", low, high);
        human(count, (double)counts[c]);
        int room =
            width - (narrow ? printf("%5s %5s ", low, count) : printf("%15s %7s ", range, count));
        if (room > 0)
            bar(room * ((double)counts[c] / (double)most));
        putchar('\n');
    }
}

void plot_ids(const char *title, const uint64_t *counts, size_t n, int rows)
{
    size_t columns = (size_t)terminal_width();
    columns = columns < n ? columns : n;
    double *height = calloc(columns + 1, sizeof *height), most = 0;
    if (!height || n == 0) {
        free(height);
        return;
    }
    /* Frequencies of words span orders of magnitude: logarithms show all of them. */
    for (size_t c = 0; c < columns; c++) {
        uint64_t sum = 0;
        for (size_t i = c * n / columns; i < (c + 1) * n / columns; i++)
            sum += counts[i];
        height[c] = log1p((double)sum);
        most = height[c] > most ? height[c] : most;
    }
    put_cut(title, terminal_width());
    putchar('\n');
    for (int r = rows; r-- > 0;) {
        fputs(blue(), stdout);
        for (size_t c = 0; c < columns; c++) {
            double cells = most > 0 ? height[c] / most * rows - r : 0;
            int eighths = cells >= 1 ? 8 : cells > 0 ? (int)(cells * 8 + 0.5) : 0;
            fputs(upward[eighths], stdout);
        }
        printf("%s\n", plain());
    }
    int left = printf("0");
    char end[24];
    int digits = snprintf(end, sizeof end, "%zu", n - 1);
    printf("%*s\n", (int)columns - left > digits ? (int)columns - left : digits + 1, end);
    free(height);
}
