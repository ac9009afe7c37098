/* sibling.h -- one name, several builds: hand over to the build of this program that the machine
   and the flags call for. */
#ifndef SIBLING_H
#define SIBLING_H

#include "err.h"

/* Run the right build in this process's place, with the same arguments, when that is another one.
   Returns 0 when this build is the one, or the best there is (said why); -1 with why() when
   what is asked for is not there.

   program: "ttt-train"; argv: as main got it, before flags_parse; device: "auto", "cpu" or "cuda";
   dtype: "auto", "fp32" or "bf16". Builds lie beside this one, as make install and make put
   them. */
must_check int sibling_exec(const char *program_name, char **argv, const char *device,
                            const char *dtype);

/* The same where this process is one of several ranks and the program carries nothing between
   them: hand over to "ttt-train-mpi", which does. */
must_check int sibling_exec_ranks(const char *program_name, char **argv, int ranks);

/* "backend cpu; builds beside this one: cuda, cuda-fp32": for --version. program_name is the one
   that flags_parse has set. Static. */
const char *sibling_builds(void);

#endif
