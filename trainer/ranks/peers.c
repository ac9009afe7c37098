/* peers.c -- what the ranks of a run say to each other beside the arrays: meeting, agreeing. */
#include "peers.h"
#include "peers_wire.h"
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_alone(const struct peers *p)
{
    return p->ranks.count <= 1;
}

static bool is_first(const struct peers *p)
{
    return p->ranks.rank == 0;
}

/* ---- meeting ------------------------------------------------------------------------------- */

/* What a rank says when it comes. */
struct hello {
    char magic[8], token[128], host[64];
    uint32_t rank, count, process;
};

static const char MAGIC[8] = "ttt-run1";

static void greet(struct hello *h, const struct ranks *r)
{
    memset(h, 0, sizeof *h);
    memcpy(h->magic, MAGIC, sizeof MAGIC);
    snprintf(h->token, sizeof h->token, "%s", r->token);
    h->rank = (uint32_t)r->rank;
    h->count = (uint32_t)r->count;
    h->process = (uint32_t)getpid();
    if (gethostname(h->host, sizeof h->host - 1))
        snprintf(h->host, sizeof h->host, "?");
}

static void meet(struct peer *to, const struct hello *h, int fd)
{
    *to = (struct peer){.fd = fd, .heard_s = now_s(), .moved_s = now_s()};
    snprintf(to->name, sizeof to->name, "rank %u (%.60s, process %u)", h->rank, h->host,
             h->process);
}

/* Why who said this is none of ours; NULL when it is one. */
static const char *doubt(const struct peers *p, const struct hello *h)
{
    const struct ranks *r = &p->ranks;
    if (memcmp(h->magic, MAGIC, sizeof MAGIC))
        return "it did not speak as a rank does";
    if (memcmp(h->token, r->token, strnlen(r->token, sizeof r->token) + 1))
        return "its job token was another (TTT_JOB_TOKEN)";
    if (h->count != (uint32_t)r->count || h->rank == 0 || h->rank >= h->count)
        return "it was started as one of another number of ranks";
    return p->peer[h->rank].fd >= 0 ? "its rank had come before" : NULL;
}

/* A process that has connected: one of ours, or nobody, and then why. */
static const char *let_in(struct peers *p, int fd, double deadline_s)
{
    struct hello h;
    const char *trouble =
        wire_get(fd, &h, sizeof h, deadline_s) ? "it did not speak as a rank does" : doubt(p, &h);
    char answer = !trouble;
    if (!trouble) {
        h.host[sizeof h.host - 1] = 0;
        meet(&p->peer[h.rank], &h, fd);
    }
    (void)!wire_put(fd, &answer, 1, deadline_s);
    if (trouble)
        close(fd);
    return trouble;
}

/* The ranks that have not come, as "ranks 2, 5", for people; and why someone else was turned away,
   or NULL. */
static int missing(const struct peers *p, const char *away)
{
    char list[256] = "";
    int n = 0, shown = 0;
    for (int i = 1; i < p->ranks.count; i++) {
        if (p->peer[i].fd >= 0)
            continue;
        n++;
        size_t at = strlen(list);
        if (shown < 20 && at < sizeof list - 16) {
            snprintf(list + at, sizeof list - at, "%s%d", *list ? ", " : "", i);
            shown++;
        }
    }
    return fail("rank%s %s%s of %d did not come to %s port %d within %.0f s%s%s", n > 1 ? "s" : "",
                list, shown < n ? ", ..." : "", p->ranks.count, p->ranks.address, p->ranks.port,
                p->timeout_s, away ? "; a process that came was turned away: " : "",
                away ? away : "");
}

static int receive_all(struct peers *p, double deadline_s)
{
    struct hello self;
    int listener = wire_listen(&p->ranks.port), fd;
    if (listener < 0)
        return -1;
    greet(&self, &p->ranks);
    meet(&p->peer[0], &self, -1);
    const char *away = NULL;
    int here = 1;
    while (here < p->ranks.count && (fd = wire_accept(listener, deadline_s)) >= 0) {
        /* A stranger that says nothing must not keep the others waiting. */
        const char *trouble = let_in(p, fd, now_s() + 5 < deadline_s ? now_s() + 5 : deadline_s);
        away = trouble ? trouble : away;
        here = 1;
        for (int i = 1; i < p->ranks.count; i++)
            here += p->peer[i].fd >= 0;
    }
    close(listener);
    return here == p->ranks.count ? 0 : missing(p, away);
}

/* Rank 0 may have had to take a port further on, and what answers at one may be another job. */
static int come(struct peers *p, double deadline_s)
{
    struct hello self, first = {.host = ""};
    bool turned_away = false;
    greet(&self, &p->ranks);
    for (int turn = 0; now_s() < deadline_s; turn++) {
        int fd = wire_connect(p->ranks.address, p->ranks.port + turn % WIRE_PORTS);
        char answer = 0;
        bool answered = fd >= 0 && !wire_put(fd, &self, sizeof self, deadline_s) &&
                        !wire_get(fd, &answer, 1, deadline_s);
        if (answered && answer) {
            snprintf(first.host, sizeof first.host, "%.60s", p->ranks.address);
            meet(&p->peer[0], &first, fd);
            snprintf(p->peer[0].name, sizeof p->peer[0].name, "rank 0 (%.60s)", first.host);
            return 0;
        }
        turned_away |= answered;
        if (fd >= 0)
            close(fd);
        if (turn % WIRE_PORTS == WIRE_PORTS - 1)
            usleep(100000);
    }
    return fail("rank 0 did not answer at %s port %d within %.0f s%s", p->ranks.address,
                p->ranks.port, p->timeout_s,
                turned_away ? "; another job there turned this rank away: all ranks of a job need "
                              "the same TTT_JOB_TOKEN and number of ranks"
                            : "");
}

int peers_check_timeout(double timeout_s)
{
    if (timeout_s >= 1 && timeout_s <= 1e6)
        return 0;
    return fail("--comm_timeout=%g: expected 1 to 1000000 seconds", timeout_s);
}

int peers_open(struct peers *p, const struct ranks *ranks, double timeout_s)
{
    memset(p, 0, sizeof *p);
    p->ranks = *ranks;
    p->timeout_s = timeout_s;
    if (is_alone(p))
        return 0;
    p->peer = calloc((size_t)ranks->count, sizeof *p->peer);
    if (!p->peer)
        return fail("out of memory for %d ranks", ranks->count);
    for (int i = 0; i < ranks->count; i++)
        p->peer[i].fd = -1;
    pthread_mutex_init(&p->sending, NULL);
    double deadline_s = now_s() + timeout_s;
    if (is_first(p) ? receive_all(p, deadline_s) : come(p, deadline_s)) {
        peers_close(p);
        return -1;
    }
    return 0;
}

/* ---- agreeing ------------------------------------------------------------------------------ */

static int lost(const struct peers *p, int rank)
{
    return fail("%s is gone, or has said nothing for %.0f s, before the first step",
                p->peer[rank].name, p->timeout_s);
}

int peers_share(struct peers *p, void *data, size_t bytes)
{
    double deadline_s = now_s() + p->timeout_s;
    if (is_alone(p))
        return 0;
    if (!is_first(p))
        return wire_get(p->peer[0].fd, data, bytes, deadline_s) ? lost(p, 0) : 0;
    for (int i = 1; i < p->ranks.count; i++)
        if (wire_put(p->peer[i].fd, data, bytes, deadline_s))
            return lost(p, i);
    return 0;
}

/* "claim\0claim\0...": what this rank says. */
static char *write_claims(const struct peers_claim *claims, int count, size_t *bytes)
{
    char *text = NULL;
    FILE *to = open_memstream(&text, bytes);
    for (int i = 0; to && i < count; i++) {
        fputs(claims[i].text, to);
        fputc(0, to);
    }
    if (to)
        fclose(to);
    return text;
}

/* Compare a rank's claims with this one's. */
static int compare(const struct peers *p, int rank, const struct peers_claim *claims, int count,
                   const char *text, const char *end)
{
    for (int i = 0; i < count; i++) {
        const char *theirs = text < end ? text : "nothing";
        if (strcmp(theirs, claims[i].text))
            return fail(
                "%s: %s is %.200s, but %.200s on rank 0; all ranks have to be started alike",
                p->peer[rank].name, claims[i].name, *theirs ? theirs : "empty",
                *claims[i].text ? claims[i].text : "empty");
        text += strlen(text) + 1;
    }
    return 0;
}

/* On rank 0: hear everyone. */
static int judge(struct peers *p, const struct peers_claim *claims, int count, double deadline_s)
{
    int status = 0;
    for (int i = 1; i < p->ranks.count; i++) {
        uint32_t bytes = 0;
        char *text = NULL;
        bool heard = !wire_get(p->peer[i].fd, &bytes, sizeof bytes, deadline_s) &&
                     bytes < 1 << 24 && (text = calloc(1, (size_t)bytes + 1)) &&
                     !wire_get(p->peer[i].fd, text, bytes, deadline_s);
        if (!status)
            status = heard ? compare(p, i, claims, count, text, text + bytes) : lost(p, i);
        free(text);
    }
    return status;
}

static int state_claims(struct peers *p, const struct peers_claim *claims, int count,
                        double deadline_s)
{
    size_t bytes = 0;
    char *text = write_claims(claims, count, &bytes);
    uint32_t length = (uint32_t)bytes;
    int status = text && !wire_put(p->peer[0].fd, &length, sizeof length, deadline_s) &&
                         !wire_put(p->peer[0].fd, text, bytes, deadline_s)
                     ? 0
                     : lost(p, 0);
    free(text);
    return status;
}

int peers_agree(struct peers *p, const struct peers_claim *claims, int count)
{
    char verdict[1024] = "";
    double deadline_s = now_s() + p->timeout_s;
    if (is_alone(p))
        return 0;
    if (!is_first(p) && state_claims(p, claims, count, deadline_s))
        return -1;
    if (is_first(p) && judge(p, claims, count, deadline_s))
        snprintf(verdict, sizeof verdict, "%s", why());
    if (peers_share(p, verdict, sizeof verdict))
        return *verdict ? fail("%s", verdict) : -1;
    return *verdict ? fail("%s", verdict) : 0;
}
