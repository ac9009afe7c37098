/* plan.c -- what memory a run will take, line by line, known before anything is allocated. */
#include "plan.h"
#include "device.h"
#include "report.h"

#include <assert.h>
#include <string.h>

enum { ALIGN_BYTES = 256 };

/* The line of that name, made when first mentioned. */
static struct plan_line *line_of(struct plan *p, const char *name)
{
    int i = 0;
    while (i < p->lines && strcmp(p->line[i].name, name))
        i++;
    if (i == p->lines) {
        assert(p->lines < PLAN_LINES);
        p->line[p->lines++] = (struct plan_line){.name = name};
    }
    return &p->line[i];
}

void plan_add(struct plan *p, const char *name, size_t bytes)
{
    line_of(p, name)->bytes += bytes;
}

void plan_add_host(struct plan *p, const char *name, size_t bytes)
{
    struct plan_line *line = line_of(p, name);
    line->bytes += bytes;
    line->host = !device_is_host();
}

size_t plan_total(const struct plan *p)
{
    size_t total = 0;
    for (int i = 0; i < p->lines; i++)
        total += p->line[i].host ? 0 : p->line[i].bytes;
    return total;
}

static double mib(size_t bytes)
{
    return (double)bytes / (1 << 20);
}

void plan_write(const struct plan *p, size_t free_bytes, FILE *to)
{
    for (int i = 0; i < p->lines; i++)
        if (p->line[i].bytes)
            fprintf(to, "  %-32s %12.1f MiB%s\n", p->line[i].name, mib(p->line[i].bytes),
                    p->line[i].host ? " of the host" : "");
    fprintf(to, "  %-32s %12.1f MiB of %.0f MiB free\n", "memory in all", mib(plan_total(p)),
            mib(free_bytes));
}

int plan_check(const struct plan *p, size_t free_bytes, const char *remedy)
{
    size_t total = plan_total(p);
    if (total <= free_bytes)
        return 0;
    return fail("the run needs %.0f MiB and %.0f MiB are free: %s", mib(total), mib(free_bytes),
                remedy);
}

void *arena_take(struct arena *a, const char *line, size_t bytes)
{
    size_t aligned = (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    void *at = a->base ? a->base + a->used : NULL;
    a->used += aligned;
    if (a->plan)
        plan_add(a->plan, line, aligned);
    return at;
}
