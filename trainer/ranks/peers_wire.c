/* peers_wire.c -- bytes between ranks over TCP, with a deadline. */
#include "peers_wire.h"
#include "report.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int wire_listen(int *port)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, off = 0, first = *port;
    bool six = fd >= 0;
    if (!six)
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail("no socket for the other ranks: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (six)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    for (; *port < first + WIRE_PORTS; ++*port) {
        struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)*port)};
        struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
        if (!(six ? bind(fd, (struct sockaddr *)&a6, sizeof a6)
                  : bind(fd, (struct sockaddr *)&a4, sizeof a4)) &&
            !listen(fd, 128))
            return fd;
    }
    fail("no port from %d to %d is free for the other ranks: %s", first, first + WIRE_PORTS - 1,
         strerror(errno));
    close(fd);
    return -1;
}

/* Wait for an event; false at the deadline. */
static bool wait_for(int fd, short event, double deadline_s)
{
    struct pollfd p = {.fd = fd, .events = event};
    for (;;) {
        double left = deadline_s - now_s();
        int n = poll(&p, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
        if (n > 0)
            return true;
        if (n == 0 || errno != EINTR)
            return false;
    }
}

static void prepare(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

int wire_accept(int listener, double deadline_s)
{
    while (wait_for(listener, POLLIN, deadline_s)) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            prepare(fd);
            return fd;
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return -1;
    }
    return -1;
}

int wire_connect(const char *address, int port)
{
    char text[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    snprintf(text, sizeof text, "%d", port);
    if (getaddrinfo(address, text, &hints, &found))
        return -1;
    const struct timeval limit = {.tv_sec = 5};
    int fd = -1;
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0) /* a firewall that swallows the question must not hold the others up */
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen)) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    if (fd >= 0)
        prepare(fd);
    return fd;
}

int wire_get(int fd, void *data, size_t bytes, double deadline_s)
{
    for (char *to = data; bytes;) {
        if (!wait_for(fd, POLLIN, deadline_s))
            return -1;
        ssize_t n = recv(fd, to, bytes, 0);
        if (n == 0 || (n < 0 && errno != EINTR))
            return -1;
        to += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int wire_put(int fd, const void *data, size_t bytes, double deadline_s)
{
    for (const char *from = data; bytes;) {
        if (!wait_for(fd, POLLOUT, deadline_s))
            return -1;
        ssize_t n = send(fd, from, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return -1;
        from += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}
