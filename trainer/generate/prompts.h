/* prompts.h -- the texts to go on from: as given, from a file of lines, or JSON lines. */
#ifndef PROMPTS_H
#define PROMPTS_H

#include "err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* Where prompts come from, one after another. Zero means closed. */
struct prompts {
    const char *const *given; /* [count], borrowed; "-" stands for all of standard input */
    int count, next;
    FILE *file; /* lines after those, or NULL */
    char path[4096];
    bool json; /* the lines are objects with the member "prompt" or "text" */
    size_t line;
};

/* A prompt. Zero means closed. */
struct prompt {
    char *text; /* [bytes], owned */
    size_t bytes;
    json_t *record;   /* of JSON lines: the whole object, owned; else NULL */
    char place[4200]; /* for sentences: "prompts.txt, line 3" */
};

/* path: a file of lines, "-" standard input, or NULL. */
must_check int prompts_open(struct prompts *p, const char *const *given, int count,
                            const char *path, bool json);
void prompts_close(struct prompts *p); /* harmless when closed */

/* The next prompt, UTF-8: 1, or 0 at the end; -1 with why(). Empty lines are prompts too. */
must_check int prompts_next(struct prompts *p, struct prompt *one);
void prompt_close(struct prompt *one); /* harmless when closed */

#endif
