/* pieces.c -- families of parameter-shaped arrays in one file a rank, to and from any mesh. */
#include "pieces.h"
#include "device.h"
#include "tensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_FLOATS = 1 << 20, FULL_NAME_BYTES = PARAM_NAME_BYTES + 48 };

/* ---- writing ------------------------------------------------------------------------------ */

/* Floats first..first+count-1 of parameter i's part, which this rank writes. */
struct stretch {
    size_t first, count, offset; /* offset: of the first in this rank's arrays */
};

static struct stretch stretch_of(const struct params *p, int i)
{
    const struct param *q = &p->list[i];
    size_t ranks = (size_t)p->mesh.dp, rank = (size_t)mesh_dp_rank(&p->mesh);
    size_t begin = q->held * rank / ranks, end = q->held * (rank + 1) / ranks;
    if (q->split < 0 && mesh_mp_rank(&p->mesh))
        end = begin;
    return (struct stretch){q->first + begin, end - begin, q->offset + begin};
}

static int put(struct tensors_writer *w, const float *from, size_t count, float *room, bool on_host)
{
    for (size_t at = 0, n; at < count; at += n) {
        n = count - at < PIECE_FLOATS ? count - at : PIECE_FLOATS;
        if (!on_host)
            device_get(room, from + at, n * sizeof *room);
        if (tensors_put(w, on_host ? from + at : room, n * sizeof *room))
            return -1;
    }
    return 0;
}

/* The tensors of the file; their number. */
static int list_stretches(struct tensor *t, char (*name)[FULL_NAME_BYTES], const struct params *p,
                          const struct arrays_family *family, int families)
{
    int n = 0;
    for (int e = 0; e < families * p->count; e++) {
        struct stretch s = stretch_of(p, e % p->count);
        if (!s.count)
            continue;
        snprintf(name[n], sizeof *name, "%s%s@%zu", family[e / p->count].prefix,
                 p->list[e % p->count].name, s.first);
        t[n] = (struct tensor){.name = name[n], .dtype = TENSOR_F32, .dims = 1};
        t[n].shape[0] = (int64_t)s.count;
        n++;
    }
    return n;
}

static int write_stretches(struct tensors_writer *w, const struct params *p,
                           const struct arrays_family *family, int families, float *room)
{
    for (int e = 0; e < families * p->count; e++) {
        struct stretch s = stretch_of(p, e % p->count);
        if (s.count && put(w, family[e / p->count].base + s.offset, s.count, room, p->on_host))
            return -1;
    }
    return 0;
}

int pieces_save(const char *path, const struct params *p, const struct arrays_family *family,
                int families, struct xxh3 *digest)
{
    char part[32];
    size_t most = (size_t)families * (size_t)p->count;
    struct tensors_writer w;
    struct tensor *t = calloc(most, sizeof *t);
    char(*name)[FULL_NAME_BYTES] = calloc(most, sizeof *name);
    float *room = malloc(PIECE_FLOATS * sizeof *room);
    int status = t && name && room ? 0 : fail("%s: out of memory", path);
    snprintf(part, sizeof part, "%d/%d", mesh_mp_rank(&p->mesh), p->mesh.mp);
    const struct tensor_note notes[] = {{"format", "ttt"}, {"part", part}};
    if (!status)
        status =
            tensors_create(&w, path, t, list_stretches(t, name, p, family, families), notes, 2);
    if (!status) {
        status = write_stretches(&w, p, family, families, room);
        if (status)
            tensors_abandon(&w);
        else
            status = tensors_commit(&w, digest);
    }
    free(room);
    free(name);
    free(t);
    return status;
}

/* ---- what the files hold ------------------------------------------------------------------- */

/* A tensor of a file: floats first.. of part `part.rank` of `part.mp`, of entry family * count + i.
 */
struct piece {
    int entry, file;
    struct mesh part;
    size_t first;
    const struct tensor *tensor;
};

struct source {
    struct tensors *file; /* [files], owned */
    int files;
    struct piece *piece; /* [pieces], by entry, owned */
    int pieces;
    char (*name)[FULL_NAME_BYTES]; /* of the entries, owned */
};

static void source_close(struct source *s)
{
    for (int i = 0; s->file && i < s->files; i++)
        tensors_close(&s->file[i]);
    free(s->file);
    free(s->piece);
    free(s->name);
}

struct named {
    const char *name;
    int entry;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static int by_entry(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    return x->entry != y->entry ? (x->entry < y->entry ? -1 : 1) : x->file - y->file;
}

/* Read what a tensor's name, its file's note and its shape say, and check it. */
static int read_piece(struct piece *to, const struct tensor *t, const struct tensors *file,
                      const struct params *p, const struct named *names, int count,
                      const char *path)
{
    char name[FULL_NAME_BYTES];
    const char *at = strrchr(t->name, '@'), *part = tensors_note(file, "part");
    size_t length = at ? (size_t)(at - t->name) : strlen(t->name);
    if (length >= sizeof name)
        return fail("%s: tensor %s: too long a name", path, t->name);
    snprintf(name, sizeof name, "%.*s", (int)length, t->name);
    struct named key = {name, 0};
    const struct named *found = bsearch(&key, names, (size_t)count, sizeof *names, by_name);
    if (!found)
        return fail("%s: tensor %s is not one of this model's", path, t->name);
    const struct param *q = &p->list[found->entry % p->count];
    *to = (struct piece){.entry = found->entry, .tensor = t, .part = MESH_ONE};
    int used = 0;
    if (at && (sscanf(at + 1, "%zu%n", &to->first, &used) != 1 || at[1 + used]))
        return fail("%s: tensor %s: no place follows its @", path, t->name);
    if (at && q->split >= 0 &&
        (!part || sscanf(part, "%d/%d", &to->part.rank, &to->part.mp) != 2 || to->part.mp < 1 ||
         to->part.rank < 0 || to->part.rank >= to->part.mp || q->shape[q->split] % to->part.mp))
        return fail("%s: its note \"part\" does not tell which part of a parameter it holds", path);
    if (t->dtype != TENSOR_F32)
        return fail("%s: tensor %s is %s; expected F32", path, t->name,
                    tensor_dtype_name(t->dtype));
    size_t most = q->whole / (size_t)to->part.mp;
    if (to->first > most || t->count > most - to->first || (!at && t->count != most))
        return fail("%s: tensor %s: goes beyond the parameter's %zu values", path, t->name, most);
    return 0;
}

static int list_pieces(struct source *s, const struct params *p, const char *const *path,
                       const struct arrays_family *family, int families)
{
    int count = families * p->count, status = 0;
    size_t total = 0;
    for (int f = 0; f < s->files; f++)
        total += (size_t)s->file[f].count;
    struct named *names = calloc((size_t)count, sizeof *names);
    s->name = calloc((size_t)count, sizeof *s->name);
    s->piece = calloc(total ? total : 1, sizeof *s->piece);
    if (!names || !s->name || !s->piece) {
        free(names);
        return fail("%s: out of memory", path[0]);
    }
    for (int e = 0; e < count; e++) {
        snprintf(s->name[e], sizeof *s->name, "%s%s", family[e / p->count].prefix,
                 p->list[e % p->count].name);
        names[e] = (struct named){s->name[e], e};
    }
    qsort(names, (size_t)count, sizeof *names, by_name);
    for (int f = 0; f < s->files && !status; f++)
        for (int i = 0; i < s->file[f].count && !status; i++) {
            struct piece *to = &s->piece[s->pieces++];
            status = read_piece(to, &s->file[f].list[i], &s->file[f], p, names, count, path[f]);
            to->file = f;
        }
    free(names);
    qsort(s->piece, (size_t)s->pieces, sizeof *s->piece, by_entry);
    return status;
}

/* ---- reading ------------------------------------------------------------------------------ */

/* Floats of a row, along the axis that mp divides and those after it; all of them where it divides
   none. */
static size_t row_of(const struct param *q)
{
    size_t row = 1;
    for (int a = q->split < 0 ? 0 : q->split; a < q->axes; a++)
        row *= (size_t)q->shape[a];
    return row;
}

/* Copy what a piece and this rank's share have in common, `n` floats that lie together in the whole
   parameter from `whole` on, within one row. to [held]. */
static size_t copy_run(float *to, const struct param *q, const struct mesh *mesh, size_t whole,
                       size_t n, const char *from)
{
    size_t row = row_of(q), part = q->split < 0 ? row : row / (size_t)mesh->mp;
    size_t left = q->split < 0 ? 0 : part * (size_t)mesh_mp_rank(mesh);
    size_t column = whole % row, begin = column > left ? column : left;
    size_t end = column + n < left + part ? column + n : left + part;
    if (begin >= end)
        return 0;
    /* Columns begin..end-1 are neighbours in this rank's part too. */
    size_t at = whole / row * part + (begin - left), last = at + (end - begin);
    size_t low = at > q->first ? at : q->first;
    size_t high = last < q->first + q->held ? last : q->first + q->held;
    if (low >= high)
        return 0;
    memcpy(to + (low - q->first), from + (begin - column + (low - at)) * sizeof *to,
           (high - low) * sizeof *to);
    return high - low;
}

static size_t copy_piece(float *to, const struct param *q, const struct mesh *mesh,
                         const struct piece *piece)
{
    struct param there = *q; /* as the mesh that wrote it divides it */
    there.count = q->whole / (size_t)piece->part.mp;
    size_t copied = 0, count = piece->tensor->count, row = row_of(q);
    for (size_t done = 0, n; done < count; done += n) {
        size_t whole;
        n = param_run(&there, &piece->part, piece->first + done, &whole);
        n = n < count - done ? n : count - done;
        n = n < row - whole % row ? n : row - whole % row;
        copied +=
            copy_run(to, q, mesh, whole, n, (const char *)piece->tensor->data + done * sizeof *to);
    }
    return copied;
}

static int check_digests(const struct source *s, const char *const *path, const struct xxh3 *digest,
                         const struct mesh *mesh)
{
    for (int f = mesh->rank; f < s->files; f += mesh_ranks(mesh))
        if (strcmp(xxh3_of(s->file[f].map.data, s->file[f].map.bytes).hex, digest[f].hex))
            return fail("%s: its bytes are not those that were written (XXH3-128); take an older "
                        "checkpoint",
                        path[f]);
    return 0;
}

static int fill(const struct source *s, const char *const *path, const struct params *p,
                const struct arrays_family *family, int families)
{
    int next = 0, status = 0;
    for (int e = 0; e < families * p->count && !status; e++) {
        const struct param *q = &p->list[e % p->count];
        size_t copied = 0, told = 0, whole = q->whole;
        float *to = malloc((q->held ? q->held : 1) * sizeof *to);
        if (!to)
            return fail("%s: out of memory", path[0]);
        for (; next < s->pieces && s->piece[next].entry == e; next++) {
            copied += copy_piece(to, q, &p->mesh, &s->piece[next]);
            told += s->piece[next].tensor->count;
        }
        if (told != whole || copied != q->held)
            status = fail("%s: the checkpoint holds %zu of the %zu values of %s", path[0], told,
                          whole, s->name[e]);
        else
            device_put(family[e / p->count].base + q->offset, to, q->held * sizeof *to);
        free(to);
    }
    return status;
}

int pieces_load(const char *const *path, const struct xxh3 *digest, int files,
                const struct params *p, const struct arrays_family *family, int families)
{
    struct source s = {.file = calloc((size_t)files, sizeof *s.file)};
    int status = s.file ? 0 : fail("%s: out of memory", path[0]);
    for (; s.files < files && !status; s.files++)
        status = tensors_open(&s.file[s.files], path[s.files]);
    if (!status)
        status = list_pieces(&s, p, path, family, families) ||
                         check_digests(&s, path, digest, &p->mesh) ||
                         fill(&s, path, p, family, families)
                     ? -1
                     : 0;
    source_close(&s);
    return status;
}
