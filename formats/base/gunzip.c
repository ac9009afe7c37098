/* gunzip.c -- gzip data of one or several members, every checksum checked. */
#include "gunzip.h"

#include <limits.h>
#include <stdlib.h>
#include <zlib.h>

enum { GZIP_ONLY = 16 + MAX_WBITS };

int gunzip_open(struct gunzip *g)
{
    *g = (struct gunzip){0};
    g->z = calloc(1, sizeof *g->z);
    if (!g->z || inflateInit2(g->z, GZIP_ONLY) != Z_OK) {
        free(g->z);
        g->z = NULL;
        return fail("out of memory");
    }
    return 0;
}

void gunzip_close(struct gunzip *g)
{
    if (g->z)
        inflateEnd(g->z);
    free(g->z);
    *g = (struct gunzip){0};
}

/* Between two members: pass the padding, stand at the next one. False when there is none yet. */
static int enter(struct gunzip *g)
{
    while (g->z->avail_in && *g->z->next_in == 0) {
        g->z->next_in++;
        g->z->avail_in--;
    }
    if (!g->z->avail_in)
        return 0;
    if (*g->z->next_in != 0x1f)
        return fail("something that is not gzip follows the gzip data");
    g->inside = true;
    inflateReset2(g->z, GZIP_ONLY);
    return 1;
}

long gunzip_more(struct gunzip *g, const uint8_t *in, size_t *in_bytes, uint8_t *out,
                 size_t out_bytes)
{
    z_stream *z = g->z;
    size_t room = out_bytes < INT_MAX ? out_bytes : INT_MAX;
    z->next_in = (uint8_t *)in;
    z->avail_in = (unsigned)(*in_bytes < INT_MAX ? *in_bytes : INT_MAX);
    z->next_out = out;
    z->avail_out = (unsigned)room;
    long status = 0;
    while (z->avail_in && z->avail_out) {
        if (!g->inside) {
            int got = enter(g);
            if (got < 0)
                status = -1;
            if (got != 1)
                break;
        }
        int got = inflate(z, Z_NO_FLUSH);
        if (got == Z_STREAM_END)
            g->inside = false;
        else if (got != Z_OK && got != Z_BUF_ERROR) {
            status = fail("the gzip data are damaged (%s)", z->msg ? z->msg : zError(got));
            break;
        }
    }
    *in_bytes = (size_t)(z->next_in - in);
    return status ? status : (long)(room - z->avail_out);
}
