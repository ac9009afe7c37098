/* http_passing.h -- which failures of a call pass by themselves, so that it is made again. */
#ifndef HTTP_PASSING_H
#define HTTP_PASSING_H

#include "http.h"

#include <curl/curl.h>

/* Whether the answer that came, head and text, is one that may be another the next time. */
bool http_status_passes(const struct http_call *c);
/* The same of what ended the transfer itself. */
bool http_error_passes(const struct http_call *c, CURLcode code);

#endif
