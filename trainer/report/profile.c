/* profile.c -- where the time of a step goes: spans of operations, of stages, of whole steps. */
#include "profile.h"
#include "device.h"
#include "file.h"
#include "report.h"
#include "version.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum kind { STEP, STAGE, OPERATION };

/* Times in milliseconds from the first mark on. */
struct span {
    enum kind kind;
    const char *name; /* borrowed, lives long */
    int64_t number;   /* of the step; of the layer, -1 for none */
    double begin_ms, end_ms, flop, bytes;
};

static struct {
    bool on, failed;    /* failed: memory ran out, and nothing will be told */
    struct span *spans; /* [count], owned */
    size_t count, room;
    size_t step, stage, op; /* those under way; NONE */
    int64_t steps;
    /* Marks are set in turn. `set` were, and the times of `read` of them are known; what[mark %
       DEVICE_MARKS] is the span that one begins or ends. */
    uint64_t set, read;
    struct {
        size_t span;
        bool ends;
    } what[DEVICE_MARKS];
    double now_ms; /* of the last mark read */
} p;

static const size_t NONE = (size_t)-1;

/* ---- recording ---------------------------------------------------------------------------- */

/* Find out when the marks were reached. The last stays, as what the next is counted from. */
static void read_marks(void)
{
    (void)device_sync(); /* what is broken is told by the step */
    for (; p.read < p.set; p.read++) {
        int at = (int)(p.read % DEVICE_MARKS);
        if (p.read)
            p.now_ms += device_marked_ms((int)((p.read - 1) % DEVICE_MARKS), at);
        struct span *s = &p.spans[p.what[at].span];
        *(p.what[at].ends ? &s->end_ms : &s->begin_ms) = p.now_ms;
    }
}

static void mark(size_t span, bool ends)
{
    if (p.set - p.read == DEVICE_MARKS - 1)
        read_marks();
    int at = (int)(p.set++ % DEVICE_MARKS);
    p.what[at].span = span;
    p.what[at].ends = ends;
    device_mark(at);
}

static size_t begin(enum kind kind, const char *name, int64_t number)
{
    if (p.count == p.room) {
        size_t room = p.room ? 2 * p.room : 4096;
        struct span *more = realloc(p.spans, room * sizeof *more);
        if (!more) {
            p.failed = true;
            p.on = false;
            return NONE;
        }
        p.spans = more;
        p.room = room;
    }
    p.spans[p.count] = (struct span){.kind = kind, .name = name, .number = number};
    mark(p.count, false);
    return p.count++;
}

static void end(size_t *span)
{
    if (*span != NONE)
        mark(*span, true);
    *span = NONE;
}

bool profile_is_on(void)
{
    return p.on;
}

void profile_step_begin(int64_t step)
{
    p.on = !p.failed;
    p.stage = p.op = NONE;
    p.step = p.on ? begin(STEP, "step", step) : NONE;
}

void profile_step_end(bool done)
{
    if (!p.on)
        return;
    size_t first = p.step;
    end(&p.stage);
    end(&p.step);
    read_marks();
    p.on = false;
    if (done)
        p.steps++;
    else
        p.count = first;
}

void profile_stage(const char *name, int layer)
{
    if (!p.on)
        return;
    end(&p.stage);
    p.stage = begin(STAGE, name, layer);
}

bool profile_op_begin(const char *name)
{
    if (!p.on || p.op != NONE)
        return false;
    p.op = begin(OPERATION, name, -1);
    return p.op != NONE;
}

void profile_op_end(double flop, double bytes)
{
    const size_t in[] = {p.op, p.stage, p.step};
    for (size_t i = 0; i < sizeof in / sizeof *in; i++) {
        if (in[i] == NONE)
            continue;
        p.spans[in[i]].flop += flop;
        p.spans[in[i]].bytes += bytes;
    }
    end(&p.op);
}

bool profile_has_news(void)
{
    return p.steps || p.failed;
}

void profile_close(void)
{
    free(p.spans);
    p.spans = NULL;
    p.count = p.room = 0;
    p.steps = 0;
    p.failed = false;
}

/* ---- writing ------------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3))) static int put(struct writer *w, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return writer_put(w, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static int put_event(struct writer *w, const struct span *s)
{
    static const char *const category[] = {"step", "stage", "operation"};
    char number[24] = "";
    if (s->number >= 0)
        snprintf(number, sizeof number, " %" PRId64, s->number);
    return put(w,
               "%s\n{\"name\": \"%s%s\", \"cat\": \"%s\", \"ph\": \"X\", \"pid\": 0, \"tid\": 0, "
               "\"ts\": %.3f, \"dur\": %.3f, \"args\": {",
               s == p.spans ? "" : ",", s->name, number, category[s->kind], 1e3 * s->begin_ms,
               1e3 * (s->end_ms - s->begin_ms)) ||
                   (s->flop > 0 && put(w, "\"FLOP\": %.0f%s", s->flop, s->bytes > 0 ? ", " : "")) ||
                   (s->bytes > 0 && put(w, "\"bytes\": %.0f", s->bytes)) || put(w, "}}")
               ? -1
               : 0;
}

/* Times are microseconds there. */
static int put_trace(struct writer *w)
{
    if (put(w, "{\"displayTimeUnit\": \"ms\", \"traceEvents\": ["))
        return -1;
    for (size_t i = 0; i < p.count; i++)
        if (put_event(w, &p.spans[i]))
            return -1;
    return put(w, "\n]}\n");
}

/* Spans of one name together. */
struct sum {
    const char *name;
    uint64_t calls;
    double ms, flop, bytes;
};

enum { NAMES = 128 };

static int slower(const void *a, const void *b)
{
    double x = ((const struct sum *)a)->ms, y = ((const struct sum *)b)->ms;
    return (x < y) - (x > y);
}

/* The sums of one kind, slowest first; returns how many there are. */
static int add_up(struct sum sums[NAMES], enum kind kind)
{
    int count = 0;
    for (size_t i = 0; i < p.count; i++) {
        const struct span *s = &p.spans[i];
        int at = 0;
        if (s->kind != kind)
            continue;
        while (at < count && strcmp(sums[at].name, s->name))
            at++;
        if (at == NAMES)
            continue;
        if (at == count)
            sums[count++] = (struct sum){.name = s->name};
        sums[at].calls++;
        sums[at].ms += s->end_ms - s->begin_ms;
        sums[at].flop += s->flop;
        sums[at].bytes += s->bytes;
    }
    qsort(sums, (size_t)count, sizeof *sums, slower);
    return count;
}

static int put_rate(struct writer *w, double amount, double ms)
{
    return amount > 0 && ms > 0 ? put(w, "  %8.4g", amount / ms / 1e6) : put(w, "  %8s", "-");
}

/* Of one step, on the average. */
static int put_sum(struct writer *w, const struct sum *s, double whole_ms)
{
    double steps = (double)p.steps;
    return put(w, "%-24s  %8.4g  %10.3f  %5.1f %%", s->name, (double)s->calls / steps,
               s->ms / steps, 100 * s->ms / whole_ms) ||
                   put_rate(w, s->flop, s->ms) || put_rate(w, s->bytes, s->ms) || put(w, "\n")
               ? -1
               : 0;
}

static int put_table(struct writer *w, const char *title, enum kind kind, double whole_ms)
{
    struct sum sums[NAMES], rest = {.name = "between them", .ms = whole_ms};
    int count = add_up(sums, kind);
    if (put(w, "\n%-24s  %8s  %10s  %7s  %8s  %8s\n", title, "calls", "ms", "share", "GFLOP/s",
            "GB/s"))
        return -1;
    for (int i = 0; i < count; i++) {
        rest.ms -= sums[i].ms;
        if (put_sum(w, &sums[i], whole_ms))
            return -1;
    }
    rest.ms = fmax(rest.ms, 0);
    return put_sum(w, &rest, whole_ms);
}

static int put_tables(struct writer *w, const char *machine)
{
    struct sum whole[NAMES];
    int64_t first = p.spans[0].number;
    (void)add_up(whole, STEP);
    if (put(w, "%s, %s\n", version_text(), machine) ||
        put(w, "step %" PRId64 " to %" PRId64 "; figures are those of one, %.3f ms\n", first,
            first + p.steps - 1, whole->ms / (double)p.steps))
        return -1;
    return put_table(w, "operation", OPERATION, whole->ms) ||
                   put_table(w, "stage", STAGE, whole->ms)
               ? -1
               : 0;
}

static int write_file(const char *dir, const char *name, const char *machine)
{
    char path[4096];
    struct writer w;
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return fail("%s/%s: the path is too long", dir, name);
    if (writer_open(&w, path))
        return -1;
    if (!(machine ? put_tables(&w, machine) : put_trace(&w)))
        return writer_commit(&w);
    writer_abandon(&w);
    return -1;
}

int profile_write(const char *dir, const char *machine)
{
    if (p.failed)
        return fail("%s: no profile: out of memory", dir);
    return write_file(dir, "profile.txt", machine) || write_file(dir, "trace.json", NULL) ? -1 : 0;
}
