/* flags.h -- one table per program is its parser, its --help, its manual and its config file. */
#ifndef FLAGS_H
#define FLAGS_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum flag_kind {
    FLAG_END,
    FLAG_GROUP,  /* a heading in --help: name is its text */
    FLAG_ON,     /* bool: --x, --x=true|false|1|0, --no-x */
    FLAG_INT,    /* int64_t: strict decimal, underscores allowed */
    FLAG_SIZE,   /* int64_t, not negative: 64M, 2G, 512K are powers of 1024 */
    FLAG_NUMBER, /* double, finite */
    FLAG_TEXT,   /* const char * */
    FLAG_CHOICE, /* const char *: one of choices, "a|b|c" */
    FLAG_LIST,   /* struct flag_list: may be given again and again */
};

struct flag_list {
    const char **items; /* [count], owned by the process; the texts are argv's */
    int count;
};

struct flag {
    enum flag_kind kind;
    char letter;         /* 0: none */
    const char *name;    /* without dashes; dots allowed: optimizer.adamw_optimizer.lr */
    void *value;         /* what the kind says; its content on entry is the default */
    const char *operand; /* "FILE" in --help; for FLAG_CHOICE the choices "a|b|c" */
    const char *help;    /* one or two sentences; '\n' breaks lines; "" hides the default */
    bool given;          /* set by the parser */
};

/* What a program says of itself. */
struct program {
    const char *name;            /* "ttt-pack" */
    const char *operands;        /* "IN.tok...", or NULL when there are none */
    const char *purpose;         /* one paragraph */
    const char *examples;        /* lines of shell, or NULL */
    struct flag *flags;          /* ends with {0} */
    const char *(*builds)(void); /* --version tells it too, a line of its own; or NULL */
};

/* Parse argv. Flags and operands may be mixed; "--" ends flags; "-" is an operand. Values come as
   --name=value, --name value, -n value or -nvalue; several letters of kind FLAG_ON may be joined.
   Returns the operands, NULL-terminated (argv's own array, reordered) with their number in
   *operand_count (may be NULL). --help prints to stdout and exits 0, --version likewise; a bad
   flag prints one sentence with the nearest name and exits 2. */
char **flags_parse(int argc, char **argv, const struct program *p, int *operand_count);

/* One sentence on stderr, a pointer to --help, exit status 2. */
_Noreturn void misuse(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Give one flag its value from text, as a line of a config file does. -1 with why(). */
must_check int flag_set(struct flag *f, const char *text);

/* Every flag as "--name=value", one a line, in the table's order; the text restores the run. A line
   that begins with a blank is the next line of the value before, without that blank. */
void flags_write(const struct program *p, FILE *to);

/* The value as flags_write prints it, into buf; returns buf. */
char *flag_text(const struct flag *f, char *buf, size_t bytes);

/* The entry called `name`, or NULL; dashes and underscores are one. */
struct flag *flag_find(const struct program *p, const char *name);

/* The nearest of `count` names to a misspelt one, or NULL when none is near. */
const char *nearest(const char *wrong, const char *const *names, int count);

#endif
