/* ask_edit.c -- a line from a person at a terminal, edited, with a history, by libedit. */
#include "ask.h"
#include "file.h"

#include <editline/readline.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

enum { REMEMBERED = 1000 };

/* The history's file, or false when there is no place for it. */
static bool find_history(char path[PATH_MAX])
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n;
    if (state && *state == '/')
        n = snprintf(path, PATH_MAX, "%s/ttt", state);
    else if (home && *home)
        n = snprintf(path, PATH_MAX, "%s/.local/state/ttt", home);
    else
        return false;
    if (n >= PATH_MAX - 16 || make_dirs(path))
        return false;
    strcpy(path + n, "/history");
    return true;
}

void ask_begin(void)
{
    char path[PATH_MAX];
    setlocale(LC_CTYPE, "");
    using_history();
    stifle_history(REMEMBERED);
    if (find_history(path))
        read_history(path);
}

char *ask_line(const char *prompt)
{
    char *line = readline(prompt);
    if (line && *line)
        add_history(line);
    return line;
}

void ask_end(void)
{
    char path[PATH_MAX];
    if (find_history(path))
        write_history(path);
}
