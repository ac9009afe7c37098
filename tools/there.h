/* there.h -- whether a file here is an object already, and the note that makes the answer quick. */
#ifndef THERE_H
#define THERE_H

#include "err.h"
#include "object.h"

/* A file that was proved carries a note in the extended attribute user.ttt-fetch: the object's
   version and checksum, and the file's size and time of change. Where the file system keeps none,
   or the file was touched, the file is read and its checksum computed. */

/* 1: o->path is the object, by size and crc32c; 0: it is not, or not there; -1 with why().
   rehash: believe no note. Sets *read to the bytes that had to be read for it. */
must_check int there_is(const struct object *o, bool rehash, uint64_t *read);

/* Leave the note on the open file of the finished object; a file system without notes is no error.
 */
void there_note(int fd, const struct object *o);

#endif
