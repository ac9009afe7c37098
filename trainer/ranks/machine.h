/* machine.h -- on what a program that is not ttt-train runs: its flags for device, threads, ranks.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include "flags.h"
#include "team.h"

/* As given. */
struct machine {
    const char *device, *dtype, *mesh_dim;
    int64_t threads;
    double comm_timeout_s;
};

#define MACHINE_DEFAULT                  \
    {                                    \
        "auto", "auto", "-1,1,1", 0, 600 \
    }

/* Entries of a flag table, for `struct machine m`; shares: what ranks along dp and fsdp share out.
 */
/* clang-format off */
#define MACHINE_FLAGS(m, shares) \
    {FLAG_GROUP, .name = "machine"}, \
    {FLAG_CHOICE, 0, "device", &(m).device, "auto|cpu|cuda", \
     "auto: a GPU where one is visible and a CUDA build lies beside this program"}, \
    {FLAG_CHOICE, 0, "dtype", &(m).dtype, "auto|fp32|bf16", \
     "what activations are stored as; auto: fp32 on the CPU, bf16 on a GPU"}, \
    {FLAG_INT, 0, "threads", &(m).threads, "N", "CPU threads; 0: all"}, \
    {FLAG_TEXT, 0, "mesh_dim", &(m).mesh_dim, "DP,FSDP,MP", \
     "ranks along each axis, of which one may be -1, what is left: those of dp and\n" \
     "fsdp share " shares ", and mp splits each layer"}, \
    {FLAG_NUMBER, 0, "comm_timeout", &(m).comm_timeout_s, "SECONDS", \
     "end when a rank has been silent or has stood still for so long"}, \
    {FLAG_ON, 'q', "quiet", &quiet, NULL, "tell only of trouble"}
/* clang-format on */

/* The arguments as main got them, for flags_parse moves them. Ends the program where memory is
   short. */
char **machine_arguments(int argc, char **argv);

/* Misuse ends the program. */
void machine_check(const struct machine *m);

/* Hand over to the build that the machine asks for, if that is another one, with the arguments
   given; else free those and meet the other ranks of team->mesh. Ends the program where either
   fails. */
void machine_enter(const struct machine *m, const struct program *p, char **given,
                   struct team *team);

#endif
