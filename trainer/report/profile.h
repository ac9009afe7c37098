/* profile.h -- where the time of a step goes: spans of operations, of stages, of whole steps.

   A stage is what a step does with a layer, or with none, and lasts until the next one begins or
   the step ends; operations lie in stages. Times are the device's (device_mark), so that nothing
   waits for a span. What is recorded is the process's own, as the operations are. Outside a step
   that is timed nothing here does anything. */
#ifndef PROFILE_H
#define PROFILE_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>

void profile_step_begin(int64_t step);
/* done: false for a step that was given up, of which nothing is told. */
void profile_step_end(bool done);

/* layer -1: none. name lives as long as the process. */
void profile_stage(const char *name, int layer);

/* Whether a step is being timed. */
bool profile_is_on(void);

/* An operation: false where it is not to be timed, no step or another operation being under way;
   else its end has to be told, and what it did: floating-point operations, and bytes of the arrays
   that it read and wrote; 0 for unknown. */
bool profile_op_begin(const char *name);
void profile_op_end(double flop, double bytes);

/* Whether a step was timed, or was to be and could not. */
bool profile_has_news(void);

/* Then: write DIR/profile.txt, a table of the operations, and DIR/trace.json, all spans in the
   trace event format of Chrome, for chrome://tracing and ui.perfetto.dev. machine: a line for
   people. */
must_check int profile_write(const char *dir, const char *machine);
void profile_close(void); /* forget all of it */

#endif
