/* gcs_json.h -- what Google Cloud Storage answers in JSON: objects, pages of a listing, errors. */
#ifndef GCS_JSON_H
#define GCS_JSON_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One object as the bucket tells of it. Texts are borrowed from the answer. */
struct gcs_item {
    const char *name;
    const char *generation; /* digits */
    const char *updated;    /* "2024-05-01T12:00:00.123Z", or "" */
    uint64_t size;          /* as stored */
    bool has_crc32c;
    uint32_t crc32c; /* as stored */
    bool gzip;       /* stored with Content-Encoding: gzip */
};

/* One page of a listing. Zero means closed. */
struct gcs_page {
    struct json_t *root;    /* owned */
    struct gcs_item *items; /* [item_count], owned, in the bucket's order */
    size_t item_count;
    const char **folders; /* [folder_count] prefixes with their slash, owned; texts borrowed */
    size_t folder_count;
    const char *next; /* token of the next page, or NULL on the last one */
};

/* -1 with why(), which names no bucket; then p is closed. */
must_check int gcs_page_read(struct gcs_page *p, const char *text, size_t bytes);
void gcs_page_close(struct gcs_page *p); /* harmless when closed */

/* The metadata of one object; the texts live until gcs_page_close, which takes the page that the
   item is put on. */
must_check int gcs_item_read(struct gcs_page *p, const char *text, size_t bytes);

/* What an error's body says. Empty where it says nothing; control characters replaced. */
struct gcs_error {
    char reason[64], message[400];
};
void gcs_error_read(struct gcs_error *e, const char *text, size_t bytes);

#endif
