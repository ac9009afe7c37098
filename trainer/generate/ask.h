/* ask.h -- a line from a person at a terminal.

   Where libedit is, with its editing and a history kept in $XDG_STATE_HOME/ttt/history
   (~/.local/state/ttt/history); else as the terminal gives it. */
#ifndef ASK_H
#define ASK_H

/* Begin: the history is read. */
void ask_begin(void);

/* The line without its end, the caller's to free, or NULL at the end of input. The prompt goes to
   the terminal. */
char *ask_line(const char *prompt);

/* The history is written; a failure is of no account. */
void ask_end(void);

#endif
