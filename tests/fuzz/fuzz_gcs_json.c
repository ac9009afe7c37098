/* fuzz_gcs_json.c -- what a server may say in JSON: a listing, an object, an error. */
#include "fuzz.h"
#include "gcs_json.h"

static void check(const struct gcs_item *item)
{
    if (!item->name || !*item->name || !item->generation || !item->updated ||
        item->size > INT64_MAX)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *text = (const char *)data;
    struct gcs_page page;
    struct gcs_error error;
    if (!gcs_page_read(&page, text, bytes)) {
        for (size_t i = 0; i < page.item_count; i++)
            check(&page.items[i]);
        for (size_t i = 0; i < page.folder_count; i++)
            if (!page.folders[i])
                abort();
        gcs_page_close(&page);
    }
    if (!gcs_item_read(&page, text, bytes)) {
        check(page.items);
        gcs_page_close(&page);
    }
    gcs_error_read(&error, text, bytes);
    for (const char *p = error.message; *p; p++)
        if ((unsigned char)*p < ' ')
            abort();
    return 0;
}
