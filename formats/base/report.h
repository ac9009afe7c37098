/* report.h -- how a program speaks to people: stderr only, one voice. */
#ifndef REPORT_H
#define REPORT_H

#include <stdbool.h>
#include <stdint.h>

extern const char *program; /* "ttt-pack"; set by flags_parse */
extern bool quiet;          /* silences say() and progress; never warn() or die() */
extern double log_every_s;  /* how often progress speaks where no terminal listens; 60 */

/* "program: sentence" on stderr. say is news, warn is trouble, die is trouble and exit 1. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The last words of main: flushes stdout and returns the exit status, `status` when all was
   written, 1 (with a sentence) when stdout could not be. */
int finish(int status);

/* Seconds on a clock that never goes back. */
double now_s(void);

/* A count as people read it, "41.2 M" or "716 G", into buf (at least 16 bytes); returns buf. */
char *human(char *buf, double count);

/* A duration as people read it, "3 h 12 min" or "45 s", into buf (at least 24 bytes). */
char *human_s(char *buf, double seconds);

/* One live line on stderr: four times a second on a terminal, every log_every_s in a log, and once
   at the end if the job took longer than two seconds. total 0 means unknown. Not thread-safe:
   one thread reports. Fields are private. */
struct progress {
    const char *verb, *unit;
    uint64_t done, total;
    uint64_t skipped; /* of `done`: not by this process; may be set after progress_begin */
    double began_s, shown_s;
    bool live;
};

void progress_begin(struct progress *p, const char *verb, const char *unit, uint64_t total);
void progress_to(struct progress *p, uint64_t done);
void progress_end(struct progress *p);

#endif
