/* place.h -- where requests go: endpoints, and which addresses may be used without TLS. */
#ifndef PLACE_H
#define PLACE_H

#include "err.h"

#include <stdbool.h>

/* Whether the host of an address is this machine. */
bool place_is_loopback(const char *url);

/* The endpoint for Google Cloud Storage: `given` ("" for none), else STORAGE_EMULATOR_HOST, with or
   without a scheme, else Google's. *emulator says that it came from the variable. The text is the
   caller's. NULL with why(). */
char *place_endpoint(const char *given, bool *emulator);

/* Whether a source can be asked for: gs://, https://, or http:// on this machine. -1 with why(). */
must_check int place_check(const char *source);

/* An argument vector as a shell would take it; the caller frees it; NULL: no memory. */
char *place_command(char **args);

#endif
