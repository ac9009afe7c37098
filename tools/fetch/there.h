/* there.h -- whether a file here is an object already, and the note that makes the answer quick. */
#ifndef THERE_H
#define THERE_H

#include "err.h"
#include "object.h"

#include <signal.h>

/* A file that was proved carries a note in the extended attribute user.ttt-fetch: the object's
   version and checksum, which bytes of it the file holds and whether unpacked, and the file's size
   and time of change. Where the file system keeps none, or the file was touched, a file of the
   whole object as it is stored is read and its checksum computed; others are fetched again. */

/* 1: o->path is what o asks for, by its note or by size and crc32c; 0: it is not, or not there; -1
   with why(), also after an interruption. rehash: believe no note. */
must_check int there_is(const struct object *o, bool rehash,
                        const volatile sig_atomic_t *interrupted);

/* Leave the note on the open file of the finished object; a file system without notes is no error.
 */
void there_note(int fd, const struct object *o);

#endif
