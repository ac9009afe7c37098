/* err.h -- one sentence saying why, kept per thread. */
#ifndef ERR_H
#define ERR_H

#define must_check __attribute__((warn_unused_result))

/* Record the sentence and return -1, so that an error reads `return fail(...)`.
   The arguments may quote why(). Sentences longer than 1023 bytes are cut. */
int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The last sentence fail() recorded on this thread; never NULL. A worker thread hands its
   sentence back with its result: copy it before the thread ends. */
const char *why(void);

#endif
