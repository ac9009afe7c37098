/* sources.h -- from what a user names to objects: patterns, folders, listings of any length. */
#ifndef SOURCES_H
#define SOURCES_H

#include "object.h"
#include "remote.h"

#include <stdbool.h>

/* Who wants the objects. */
struct sources {
    const struct remote *remote;
    bool recursive; /* folders stand for all that is below them */
    bool list;      /* a folder stands for what is directly in it; folders are told, not omitted */
    /* The next name: 1, and it is the callee's to free; 0: no more; -1 with why() for a bad one. */
    int (*next)(void *self, char **name);
    void *next_self;
    /* An object, complete but for its path, which the callee may take by zeroing; `relative` is
       where it goes below a folder. -1 with why() ends everything. */
    int (*found)(void *self, struct object *o, const char *relative);
    void (*folder)(void *self, const char *url); /* for list; "gs://bucket/folder/" */
    void (*failed)(void *self);                  /* a source failed, with why() */
    void *self;

    uint64_t matched; /* of the present source: private */
};

/* Find the objects of each name; few names are held at a time, whatever their number. -1 with why()
   where going on makes no sense: `found` failed, or the server refuses project, credentials or
   rights. */
must_check int sources_expand(struct sources *s);

/* Whether the text has a character that makes it a pattern. */
bool source_is_pattern(const char *source);

#endif
