/* report.c -- how a program speaks to people. */
#include "report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const char *program = "ttt";
bool quiet;
double log_every_s = 60;
static _Atomic bool live_line; /* a progress line stands on the terminal */

static void speak(const char *fmt, va_list args)
{
    char line[2048];
    int n = snprintf(line, sizeof line, "%s: ", program);
    vsnprintf(line + n, sizeof line - (size_t)n, fmt, args);
    fflush(stdout);
    /* One call: sentences of two threads do not mix. */
    fprintf(stderr, "%s%s\n", live_line ? "\r\033[K" : "", line);
}

void say(const char *fmt, ...)
{
    if (quiet)
        return;
    va_list args;
    va_start(args, fmt);
    speak(fmt, args);
    va_end(args);
}

void warn(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    speak(fmt, args);
    va_end(args);
}

void die(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    speak(fmt, args);
    va_end(args);
    exit(1);
}

int finish(int status)
{
    errno = 0;
    int broken = ferror(stdout);
    broken |= fclose(stdout);
    if (!broken)
        return status;
    warn("standard output: %s", errno ? strerror(errno) : "could not be written");
    return 1;
}

double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

char *human(char *buf, double count)
{
    static const char *const unit[] = {"", " k", " M", " G", " T"};
    int u = 0;
    for (; count >= 999.5 && u < 4; u++)
        count /= 1000;
    int digits = u == 0 ? 0 : count < 9.995 ? 2 : count < 99.95 ? 1 : 0;
    snprintf(buf, 16, "%.*f%s", digits, count, unit[u]);
    return buf;
}

char *human_s(char *buf, double seconds)
{
    unsigned s = seconds < 3e9 ? (unsigned)(seconds + 0.5) : 3000000000u;
    if (s < 60)
        snprintf(buf, 24, "%u s", s);
    else if (s < 3600)
        snprintf(buf, 24, "%u min %u s", s / 60, s % 60);
    else
        snprintf(buf, 24, "%u h %u min", s / 3600, s / 60 % 60);
    return buf;
}

static void show(struct progress *p, char end)
{
    double spent_s = p->shown_s - p->began_s;
    double rate =
        spent_s > 0 && p->done > p->skipped ? (double)(p->done - p->skipped) / spent_s : 0;
    char done[16], total[16], speed[16], left[24], line[160];
    int n =
        snprintf(line, sizeof line, "%s: %s %s", program, p->verb, human(done, (double)p->done));
    if (p->total)
        n += snprintf(line + n, sizeof line - (size_t)n, " of %s%s (%.0f%%)",
                      human(total, (double)p->total), p->unit,
                      100.0 * (double)p->done / (double)p->total);
    else
        n += snprintf(line + n, sizeof line - (size_t)n, "%s", p->unit);
    n += snprintf(line + n, sizeof line - (size_t)n, ", %s%s/s", human(speed, rate), p->unit);
    if (end == '\r' && p->total > p->done && rate > 0)
        snprintf(line + n, sizeof line - (size_t)n, ", %s left",
                 human_s(left, (double)(p->total - p->done) / rate));
    else if (end == '\n')
        snprintf(line + n, sizeof line - (size_t)n, ", %s", human_s(left, spent_s));
    live_line = p->live && end == '\r';
    fprintf(stderr, p->live ? "\r\033[K%s%s" : "%s%s", line, live_line ? "" : "\n");
}

void progress_begin(struct progress *p, const char *verb, const char *unit, uint64_t total)
{
    *p = (struct progress){.verb = verb, .unit = unit, .total = total};
    p->began_s = p->shown_s = now_s();
    p->live = isatty(STDERR_FILENO);
}

void progress_to(struct progress *p, uint64_t done)
{
    p->done = done;
    if (quiet)
        return;
    double now = now_s();
    if (now - p->shown_s < (p->live ? 0.25 : log_every_s))
        return;
    p->shown_s = now;
    show(p, '\r');
}

void progress_end(struct progress *p)
{
    p->shown_s = now_s();
    if (!quiet && p->shown_s - p->began_s > 2)
        show(p, '\n');
    else if (!quiet && live_line)
        fprintf(stderr, "\r\033[K");
    live_line = false;
}
