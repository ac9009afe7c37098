/* ask_plain.c -- a line from a person at a terminal, as the terminal gives it. */
#include "ask.h"

#include <stdio.h>
#include <stdlib.h>

void ask_begin(void) {}

char *ask_line(const char *prompt)
{
    char *line = NULL;
    size_t room = 0;
    fputs(prompt, stdout);
    fflush(stdout);
    ssize_t n = getline(&line, &room, stdin);
    if (n < 0) {
        free(line);
        return NULL;
    }
    if (n > 0 && line[n - 1] == '\n')
        line[n - 1] = 0;
    return line;
}

void ask_end(void) {}
