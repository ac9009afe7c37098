/* sibling.c -- hand over to the build of this program that the machine and the flags call for. */
#include "sibling.h"
#include "comm.h"
#include "device.h"
#include "real.h"
#include "report.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Builds that stand for another one in tests. */
static const char *own_build(void)
{
    return strcmp(TTT_BUILD, "asan") ? TTT_BUILD : "cpu";
}

/* Whether path can be run and is another file than this very program. */
static bool is_other_program(const char *path, const char *self)
{
    char *real_path = realpath(path, NULL);
    bool other = real_path && strcmp(real_path, self) && !access(real_path, X_OK);
    free(real_path);
    return other;
}

/* The path of a build of the program, or false when it is not there. */
static bool find(char path[PATH_MAX], const char *program_name, const char *build)
{
    char *self = realpath("/proc/self/exe", NULL);
    const char *slash = self ? strrchr(self, '/') : NULL;
    if (!slash)
        return false;
    int dir = (int)(slash - self);
    bool plain = !strcmp(build, "cpu"); /* installed: ttt-train, ttt-train-cuda */
    bool found = snprintf(path, PATH_MAX, "%.*s/%s%s%s", dir, self, program_name, plain ? "" : "-",
                          plain ? "" : build) < PATH_MAX &&
                 is_other_program(path, self);
    if (!found) /* in the build tree: build/BUILD/bin/ttt-train */
        found = snprintf(path, PATH_MAX, "%.*s/../../%s/bin/%s", dir, self, build, program_name) <
                    PATH_MAX &&
                is_other_program(path, self);
    free(self);
    return found;
}

const char *sibling_builds(void)
{
    static const char *const builds[] = {"cpu", "cuda", "cuda-fp32"};
    static char text[160];
    char path[PATH_MAX];
    bool any = false;
    size_t n = (size_t)snprintf(text, sizeof text,
                                "backend %s%s%s; builds beside this one:", device_kind(),
                                *comm_kind() ? " with " : "", comm_kind());
    for (size_t i = 0; i < sizeof builds / sizeof *builds; i++) {
        if (!strcmp(builds[i], own_build()) || !find(path, program, builds[i]))
            continue;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s %s", any ? "," : "", builds[i]);
        any = true;
    }
    if (!any)
        snprintf(text + n, sizeof text - n, " none");
    return text;
}

int sibling_exec(const char *program_name, char **argv, const char *device, const char *dtype)
{
    bool has_gpu = !access("/dev/nvidia0", F_OK) || !access("/dev/nvidiactl", F_OK);
    bool asked = !strcmp(device, "cuda");
    if (!strncmp(TTT_BUILD, "emulated", 8)) /* a test tool, meant as it is */
        return 0;
    if (asked && !has_gpu)
        return fail("--device=cuda: no NVIDIA GPU is visible (no /dev/nvidia0); --device=cpu runs "
                    "without one");
    bool cuda = asked || (!strcmp(device, "auto") && has_gpu);
    if (!cuda && !strcmp(dtype, "bf16"))
        return fail("--dtype=bf16: the CPU build computes in fp32; bf16 is the cuda build's "
                    "(make cuda), on a machine with a GPU");
    const char *build = !cuda ? "cpu" : strcmp(dtype, "fp32") ? "cuda" : "cuda-fp32";
    if (!strcmp(build, own_build()))
        return 0;
    char path[PATH_MAX];
    if (find(path, program_name, build)) {
        execv(path, argv);
        return fail("%s: %s", path, strerror(errno));
    }
    if (asked || strcmp(own_build(), "cpu") || !strcmp(dtype, "bf16"))
        return fail("--device=%s --dtype=%s: needs the %s build of %s, which does not lie beside "
                    "this one; make %s builds it",
                    device, dtype, build, program_name, build);
    say("a GPU is there, but no %s build of this program (make %s): running on the CPU", build,
        build);
    return 0;
}

int sibling_exec_ranks(const char *program_name, char **argv, int ranks)
{
    char path[PATH_MAX], *self = realpath("/proc/self/exe", NULL);
    const char *slash = self ? strrchr(self, '/') : NULL;
    if (ranks == 1 || *comm_kind()) {
        free(self);
        return 0;
    }
    bool there = slash && !strcmp(device_kind(), "cpu") &&
                 snprintf(path, PATH_MAX, "%.*s/%s-mpi", (int)(slash - self), self, program_name) <
                     PATH_MAX &&
                 !access(path, X_OK);
    free(self);
    if (there)
        execv(path, argv);
    if (there)
        return fail("%s: %s", path, strerror(errno));
    return fail(
        "this is one of %d ranks, but the %s build of %s runs one: %s was not there when it "
        "was built",
        ranks, TTT_BUILD, program_name,
        strcmp(device_kind(), "cpu") ? "nccl.h" : "MPI (Debian: libopenmpi-dev)");
}
