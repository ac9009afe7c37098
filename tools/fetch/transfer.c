/* transfer.c -- which objects are to be fetched, and to where; what is here already is not. */
#include "transfer.h"
#include "part.h"
#include "there.h"
#include "wildcard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

bool transfer_wants(const struct transfer *p, const char *relative)
{
    bool wanted = p->include->count == 0;
    for (int i = 0; i < p->include->count; i++)
        wanted |= wildcard_picks(p->include->items[i], relative);
    for (int i = 0; i < p->exclude->count; i++)
        wanted &= !wildcard_picks(p->exclude->items[i], relative);
    return wanted;
}

int transfer_cut(const struct transfer *p, struct object *o)
{
    if (!p->part)
        return 0;
    if (!o->sized || !o->ranges)
        return fail("%s: the server gives no ranges of it; fetch all of it without --range",
                    o->source);
    if (p->from > o->total || p->length > o->total - p->from)
        return fail("%s: --range=%" PRIu64 ":%" PRIu64 " ends behind its %" PRIu64 " bytes",
                    o->source, p->from, p->length, o->total);
    o->base = p->from;
    o->size = p->length;
    return 0;
}

/* Count and tell of an object that why() says cannot be copied. */
static int refuse(struct transfer *p, struct object *o, const char *remedy)
{
    char *source = object_text(o->source);
    warn("%s: not copied: %s%s", localname_show(source), why(), remedy);
    free(source);
    p->failed++;
    return ledger_line(p->ledger, o, "failed");
}

static char *join(const char *dir, const char *relative)
{
    char *path;
    size_t n = strlen(dir);
    if (asprintf(&path, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", relative) < 0)
        die("out of memory");
    return path;
}

/* Where it is to be written. 1 when it is taken care of otherwise, -1 when all ends. */
static int place(struct transfer *p, struct object *o, const char *relative)
{
    size_t n = strlen(relative);
    if (p->dest_is_file) {
        o->path = object_text(p->dest);
        return 0;
    }
    if (n && relative[n - 1] == '/' && o->sized && o->size == 0)
        return 1; /* what some programs leave in a bucket to show a folder */
    if (localname_check(relative))
        return refuse(p, o, "; give it a name of your own: ttt-fetch SOURCE FILE") ? -1 : 1;
    if (localnames_take(&p->taken, relative))
        return refuse(p, o, "; copy it to another folder") ? -1 : 1;
    o->path = join(p->dest, relative);
    return 0;
}

/* 1 when the object is here already, or nothing may be written over. */
static int is_here(struct transfer *p, const struct object *o)
{
    struct stat st;
    if (p->no_clobber && !lstat(o->path, &st))
        return 1;
    if (p->force)
        return 0;
    int there = there_is(o, p->verify, p->interrupted);
    if (there > 0)
        part_forget_journal(o);
    return there;
}

int transfer_object(struct transfer *p, struct object *o, const char *relative)
{
    uint64_t allocated, finished;
    if (!transfer_wants(p, relative))
        return 0;
    int status = place(p, o, relative);
    if (status)
        return status < 0 ? -1 : 0;
    if (transfer_cut(p, o))
        return refuse(p, o, "");
    o->unpack = p->decompress && o->gzip;
    int here = is_here(p, o);
    if (here < 0 && *p->interrupted)
        return -1;
    if (here < 0)
        return refuse(p, o, "; move it away, or copy to another folder");
    if (here) {
        p->there++;
        return ledger_line(p->ledger, o, "there");
    }
    if (p->dry_run)
        printf("%s\t%" PRIu64 "\t%s\n", o->source, o->size, o->path);
    part_look(o, &allocated, &finished);
    p->here_bytes += finished;
    if (o->sized && o->size > allocated)
        p->need_bytes += o->size - allocated;
    return object_put(&p->queue, o);
}

int transfer_room(const struct transfer *p)
{
    struct statvfs vfs = {0};
    char *dir = object_text(p->dest);
    /* The folder may not be there yet: its nearest one is. */
    while (statvfs(dir, &vfs) && errno == ENOENT && strcmp(dir, "/") && strcmp(dir, ".")) {
        char *slash = strrchr(dir, '/');
        if (slash && slash > dir)
            *slash = 0;
        else
            strcpy(dir, slash ? "/" : ".");
    }
    free(dir);
    uint64_t room = (uint64_t)vfs.f_bavail * vfs.f_frsize;
    if (vfs.f_frsize == 0 || p->need_bytes <= room)
        return 0;
    char need[16], have[16];
    return fail("%s: %sB are needed, %sB are free (%" PRIu64 " and %" PRIu64
                " bytes): make room, or copy to another disk",
                p->dest, human(need, (double)p->need_bytes), human(have, (double)room),
                p->need_bytes, room);
}

void transfer_free(struct transfer *p)
{
    object_queue_close(&p->queue);
    localnames_free(&p->taken);
}
