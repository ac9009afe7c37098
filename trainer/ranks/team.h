/* team.h -- the ranks that run one program together: how they begin, what they tell each other, and
   how they end. With one rank nothing of it does anything. */
#ifndef TEAM_H
#define TEAM_H

#include "flags.h"
#include "mesh.h"
#include "peers.h"

/* Zero means closed. */
struct team {
    struct ranks ranks;
    char name[64]; /* "ttt-eval rank 3": how this rank is called in what it says */
    struct mesh mesh;
    struct peers peers;
    double *sums; /* on the device, owned: what ranks add up; NULL with one rank */
};

/* The first thing a program does: find which rank it is. From now on its sentences tell. Ends the
   program where the environment contradicts itself. */
void team_find(struct team *t, const char *program_name);

/* The flags have been read: only rank 0 speaks of what goes well, and standard output is its. */
void team_speak(struct team *t);

/* t->mesh by --mesh_dim, and --comm_timeout looked at; misuse ends the program (flags.h). */
void team_shape(struct team *t, const char *mesh_dim, double timeout_s);

/* Meet the others, as the ranks of t->mesh. -1 with why(), as from the next. */
must_check int team_meet(struct team *t, double timeout_s);

/* That all run the same program with the same flags. On every rank -1 with a sentence naming the
   first that differs. */
must_check int team_agree(struct team *t, const struct program *p);

/* The device is open: begin to watch the others, and join the collectives. */
must_check int team_join(struct team *t);
void team_close(struct team *t); /* harmless when closed */

/* A failure of one rank is the end of all: print why() and tell it to them. */
_Noreturn void team_die(struct team *t);

bool team_is_alone(const struct team *t);
/* The rank that speaks and writes for all. */
bool team_is_first(const struct team *t);

/* ---- after team_join; every rank calls the same -------------------------------------------- */

/* x[i] = the sum over all ranks; count at most TEAM_SUMS. */
enum { TEAM_SUMS = 16 };
must_check int team_sum(struct team *t, double *x, int count);

/* x[i] = rank 0's; count at most TEAM_SUMS. */
must_check int team_share(struct team *t, double *x, int count);

/* *x = the smallest of all ranks'. */
must_check int team_least(struct team *t, double *x);

/* The lowest rank that says so, or -1; and the text that this one then has, on every rank. */
must_check int team_first_of(struct team *t, bool so, char *text, size_t bytes, int *rank);

/* status of the lowest rank where it is not 0: on every rank -1 with that one's why(). */
must_check int team_status(struct team *t, int status);

/* That all ranks say the same of what they call `name`. */
must_check int team_same(struct team *t, const char *name, const char *text);

/* Whether the device and the collectives are well. -1 with why(). */
must_check int team_sound(struct team *t);

#endif
