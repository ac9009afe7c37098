/* peers_watch.c -- what the ranks of a run say to each other while it goes on. */
#include "peers.h"
#include "peers_wire.h"
#include "report.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum word { WORD_BEAT = 1, WORD_FAIL, WORD_BYE };

/* All that is ever said, in one size. */
struct message {
    uint32_t word;
    uint64_t beats;
    char sentence[1024];
};

static int neighbours(const struct peers *p)
{
    return p->ranks.rank == 0 ? p->ranks.count : 1;
}

static void tell(struct peers *p, enum word word, const char *sentence)
{
    struct message m = {.word = word, .beats = p->beats};
    snprintf(m.sentence, sizeof m.sentence, "%s", sentence);
    pthread_mutex_lock(&p->sending);
    for (int i = 0; i < neighbours(p); i++)
        if (p->peer[i].fd >= 0) /* one that does not listen any more is found by its silence */
            (void)!wire_put(p->peer[i].fd, &m, sizeof m, now_s() + 1);
    pthread_mutex_unlock(&p->sending);
}

/* ---- the end of all ------------------------------------------------------------------------ */

static _Noreturn void leave(struct peers *p, const char *sentence)
{
    if (p->ranks.rank == 0)
        tell(p, WORD_FAIL, sentence);
    if (!atomic_exchange(&p->told, true))
        warn("%s%s", sentence, p->advice ? p->advice : "");
    if (p->ranks.rank == 0)
        usleep(200000); /* a launcher ends the others when the first one ends: let them speak */
    _exit(1);
}

static void __attribute__((noreturn, format(printf, 2, 3)))
leave_because(struct peers *p, const char *format, ...)
{
    char sentence[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    leave(p, sentence);
}

/* ---- the watcher --------------------------------------------------------------------------- */

/* What one of them says; it is gone when it says nothing. */
static void hear(struct peers *p, struct peer *from)
{
    struct message m;
    if (wire_get(from->fd, &m, sizeof m, now_s() + p->timeout_s)) {
        if (from->left || p->leaving) {
            close(from->fd);
            from->fd = -1;
            from->left = true;
            return;
        }
        leave_because(p, "%s is gone", from->name);
    }
    from->heard_s = now_s();
    if (m.word == WORD_BYE) {
        from->left = true;
    } else if (m.word == WORD_FAIL) {
        m.sentence[sizeof m.sentence - 1] = 0;
        if (p->ranks.rank == 0)
            leave_because(p, "%s: %.800s", from->name, m.sentence);
        leave(p, m.sentence);
    } else if (m.beats != from->beats) {
        from->beats = m.beats;
        from->moved_s = from->heard_s;
    }
}

/* Rank 0 looks at everyone; others see only it. */
static void look(struct peers *p)
{
    double now = now_s();
    uint64_t most = p->ranks.rank == 0 ? p->beats : 0;
    for (int i = 0; i < neighbours(p); i++) {
        struct peer *q = &p->peer[i];
        if (q->fd < 0 || q->left)
            continue;
        if (now - q->heard_s > p->timeout_s)
            leave_because(p, "%s has said nothing for %.0f s", q->name, now - q->heard_s);
        most = q->beats > most ? q->beats : most;
    }
    if (p->ranks.rank != 0)
        return;
    struct peer *self = &p->peer[0];
    if (p->beats != self->beats) {
        self->beats = p->beats;
        self->moved_s = now;
    }
    struct peer *slowest = self;
    for (int i = 1; i < p->ranks.count; i++)
        if (!p->peer[i].left && p->peer[i].beats < slowest->beats)
            slowest = &p->peer[i];
    if (!slowest->left && slowest->beats < most && now - slowest->moved_s > p->timeout_s)
        leave_because(p, "%s has stood still for %.0f s while others went on", slowest->name,
                      now - slowest->moved_s);
}

/* Something is wrong with what the loop of this rank may be waiting for. */
static void heed_alarm(struct peers *p)
{
    const char *trouble = p->alarm ? p->alarm() : NULL;
    if (!trouble)
        return;
    if (p->ranks.rank == 0)
        leave_because(p, "%s: %.800s", p->peer[0].name, trouble);
    peers_fail(p, trouble);
    leave(p, trouble);
}

static bool has_left(const struct peers *p)
{
    for (int i = 0; i < neighbours(p); i++)
        if (i != p->ranks.rank && !p->peer[i].left)
            return false;
    return true;
}

static void *watch(void *arg)
{
    struct peers *p = arg;
    double every_s = p->timeout_s / 5 < 1 ? p->timeout_s / 5 : 1, next_s = 0;
    int count = neighbours(p);
    struct pollfd *fds = calloc((size_t)count, sizeof *fds);
    if (!fds)
        leave(p, "out of memory for watching the other ranks");
    for (int i = 0; i < count; i++)
        p->peer[i].heard_s = p->peer[i].moved_s = now_s();
    while (!p->leaving || !has_left(p)) {
        if (now_s() >= next_s) {
            if (!p->leaving)
                tell(p, WORD_BEAT, "");
            look(p);
            heed_alarm(p);
            next_s = now_s() + every_s;
        }
        for (int i = 0; i < count; i++)
            fds[i] = (struct pollfd){.fd = p->peer[i].fd, .events = POLLIN};
        poll(fds, (nfds_t)count, p->leaving ? 20 : (int)(every_s * 1000) / 4 + 1);
        for (int i = 0; i < count; i++)
            if (fds[i].fd >= 0 && fds[i].revents)
                hear(p, &p->peer[i]);
    }
    free(fds);
    return NULL;
}

int peers_watch(struct peers *p)
{
    sigset_t all, before;
    if (p->ranks.count <= 1)
        return 0;
    sigfillset(&all); /* signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    p->watching = !pthread_create(&p->watcher, NULL, watch, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return p->watching ? 0 : fail("no thread to watch the other ranks with");
}

void peers_beat(struct peers *p)
{
    p->beats++;
}

void peers_fail(struct peers *p, const char *sentence)
{
    if (!p->watching) /* who waits for something else finds this rank gone */
        return;
    tell(p, WORD_FAIL, sentence);
    if (p->ranks.rank == 0)
        usleep(200000);
    else /* rank 0 hears it before it hears the end */
        usleep(50000);
}

void peers_close(struct peers *p)
{
    if (p->watching) {
        tell(p, WORD_BYE, "");
        p->leaving = true;
        pthread_join(p->watcher, NULL);
        p->watching = false;
    }
    for (int i = 0; p->peer && i < p->ranks.count; i++)
        if (p->peer[i].fd >= 0)
            close(p->peer[i].fd);
    free(p->peer);
    p->peer = NULL;
}
