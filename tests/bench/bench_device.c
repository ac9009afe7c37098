/* bench_device.c -- how fast the device is at what the trainer asks of it, beside what it can do.

   bench_device [--tiny] [PART...]     parts: peak memory ops train decode; without one: all

   Prints Markdown, a line as soon as it is known. --tiny takes shapes that show no speed, for
   builds that have none. Inputs are random; every figure is the median of several runs. */
#include "bench_parts.h"

#include <stdio.h>
#include <string.h>

struct bench bench = {.batch = 16, .seq = 2048, .wanted_ms = 200, .runs_most = 50};

static const struct {
    const char *name;
    void (*run)(void);
} parts[] = {
    {"peak", bench_peak},   {"memory", bench_memory}, {"ops", bench_ops},
    {"train", bench_train}, {"decode", bench_decode},
};
enum { PARTS = sizeof parts / sizeof *parts };

int main(int argc, char **argv)
{
    bool chosen[PARTS] = {false}, any = false;
    for (int a = 1; a < argc; a++) {
        bool known = !strcmp(argv[a], "--tiny");
        if (known)
            bench = (struct bench){.tiny = true, .batch = 1, .seq = 32, .runs_most = 1};
        for (int i = 0; i < PARTS; i++)
            if (!strcmp(argv[a], parts[i].name))
                chosen[i] = any = known = true;
        if (!known) {
            fprintf(stderr, "bench_device: no part %s; see the head of tests/bench/%s\n", argv[a],
                    "bench_device.c");
            return 2;
        }
    }
    const char *closed = device_open(0);
    if (closed) {
        fprintf(stderr, "bench_device: %s\n", closed);
        return 1;
    }
    printf("%s, %s build\n", device_describe(), TTT_BUILD);
    fflush(stdout);
    for (int i = 0; i < PARTS; i++) {
        /* Floors are told in what the device was measured to reach. */
        bool needed = chosen[2] && i < 2;
        if (!any || chosen[i] || needed)
            parts[i].run();
        const char *broken = device_sync();
        if (broken) {
            fprintf(stderr, "bench_device: %s: %s\n", parts[i].name, broken);
            return 1;
        }
    }
    device_close();
    return 0;
}
