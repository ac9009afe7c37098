/* err.c -- the thread's one sentence. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char sentence[1024];

int fail(const char *fmt, ...)
{
    char next[sizeof sentence]; /* the arguments may quote why() */
    va_list args;
    va_start(args, fmt);
    vsnprintf(next, sizeof next, fmt, args);
    va_end(args);
    memcpy(sentence, next, sizeof next);
    return -1;
}

const char *why(void)
{
    return sentence;
}
