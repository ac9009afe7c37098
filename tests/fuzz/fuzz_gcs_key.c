/* fuzz_gcs_key.c -- a file of credentials: any text. */
#include "fuzz.h"
#include "gcs_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct gcs_key key;
    if (gcs_key_read(&key, (const char *)data, bytes))
        return 0;
    if (!key.token_uri ||
        (key.kind == GCS_KEY_SERVICE_ACCOUNT ? !key.email || !key.private_key : !key.client_secret))
        abort();
    gcs_key_close(&key);
    return 0;
}
