/* http.h -- HTTP calls over many connections at once: ranges, deadlines, retries with jitter. */
#ifndef HTTP_H
#define HTTP_H

#include "err.h"
#include "http_head.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One call: what the caller wants, until `done` is called. The storage is the caller's and stays
   where it is meanwhile. A call that fails for a passing reason (408, 429, 500, 502, 503, 504, a
   rate limit's 403, a broken or stalled connection, a short body, an answer to another range than
   asked) is made again after a random part of retry_delay_s * 2^k, at most 32 s, or of what
   Retry-After says; a ranged one goes on behind the last byte that `body` took. */
struct http_call {
    const char *url;        /* borrowed */
    const char *name;       /* for sentences about retries, or NULL; borrowed */
    const char *post;       /* body of a POST, or NULL for a GET; borrowed */
    const char *headers[3]; /* "Name: value", NULL for fewer; borrowed */
    bool authorised;        /* with the token of http.bearer, renewed after a 401 */
    bool direct;            /* by no proxy */

    /* A ranged call wants bytes [from, to) of an object of `total` bytes (-1: unknown); `body`
       moves `from`. Where `whole`, a 200 is good too: it starts at byte 0 and `begin` is told. */
    bool ranged, whole;
    uint64_t from, to;
    int64_t total;

    /* The head is there and good, before the first byte; may be NULL. restarted: a 200 came where
       bytes behind the first were asked for; from is 0 now. -1 with why() ends the call. */
    int (*begin)(struct http_call *c, bool restarted);
    /* Bytes of the answer. -1 with why() ends the call. NULL: they are kept in text. */
    int (*body)(struct http_call *c, const void *data, size_t bytes);
    /* The end: 0, or -1 with why(). head.status tells 401, 404, 412; 0 when no answer came. */
    void (*done)(struct http_call *c, int status);
    void *self;

    struct http_head head;
    char *text; /* NUL-terminated: the answer without `body`, or an error's; owned by the call */
    size_t text_bytes;
    int tried; /* failures in a row */
    struct http_private *its;
};

struct http {
    /* set by the caller before http_open */
    int retries;          /* in a row, before a call fails */
    double retry_delay_s; /* 1: the first wait is up to one second */
    double timeout_s;     /* to connect, and without progress */
    int64_t rate;         /* bytes a second over all calls; 0: unlimited */
    int connections;      /* how many calls at a time are expected */
    bool tell;            /* say why a named call is made again, from the first time on */
    const volatile sig_atomic_t *interrupted; /* ends http_run; may be NULL */
    /* The token for an authorised call, or NULL text for none; `refused` is the one that a server
       answered with 401, or NULL. -1 with why(). */
    int (*bearer)(void *self, const char *refused, const char **token);
    void *bearer_self;

    /* read by the caller */
    uint64_t requests, retried;
    double allowance, allowed_s; /* bytes that may come in at once, and when that was so */
    void *multi;
    struct http_private *calls, *idle;
};

must_check int http_open(struct http *h);
void http_close(struct http *h); /* ends what is under way without `done`; harmless when closed */

must_check int http_start(struct http *h, struct http_call *c);
/* End a call without `done`; harmless when it is not under way. */
void http_stop(struct http *h, struct http_call *c);
/* Move all calls on, waiting at most wait_s for something to happen. */
void http_step(struct http *h, double wait_s);
bool http_is_interrupted(const struct http *h);
/* End the waiting of an http_step; from any thread. */
void http_wake(struct http *h);
/* Make one call and wait for its end, or for an interruption; `done` is not used. */
must_check int http_run(struct http *h, struct http_call *c);
/* Free text. */
void http_free(struct http_call *c);

#endif
