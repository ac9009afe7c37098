/* live.c -- the line on stderr that tells how training goes. */
#include "live.h"
#include "report.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static const double LOG_S = 15, TERMINAL_S = 0.2;

void live_begin(struct live *l, int64_t done, int64_t total)
{
    *l = (struct live){.first = done, .total = total, .began_s = now_s(), .terminal = isatty(2)};
}

void live_show(struct live *l, const struct metrics_step *s, bool now)
{
    double at_s = now_s();
    if (quiet || (!now && at_s - l->shown_s < (l->terminal ? TERMINAL_S : LOG_S)))
        return;
    l->shown_s = at_s;
    double per_step_s = (at_s - l->began_s) / (double)(s->step - l->first);
    char speed[16], left[24];
    human(speed, s->tokens_per_s);
    bool bare = !strpbrk(speed, "kMGT"); /* "120 tok/s" but "1.68 ktok/s" */
    fprintf(stderr, "%s%s: step %" PRId64 "/%" PRId64 "  loss %.4f  grad %.2f  lr %.2e  %s%stok/s",
            l->terminal ? "\r" : "", program, s->step, l->total, s->loss, s->grad_norm,
            s->learning_rate, speed, bare ? " " : "");
    if (s->step < l->total)
        fprintf(stderr, "  %s left", human_s(left, per_step_s * (double)(l->total - s->step)));
    fprintf(stderr, l->terminal ? "\033[K" : "\n");
    l->standing = l->terminal;
}

void live_break(struct live *l)
{
    if (l->standing)
        fprintf(stderr, "\n");
    l->standing = false;
}
