/* transport.h -- how a call travels: protocols, deadlines, certificates, proxies. */
#ifndef TRANSPORT_H
#define TRANSPORT_H

#include "http.h"

/* Set all of it on libcurl's easy handle, which was reset. Proxies are those of curl's variables;
   certificates those that the system trusts, or of CURL_CA_BUNDLE, SSL_CERT_FILE, SSL_CERT_DIR. */
void transport_set(void *easy, const struct http *h, const struct http_call *c);

#endif
