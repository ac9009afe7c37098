/* textfile.c -- a run's newest numbers in a file for a cluster's collectors. */
#include "textfile.h"
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const double EVERY_S = 5;

/* A label's text: quotes, backslashes and line ends are escaped. */
static void put_label(FILE *to, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fprintf(to, "\\%c", *text);
        else if (*text == '\n')
            fprintf(to, "\\n");
        else
            putc(*text, to);
    }
}

static void put(FILE *to, const struct textfile *t, const char *name, const char *help,
                const char *kind, double value)
{
    fprintf(to, "# HELP ttt_%s %s\n# TYPE ttt_%s %s\nttt_%s{run=\"", name, help, name, kind, name);
    put_label(to, t->run);
    fprintf(to, "\"} %.9g\n", value);
}

static void put_all(FILE *to, const struct textfile *t)
{
    put(to, t, "step", "Updates done.", "counter", (double)t->step);
    put(to, t, "loss", "Training loss, nats per token.", "gauge", t->loss);
    put(to, t, "grad_norm", "Norm of the gradient before clipping.", "gauge", t->grad_norm);
    put(to, t, "learning_rate", "Learning rate of the next update.", "gauge", t->learning_rate);
    put(to, t, "tokens_per_second", "Speed of the last step.", "gauge", t->tokens_per_s);
    put(to, t, "elapsed_seconds", "Time that the run took.", "counter", t->elapsed_s);
    put(to, t, "skipped_updates", "Updates left out by this process.", "counter",
        (double)t->skipped);
    if (t->has_validation)
        put(to, t, "validation_loss", "Validation loss, nats per token.", "gauge",
            t->validation_loss);
}

int textfile_write(struct textfile *t, bool now)
{
    char part[PATH_MAX];
    double at_s = now_s();
    if (!t->path || (!now && t->written_s && at_s - t->written_s < EVERY_S))
        return 0;
    t->written_s = at_s;
    /* Collectors read names that end in .prom; this one is renamed once it is whole. */
    if (snprintf(part, sizeof part, "%s.part.%ld", t->path, (long)getpid()) >= (int)sizeof part)
        return fail("%s: the path is too long", t->path);
    FILE *to = fopen(part, "we");
    if (!to)
        return fail("%s: %s", part, strerror(errno));
    put_all(to, t);
    bool bad = ferror(to);
    if (fclose(to) || bad || rename(part, t->path)) {
        fail("%s: %s", t->path, strerror(errno));
        unlink(part);
        return -1;
    }
    return 0;
}
