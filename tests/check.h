/* check.h -- everything a test program needs: cases are counted, a failure prints its place.

   A program's last line is "N passed, N failed", with ", N skipped" when some were. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>

static int check_passed, check_failed, check_skipped;
static int check_failures_here; /* CHECKs failed since case_begin */
static const char *check_case = "";

/* Note a failed condition; the case goes on. */
#define CHECK(cond)                                                                    \
    do {                                                                               \
        if (!(cond)) {                                                                 \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, check_case, #cond); \
            check_failures_here++;                                                     \
        }                                                                              \
    } while (0)

static inline void case_begin(const char *name)
{
    check_case = name;
    check_failures_here = 0;
}

/* Count the case; `note` (may be "") follows its name on the line. Returns whether it passed. */
static inline int case_end(const char *note)
{
    int ok = check_failures_here == 0;
    ok ? check_passed++ : check_failed++;
    printf("%s %s%s%s\n", ok ? "ok  " : "FAIL", check_case, *note ? "  " : "", note);
    fflush(stdout);
    return ok;
}

static inline void case_skip(const char *name, const char *reason)
{
    check_skipped++;
    printf("skip %s  %s\n", name, reason);
}

/* The closing line; the program's exit status. A program that ran nothing has failed. */
static inline int check_finish(void)
{
    printf("%d passed, %d failed", check_passed, check_failed);
    if (check_skipped)
        printf(", %d skipped", check_skipped);
    printf("\n");
    return check_failed != 0 || check_passed + check_skipped == 0;
}

#endif
