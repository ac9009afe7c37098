/* peers_wire.h -- bytes between ranks over TCP, with a deadline. */
#ifndef PEERS_WIRE_H
#define PEERS_WIRE_H

#include "err.h"

#include <stddef.h>

/* Ports that are tried one after the other, for another job may have the first. */
enum { WIRE_PORTS = 16 };

/* Listen at the first free port from *port on, which becomes it. The socket, or -1 with why(). */
must_check int wire_listen(int *port);

/* The next connection, or -1 at the deadline (now_s()). */
int wire_accept(int listener, double deadline_s);

/* A connection, or -1: nobody listens there. */
int wire_connect(const char *address, int port);

/* All bytes, or -1: the other side is gone, or the deadline is over. */
must_check int wire_get(int fd, void *data, size_t bytes, double deadline_s);
must_check int wire_put(int fd, const void *data, size_t bytes, double deadline_s);

#endif
