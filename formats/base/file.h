/* file.h -- whole files: mapped to read; written beside, synced, renamed into place. */
#ifndef FILE_H
#define FILE_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- reading ------------------------------------------------------------------------------ */

/* A file's bytes, mapped read-only. Zero means closed; closing twice is harmless. An empty file
   maps to bytes == 0 and a valid, unreadable data pointer. */
struct map {
    const uint8_t *data; /* [bytes], owned */
    size_t bytes;
};

must_check int map_open(struct map *m, const char *path); /* why() names path */
void map_close(struct map *m);

/* Read exactly `bytes` from fd at its position; short reads are repeated. Returns the bytes read,
   fewer only at the end of the file, or -1 with why() naming `name`. */
must_check long read_full(int fd, void *data, size_t bytes, const char *name);

/* ---- writing ------------------------------------------------------------------------------ */

/* A file that earns its name by rename. Bytes go to a temporary file in the same directory
   (NAME.part.PID); writer_commit syncs and renames it, writer_abandon removes it. With the path
   "-" bytes go to stdout, with that of a device or a named pipe to there, and commit only flushes.
   Buffered; one thread at a time. */
struct writer {
    int fd;
    uint64_t bytes;    /* put so far */
    uint8_t *buf;      /* owned */
    size_t held;       /* bytes in buf not yet written */
    uint64_t begun;    /* bytes that the disk has been told to write */
    char *path, *part; /* owned; part is NULL where there is no rename */
};

must_check int writer_open(struct writer *w, const char *path);
must_check int writer_put(struct writer *w, const void *data, size_t bytes);
/* Overwrite bytes already put, at `offset`; not for "-". */
must_check int writer_patch(struct writer *w, uint64_t offset, const void *data, size_t bytes);
/* Room on the disk for a file of so many bytes, so that a full one shows now; nothing where the
   file system cannot tell. */
must_check int writer_reserve(struct writer *w, uint64_t bytes);
must_check int writer_commit(struct writer *w); /* on failure the part is removed */
void writer_abandon(struct writer *w);          /* harmless when closed or committed */

/* All of that at once: a file of these bytes, or of a text and the end of its line. */
must_check int file_write(const char *path, const void *data, size_t bytes);
must_check int file_write_text(const char *path, const char *text);

/* The same with a part that outlives the process, NAME.part: it goes on behind its first `bytes`
   bytes, and begins anew with 0. While it is open no other process can open it so: that is refused
   by name. Signals leave it. A device or a pipe is opened as writer_open does. */
must_check int writer_resume(struct writer *w, const char *path, uint64_t bytes);
/* What was put so far is on the disk. */
must_check int writer_sync(struct writer *w);
/* Close it and keep the part for writer_resume, but for what was put since writer_sync; harmless
   when closed. */
void writer_pause(struct writer *w);
/* Let signals remove its part after all. */
void writer_transient(const struct writer *w);
/* writer_resume from the beginning, and writer_transient: as writer_open, but a second process that
   writes the same is refused. */
must_check int writer_open_alone(struct writer *w, const char *path);

/* From now on SIGINT, SIGTERM, SIGHUP and SIGPIPE remove the parts of open writers and then end
   the program as the signal would. For tools; the trainer handles its own signals. */
void writer_clean_on_signals(void);

/* Make directories as `mkdir -p` does. */
must_check int make_dirs(const char *path);
/* fsync the directory that holds path, so that a rename survives a power cut. */
must_check int sync_parent(const char *path);

/* ---- bytes -------------------------------------------------------------------------------- */

static inline uint16_t le16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t le32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t le64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#    error "ttt reads and writes little-endian files by memcpy: this host is big-endian"
#endif

#endif
