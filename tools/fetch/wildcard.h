/* wildcard.h -- patterns of object names, with the meaning that gsutil gives them. */
#ifndef WILDCARD_H
#define WILDCARD_H

#include <stdbool.h>
#include <stddef.h>

/* Whether all of text matches the pattern. `*` stands for any run within a level, that is without
   a slash, `**` for any run, `?` for one character but a slash, `[ab0-9]` for one of a set and
   `[!ab]` for one outside of it, never a slash; a bracket that is not closed is itself.
   A character is one of UTF-8. */
bool wildcard_match(const char *pattern, const char *text);

/* Bytes before the first of the characters that make a pattern one; all of them where none does. */
size_t wildcard_literal(const char *pattern);

/* For --include and --exclude: a pattern with a slash is held against the whole path, another
   against its last part. */
bool wildcard_picks(const char *pattern, const char *path);

#endif
