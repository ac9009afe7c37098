/* plot.c -- counts as bars of text, in the width of the terminal. */
#include "plot.h"
#include "report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { NARROWEST = 20, USUAL = 80 };

/* An eighth of a cell to a whole one; the first is none. */
static const char *const across[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
static const char *const upward[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

int plot_width(void)
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
    printf("%s\n", title);
    for (int c = first; c <= last; c++) {
        char low[16], high[16], range[40], count[16];
        human(low, c ? ldexp(1, c - 1) : 0);
        human(high, c ? ldexp(1, c) - 1 : 0);
        snprintf(range, sizeof range, c > 1 ? "%s - %s" : "%s", low, high);
        int room = plot_width() - printf("%15s %7s ", range, human(count, (double)counts[c]));
        if (room > 0)
            bar(room * ((double)counts[c] / (double)most));
        putchar('\n');
    }
}

void plot_ids(const char *title, const uint64_t *counts, size_t n, int rows)
{
    size_t columns = (size_t)plot_width();
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
    printf("%s\n", title);
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
