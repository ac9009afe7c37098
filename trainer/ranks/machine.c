/* machine.c -- on what a program that is not ttt-train runs: its flags for device, threads, ranks.
 */
#include "machine.h"
#include "report.h"
#include "sibling.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

char **machine_arguments(int argc, char **argv)
{
    size_t bytes = sizeof *argv * ((size_t)argc + 1);
    char **given = malloc(bytes);
    if (!given)
        die("out of memory");
    memcpy(given, argv, bytes);
    return given;
}

void machine_check(const struct machine *m)
{
    if (m->threads < 0 || m->threads > 4096)
        misuse("--threads=%" PRId64 ": expected 0 to 4096", m->threads);
}

void machine_enter(const struct machine *m, const struct program *p, char **given,
                   struct team *team)
{
    if (sibling_exec(p->name, given, m->device, m->dtype) ||
        sibling_exec_ranks(p->name, given, team->ranks.count) || team_meet(team, m->comm_timeout_s))
        die("%s", why());
    free(given);
}
