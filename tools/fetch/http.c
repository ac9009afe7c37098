/* http.c -- HTTP calls over many connections at once: ranges, deadlines, retries with jitter. */
#include "http.h"
#include "http_passing.h"
#include "report.h"
#include "transport.h"
#include "version.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum {
    MAX_ERROR_BYTES = 64 << 10, /* of the body of an error */
    MAX_TEXT_BYTES = 32 << 20,  /* of an answer that is kept */
    PROGRESS_BYTES = 64 << 10,  /* further than ever: the next failure is the first in a row */
    MAX_WAIT_S = 32,
    TELL_FROM = 5, /* in a row: people wonder why nothing moves */
    MAX_RETRY_AFTER_S = 600,
    STALL_BYTES = 1024, /* a second: slower is stalled */
};

/* What a call has while it is under way. */
struct http_private {
    CURL *easy;
    struct curl_slist *headers;
    struct http *owner;
    struct http_call *call;
    struct http_private *next;
    char *token; /* of this attempt, owned */
    char error[CURL_ERROR_SIZE];
    char curls[CURL_ERROR_SIZE]; /* libcurl's own sentence, for what has none of ours */

    double due_s;     /* of the next attempt; 0: under way */
    double paused_s;  /* since when, until there is an allowance; 0: not */
    double watched_s; /* since when the connection is watched for a stall */
    uint64_t came;    /* bytes since then */
    uint64_t reach;   /* how far the call has come at most, of [from, to) */
    size_t text_room;
    bool head_done; /* the head was judged */
    bool taken;     /* and found good: bytes go to body */
    bool broken;    /* the caller ended it; why() was put into error */
    bool unusable;  /* the head was found wrong: to be asked again */
    bool renewed;   /* a 401 has already led to another token */
};

/* ---- chance ------------------------------------------------------------------------------- */

/* Uniform in [0, 1): many machines that were refused together must not come back together. */
static double chance(void)
{
    uint32_t v;
    if (getrandom(&v, sizeof v, 0) != sizeof v)
        v = (uint32_t)(now_s() * 1e6) * 2654435761u;
    return v / 4294967296.0;
}

static double wait_of(const struct http *h, const struct http_call *c)
{
    if (c->head.retry_after >= 0 && c->head.status >= 400)
        return (c->head.retry_after < MAX_RETRY_AFTER_S ? c->head.retry_after : MAX_RETRY_AFTER_S) +
               chance() * h->retry_delay_s;
    double most = h->retry_delay_s * (double)(1u << (c->tried < 20 ? c->tried : 20));
    return chance() * (most < MAX_WAIT_S ? most : MAX_WAIT_S);
}

/* ---- the rate ----------------------------------------------------------------------------- */

/* libcurl limits each transfer; the limit here is for all of them: who comes when the allowance is
   used up is paused until there is one again. */

/* Seconds until there is an allowance; 0 when there is one. */
static double allowance_wait(struct http *h)
{
    double now = now_s();
    if (!h->rate)
        return 0;
    double grown = h->allowance + (now - h->allowed_s) * (double)h->rate;
    double most = (double)h->rate / 10;
    h->allowance = h->allowed_s == 0 || grown > most ? most : grown;
    h->allowed_s = now;
    return h->allowance > 0 ? 0 : -h->allowance / (double)h->rate;
}

static void resume_paused(struct http *h)
{
    if (!h->rate || allowance_wait(h) > 0)
        return;
    for (struct http_private *p = h->calls; p; p = p->next) {
        if (!p->paused_s)
            continue;
        p->watched_s += now_s() - p->paused_s;
        p->paused_s = 0;
        curl_easy_pause(p->easy, CURLPAUSE_CONT); /* takes what waits, and may pause again */
    }
}

/* wait_s, or less where a paused call may go on sooner. */
static double rate_wait(struct http *h, double wait_s)
{
    bool paused = false;
    for (struct http_private *p = h->calls; p; p = p->next)
        paused |= p->paused_s != 0;
    double allowed_in_s = paused ? allowance_wait(h) : wait_s;
    return allowed_in_s < wait_s ? allowed_in_s : wait_s;
}

/* ---- stalls ------------------------------------------------------------------------------- */

/* libcurl's own limit looks at a mean of several seconds, and at a paused connection not at all.
   Here only the time counts in which a connection might have brought something. */

static void watch(struct http_private *p)
{
    p->came = 0;
    p->watched_s = now_s();
}

static bool is_stalled(const struct http_private *p, double now)
{
    curl_off_t connected_us = 0; /* until then the deadline to connect counts */
    if (p->due_s || p->paused_s || now - p->watched_s < p->owner->timeout_s)
        return false;
    curl_easy_getinfo(p->easy, CURLINFO_PRETRANSFER_TIME_T, &connected_us);
    return connected_us != 0;
}

/* ---- what comes in ------------------------------------------------------------------------ */

static size_t head_line(char *line, size_t size, size_t n, void *self)
{
    struct http_private *p = self;
    http_head_line(&p->call->head, line, size * n, (int64_t)time(NULL));
    return size * n;
}

static int keep_text(struct http_private *p, const void *data, size_t bytes, size_t most)
{
    struct http_call *c = p->call;
    if (bytes > most || c->text_bytes > most - bytes)
        return fail("an answer of more than %zu bytes", most);
    if (c->text_bytes + bytes + 1 > p->text_room) {
        size_t room = 2 * (c->text_bytes + bytes) + 4096;
        char *wider = realloc(c->text, room);
        if (!wider)
            return fail("out of memory");
        c->text = wider;
        p->text_room = room;
    }
    memcpy(c->text + c->text_bytes, data, bytes);
    c->text_bytes += bytes;
    c->text[c->text_bytes] = 0;
    return 0;
}

static int range_is_right(struct http_call *c)
{
    const struct http_head *h = &c->head;
    if (h->status == 200 && c->whole) {
        if (h->length >= 0 && (uint64_t)h->length != c->to)
            return fail("the server sends %" PRId64 " bytes for an object of %" PRIu64, h->length,
                        c->to);
        return 0;
    }
    if (h->status != 206)
        return fail("the server answered a range with status %d and the whole object", h->status);
    if (!h->has_range || h->from != c->from || h->last != c->to - 1)
        return fail("the server answered bytes %" PRIu64 "-%" PRIu64 " with another range (%" PRIu64
                    "-%" PRIu64 ")",
                    c->from, c->to - 1, h->from, h->last);
    if (c->total >= 0 && h->total >= 0 && h->total != c->total)
        return fail("the server says that the object has %" PRId64 " bytes, not %" PRId64, h->total,
                    c->total);
    if (h->length >= 0 && (uint64_t)h->length != c->to - c->from)
        return fail("the server sends %" PRId64 " bytes for a range of %" PRIu64, h->length,
                    c->to - c->from);
    return 0;
}

/* Judge the head once, before its first byte or at its end. -1: nothing may be taken. */
static int judge_head(struct http_private *p)
{
    struct http_call *c = p->call;
    if (p->head_done)
        return p->taken ? 0 : -1;
    p->head_done = true;
    if (c->head.status < 200 || c->head.status > 299)
        return -1;
    if (c->ranged && range_is_right(c)) {
        p->unusable = true;
        snprintf(p->error, sizeof p->error, "%s", why());
        return -1;
    }
    bool restarted = c->ranged && c->head.status == 200 && c->from > 0;
    if (restarted)
        c->from = 0;
    if (c->begin && c->begin(c, restarted)) {
        p->broken = true;
        snprintf(p->error, sizeof p->error, "%s", why());
        return -1;
    }
    p->taken = true;
    return 0;
}

static size_t take_body(char *data, size_t size, size_t n, void *self)
{
    struct http_private *p = self;
    struct http_call *c = p->call;
    size_t bytes = size * n;
    if (p->owner->rate && allowance_wait(p->owner) > 0) {
        p->paused_s = now_s();
        return CURL_WRITEFUNC_PAUSE;
    }
    p->owner->allowance -= (double)bytes;
    p->came += bytes;
    if ((double)p->came >= STALL_BYTES * p->owner->timeout_s)
        watch(p);
    if (judge_head(p)) {
        if (p->broken || p->unusable)
            return CURL_WRITEFUNC_ERROR;
        /* An error's body says why; what is too long of it is left out. */
        (void)!keep_text(p, data, bytes, MAX_ERROR_BYTES);
        return bytes;
    }
    if (c->ranged && bytes > c->to - c->from) {
        p->unusable = true;
        snprintf(p->error, sizeof p->error, "the server sends more bytes than it was asked for");
        return CURL_WRITEFUNC_ERROR;
    }
    if (c->body ? c->body(c, data, bytes) : keep_text(p, data, bytes, MAX_TEXT_BYTES)) {
        p->broken = true;
        snprintf(p->error, sizeof p->error, "%s", why());
        return CURL_WRITEFUNC_ERROR;
    }
    return bytes;
}

/* ---- an attempt --------------------------------------------------------------------------- */

static int add_header(struct http_private *p, const char *header)
{
    struct curl_slist *longer = curl_slist_append(p->headers, header);
    if (!longer)
        return fail("out of memory");
    p->headers = longer;
    return 0;
}

static int add_token(struct http_private *p)
{
    struct http *h = p->owner;
    const char *token = NULL;
    char *header;
    free(p->token);
    p->token = NULL;
    if (h->bearer(h->bearer_self, NULL, &token))
        return -1;
    if (!token)
        return 0;
    p->token = strdup(token);
    if (!p->token || asprintf(&header, "Authorization: Bearer %s", token) < 0)
        return fail("out of memory");
    int status = add_header(p, header);
    free(header);
    return status;
}

static int attempt(struct http_private *p)
{
    struct http_call *c = p->call;
    CURL *e = p->easy;
    char range[48];
    curl_slist_free_all(p->headers);
    p->headers = NULL;
    p->due_s = 0;
    p->head_done = p->taken = p->broken = p->unusable = false;
    p->paused_s = 0;
    watch(p);
    p->error[0] = p->curls[0] = 0;
    c->text_bytes = 0;
    http_head_clear(&c->head);
    curl_easy_reset(e);
    transport_set(e, p->owner, c);
    curl_easy_setopt(e, CURLOPT_URL, c->url);
    char agent[128];
    snprintf(agent, sizeof agent, "ttt-fetch/%s", version_text());
    curl_easy_setopt(e, CURLOPT_USERAGENT, agent); /* copied */
    curl_easy_setopt(e, CURLOPT_PRIVATE, p);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, p->curls);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, head_line);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, p);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, p);
    if (c->post)
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, c->post);
    for (size_t i = 0; i < sizeof c->headers / sizeof *c->headers && c->headers[i]; i++)
        if (add_header(p, c->headers[i]))
            return -1;
    if (c->authorised && p->owner->bearer && add_token(p))
        return -1;
    if (p->headers)
        curl_easy_setopt(e, CURLOPT_HTTPHEADER, p->headers);
    if (c->ranged && !(c->whole && c->from == 0)) {
        snprintf(range, sizeof range, "%" PRIu64 "-%" PRIu64, c->from, c->to - 1);
        curl_easy_setopt(e, CURLOPT_RANGE, range);
    }
    p->owner->requests++;
    if (curl_multi_add_handle(p->owner->multi, e) != CURLM_OK)
        return fail("out of memory");
    return 0;
}

/* ---- its end ------------------------------------------------------------------------------ */

static void release(struct http_private *p)
{
    struct http *h = p->owner;
    struct http_private **at = &h->calls;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    if (p->token)
        explicit_bzero(p->token, strlen(p->token));
    free(p->token);
    p->token = NULL;
    curl_slist_free_all(p->headers);
    p->headers = NULL;
    p->call->its = NULL;
    p->call = NULL;
    p->next = h->idle;
    h->idle = p;
}

static void end(struct http_private *p, int status)
{
    struct http_call *c = p->call;
    release(p);
    c->done(c, status);
}

static void retry(struct http_private *p)
{
    struct http *h = p->owner;
    struct http_call *c = p->call;
    if (c->from >= p->reach + PROGRESS_BYTES) {
        c->tried = 0;
        p->reach = c->from;
    }
    if (c->tried >= h->retries) {
        fail("%s (%d times in a row)", p->error, c->tried + 1);
        end(p, -1);
        return;
    }
    p->due_s = now_s() + wait_of(h, c);
    c->tried++;
    h->retried++;
    if (c->name && (h->tell || c->tried >= TELL_FROM))
        say("%s: %s; again in %.1f s (%d of %d)", c->name, p->error, p->due_s - now_s(), c->tried,
            h->retries);
}

/* Another token for one that was refused, once a call. */
static void renew(struct http_private *p)
{
    struct http *h = p->owner;
    const char *token;
    p->renewed = true;
    if (h->bearer(h->bearer_self, p->token, &token) || attempt(p))
        end(p, -1);
}

static void answered(struct http_private *p)
{
    struct http_call *c = p->call;
    int status = c->head.status;
    if (status >= 200 && status <= 299) {
        if (judge_head(p)) {
            if (p->broken) {
                fail("%s", p->error);
                end(p, -1);
            } else
                retry(p);
        } else if (c->ranged && c->from < c->to) {
            snprintf(p->error, sizeof p->error, "the server sent %" PRIu64 " bytes less than asked",
                     c->to - c->from);
            retry(p);
        } else
            end(p, 0);
        return;
    }
    snprintf(p->error, sizeof p->error, "the server answered with status %d", status);
    if (status == 401 && c->authorised && p->token && !p->renewed)
        renew(p);
    else if (http_status_passes(c))
        retry(p);
    else {
        fail("%s", p->error);
        end(p, -1);
    }
}

static void attempt_ended(struct http_private *p, CURLcode code)
{
    curl_multi_remove_handle(p->owner->multi, p->easy);
    if (code == CURLE_OK && !p->broken && !p->unusable) {
        answered(p);
        return;
    }
    if (!p->error[0])
        snprintf(p->error, sizeof p->error, "%s",
                 p->curls[0] ? p->curls : curl_easy_strerror(code));
    if (!p->broken && (p->unusable || http_error_passes(p->call, code)))
        retry(p);
    else {
        fail("%s", p->error);
        end(p, -1);
    }
}

/* ---- all of them -------------------------------------------------------------------------- */

int http_open(struct http *h)
{
    static bool begun;
    if (!begun && curl_global_init(CURL_GLOBAL_DEFAULT))
        return fail("libcurl cannot start");
    begun = true;
    h->calls = h->idle = NULL;
    h->requests = h->retried = 0;
    h->multi = curl_multi_init();
    if (!h->multi)
        return fail("out of memory");
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)h->connections + 4);
    return 0;
}

void http_close(struct http *h)
{
    while (h->calls)
        http_stop(h, h->calls->call);
    while (h->idle) {
        struct http_private *p = h->idle;
        h->idle = p->next;
        curl_easy_cleanup(p->easy);
        free(p);
    }
    if (h->multi)
        curl_multi_cleanup(h->multi);
    h->multi = NULL;
}

int http_start(struct http *h, struct http_call *c)
{
    struct http_private *p = h->idle;
    if (p)
        h->idle = p->next;
    else if (!(p = calloc(1, sizeof *p)) || !(p->easy = curl_easy_init())) {
        free(p);
        return fail("out of memory");
    }
    *p = (struct http_private){
        .easy = p->easy, .owner = h, .call = c, .next = h->calls, .reach = c->from};
    h->calls = p;
    http_free(c);
    c->tried = 0;
    c->its = p;
    if (!attempt(p))
        return 0;
    release(p);
    return -1;
}

void http_stop(struct http *h, struct http_call *c)
{
    if (!c->its)
        return;
    if (!c->its->due_s)
        curl_multi_remove_handle(h->multi, c->its->easy);
    release(c->its);
}

/* Start what is due; returns the seconds until the next that is not, at most wait_s. */
static double start_due(struct http *h, double wait_s)
{
    double now = now_s();
    for (struct http_private *p = h->calls, *next; p; p = next) {
        next = p->next;
        if (!p->due_s)
            continue;
        if (p->due_s > now) {
            wait_s = p->due_s - now < wait_s ? p->due_s - now : wait_s;
            continue;
        }
        if (attempt(p)) {
            end(p, -1);
            return 0; /* `done` may have changed the list */
        }
    }
    return wait_s;
}

/* Make the calls again whose connection has stalled; whether there was one. */
static bool end_stalled(struct http *h)
{
    bool any = false;
    double now = now_s();
    for (struct http_private *p = h->calls, *next; p; p = next) {
        next = p->next;
        if (!is_stalled(p, now))
            continue;
        curl_multi_remove_handle(h->multi, p->easy);
        snprintf(p->error, sizeof p->error,
                 "the connection has stalled: %" PRIu64 " bytes in %.3g s", p->came,
                 now - p->watched_s);
        retry(p);
        any = true;
        next = h->calls; /* `done` may have changed the list */
    }
    return any;
}

void http_step(struct http *h, double wait_s)
{
    int running, left;
    wait_s = start_due(h, wait_s);
    resume_paused(h);
    curl_multi_perform(h->multi, &running);
    CURLMsg *m = curl_multi_info_read(h->multi, &left);
    bool ended = m != NULL;
    for (; m; m = curl_multi_info_read(h->multi, &left)) {
        struct http_private *p;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&p);
        attempt_ended(p, code);
    }
    if (!end_stalled(h) && !ended)
        curl_multi_poll(h->multi, NULL, 0, (int)(rate_wait(h, wait_s) * 1000) + 1, NULL);
}

bool http_is_interrupted(const struct http *h)
{
    return h->interrupted && *h->interrupted;
}

void http_wake(struct http *h)
{
    curl_multi_wakeup(h->multi);
}

struct outcome {
    bool ended;
    int status;
};

static void note_end(struct http_call *c, int status)
{
    *(struct outcome *)c->self = (struct outcome){true, status};
}

int http_run(struct http *h, struct http_call *c)
{
    struct outcome o = {0};
    c->self = &o;
    c->done = note_end;
    if (http_start(h, c))
        return -1;
    while (!o.ended && !http_is_interrupted(h))
        http_step(h, 1);
    if (o.ended)
        return o.status;
    http_stop(h, c);
    return fail("interrupted");
}

void http_free(struct http_call *c)
{
    free(c->text);
    c->text = NULL;
    c->text_bytes = 0;
}
