/* reference.c -- our parameters and moments in the reference's checkpoints, both ways. */
#include "reference.h"
#include "device.h"
#include "floats.h"
#include "match.h"

#include <inttypes.h>
#include <stdlib.h>

enum { PIECE = 1 << 20, KEY_BYTES = 192 };

/* The reference's names of places in optax's chains; texts between cuts are parts of a key. */
#define CUT       FLAX_CUT
#define OPT_STATE "opt_state" CUT
#define MULTI     OPT_STATE "inner_opt_state" CUT
#define TREE      "params" CUT

/* ---- names -------------------------------------------------------------------------------- */

/* Parameters of the reference whose names hold a slash themselves. */
static bool keeps_slash(const char *name, const char *slash)
{
    static const char *const whole[] = {"/ttt_norm", "/learnable_ttt_lr"};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        size_t n = strlen(whole[i]);
        if ((size_t)(slash - name) >= n && !memcmp(slash - n, whole[i], n))
            return true;
    }
    return false;
}

/* Our name as a key. */
static void cut_name(char key[PARAM_NAME_BYTES], const char *name)
{
    snprintf(key, PARAM_NAME_BYTES, "%s", name);
    for (const char *c = name; (c = strchr(c, '/')); c++)
        if (!keeps_slash(name, c))
            key[c - name] = *CUT;
}

/* ---- what a file has to hold --------------------------------------------------------------- */

enum kind {
    FLOATS, /* shaped as a parameter */
    COUNT,  /* of steps or updates */
    ZERO,   /* the one number that an Adafactor that does not factor keeps for a parameter */
};

struct entry {
    enum kind kind;
    float *at; /* the floats on the device; NULL before they are allocated */
    int32_t count;
};

struct listing {
    const struct params *p;
    int *sorted;             /* [p->count], parameters in the order of their keys */
    char (*name)[KEY_BYTES]; /* [most], as are the next two; all owned */
    struct tensor *tensor;
    struct entry *entry;
    int count, most;
};

static void append(struct listing *l, const struct tensor *shape, const struct entry *e,
                   const char *prefix, const char *key)
{
    int i = l->count++;
    snprintf(l->name[i], sizeof l->name[i], "%s%s", prefix, key);
    l->tensor[i] = *shape;
    l->tensor[i].name = l->name[i];
    l->entry[i] = *e;
}

static void append_count(struct listing *l, const char *prefix, const char *key, int64_t count)
{
    append(l, &(struct tensor){.dtype = TENSOR_I32, .count = 1},
           &(struct entry){.kind = COUNT, .count = (int32_t)count}, prefix, key);
}

/* A tensor for each parameter, in the order of the keys; floats at base, p's offsets. */
static void append_family(struct listing *l, const char *root, const char *place, enum kind kind,
                          float *base)
{
    char prefix[KEY_BYTES], key[PARAM_NAME_BYTES];
    snprintf(prefix, sizeof prefix, "%s%s", root, place);
    for (int i = 0; i < l->p->count; i++) {
        const struct param *q = &l->p->list[l->sorted[i]];
        struct tensor t = {.dtype = TENSOR_F32, .dims = 1, .shape = {1}, .count = 1};
        if (kind == FLOATS) {
            t.dims = q->axes;
            t.count = q->count;
            for (int a = 0; a < q->axes; a++)
                t.shape[a] = q->shape[a];
        }
        cut_name(key, q->name);
        append(l, &t, &(struct entry){.kind = kind, .at = base ? base + q->offset : NULL}, prefix,
               key);
    }
}

static void append_optim(struct listing *l, const struct reference *r)
{
    const struct params *p = l->p;
    const char *root = OPT_STATE;
    int64_t updates = r->step / r->accumulate;
    if (r->accumulate > 1) {
        append_count(l, root, "mini_step", r->step % r->accumulate);
        append_count(l, root, "gradient_step", updates);
        root = MULTI;
    }
    append_count(l, root, "1" CUT "0" CUT "count", updates);
    if (r->optim == REFERENCE_ADAMW) {
        append_family(l, root, "1" CUT "0" CUT "mu" CUT TREE, FLOATS, p->m);
        append_family(l, root, "1" CUT "0" CUT "nu" CUT TREE, FLOATS, p->v);
        append_count(l, root, "1" CUT "2" CUT "count", updates);
    } else {
        append_family(l, root, "1" CUT "0" CUT "v_row" CUT TREE, ZERO, NULL);
        append_family(l, root, "1" CUT "0" CUT "v_col" CUT TREE, ZERO, NULL);
        append_family(l, root, "1" CUT "0" CUT "v" CUT TREE, FLOATS, p->v);
        append_count(l, root, "1" CUT "1" CUT "count", updates);
        append_count(l, root, "1" CUT "3" CUT "count", updates);
        append_family(l, root, "1" CUT "3" CUT "ema" CUT TREE, FLOATS, p->m);
        append_count(l, root, "2" CUT "inner_state" CUT "count", updates);
    }
    if (r->accumulate > 1)
        append_family(l, OPT_STATE, "acc_grads" CUT TREE, FLOATS, p->mean);
}

static int compare_keys(const void *a, const void *b, void *list)
{
    const struct param *p = list;
    char x[PARAM_NAME_BYTES], y[PARAM_NAME_BYTES];
    cut_name(x, p[*(const int *)a].name);
    cut_name(y, p[*(const int *)b].name);
    return strcmp(x, y);
}

static void list_close(struct listing *l)
{
    free(l->sorted);
    free(l->name);
    free(l->tensor);
    free(l->entry);
}

/* Everything that r and p tell, in the reference's order. */
static int list_open(struct listing *l, const struct reference *r, const struct params *p)
{
    enum { FAMILIES = 6, COUNTS = 8 };
    *l = (struct listing){.p = p, .most = FAMILIES * p->count + COUNTS};
    size_t most = (size_t)l->most;
    l->sorted = calloc(most, sizeof *l->sorted);
    l->name = calloc(most, sizeof *l->name);
    l->tensor = calloc(most, sizeof *l->tensor);
    l->entry = calloc(most, sizeof *l->entry);
    if (!l->sorted || !l->name || !l->tensor || !l->entry) {
        list_close(l);
        return fail("out of memory: the names of %d tensors", l->most);
    }
    for (int i = 0; i < p->count; i++)
        l->sorted[i] = i;
    qsort_r(l->sorted, (size_t)p->count, sizeof *l->sorted, compare_keys, p->list);
    if (r->has_step)
        append_count(l, "", "step", r->step);
    append_family(l, r->has_step ? TREE TREE : "", "", FLOATS, p->master);
    if (r->optim != REFERENCE_PARAMS_ONLY)
        append_optim(l, r);
    return 0;
}

/* ---- what a file holds --------------------------------------------------------------------- */

static int32_t count_in(const struct tensor *t)
{
    int32_t value;
    memcpy(&value, t->data, sizeof value);
    return value;
}

/* A count that has to be there. */
static int find_count(const struct flax *f, const char *name, int64_t *value)
{
    char text[256];
    const struct tensor *t = flax_find(f, name);
    if (!t || t->dtype != TENSOR_I32 || t->dims)
        return fail("%s: no %s, a whole number: not a train state of the reference", f->path,
                    match_name(text, name));
    *value = count_in(t);
    if (*value >= 0)
        return 0;
    return fail("%s: %s is %" PRId64 ": expected a count", f->path, match_name(text, name), *value);
}

/* How many gradients make an update: their product with the updates, and those waiting, make the
   steps. Before the first update any number above those waiting would do. */
static int find_accumulate(struct reference *r, const struct flax *f)
{
    int64_t waiting, updates;
    if (find_count(f, OPT_STATE "mini_step", &waiting) ||
        find_count(f, OPT_STATE "gradient_step", &updates))
        return -1;
    r->accumulate = updates ? (r->step - waiting) / updates : waiting + 1;
    if (r->accumulate > 1 && r->step % r->accumulate == waiting &&
        r->step / r->accumulate == updates)
        return 0;
    return fail("%s: step %" PRId64 " is not of %" PRId64 " updates and %" PRId64
                " gradients for the next: another run's checkpoint was begun from",
                f->path, r->step, updates, waiting);
}

int reference_inspect(struct reference *r, const struct flax *f)
{
    *r = (struct reference){.accumulate = 1, .has_step = flax_find(f, "step")};
    bool any = false;
    for (int i = 0; i < f->count; i++)
        any |= !strncmp(f->list[i].name, OPT_STATE, strlen(OPT_STATE));
    if (r->has_step && find_count(f, "step", &r->step))
        return -1;
    if (!any)
        return 0;
    if (!r->has_step)
        return fail("%s: the state of an optimiser without a step: not a train state of the "
                    "reference",
                    f->path);
    bool multi = flax_find(f, OPT_STATE "mini_step");
    bool adafactor =
        flax_find(f, multi ? MULTI "1" CUT "3" CUT "count" : OPT_STATE "1" CUT "3" CUT "count");
    r->optim = adafactor ? REFERENCE_ADAFACTOR : REFERENCE_ADAMW;
    return multi ? find_accumulate(r, f) : 0;
}

struct tensor *reference_params(const struct reference *r, const struct flax *f, int *count)
{
    const char *prefix = r->has_step ? TREE TREE : "";
    size_t skip = strlen(prefix);
    struct tensor *list = calloc((size_t)f->count, sizeof *list);
    *count = 0;
    for (int i = 0; list && i < f->count; i++) {
        if (strncmp(f->list[i].name, prefix, skip))
            continue;
        char *name = strdup(f->list[i].name + skip);
        if (!name) {
            reference_free(list, *count);
            list = NULL;
            break;
        }
        for (char *c = name; (c = strchr(c, *CUT));)
            *c = '/';
        list[*count] = f->list[i];
        list[(*count)++].name = name;
    }
    if (!list)
        fail("%s: out of memory: the names of %d tensors", f->path, f->count);
    return list;
}

void reference_free(struct tensor *list, int count)
{
    for (int i = 0; list && i < count; i++)
        free((char *)list[i].name);
    free(list);
}

/* ---- reading ------------------------------------------------------------------------------- */

static int check_entry(const struct entry *e, const struct tensor *want, const struct tensor *have,
                       const char *path)
{
    char name[256];
    bool counts = e->kind == COUNT;
    if (match_shape(path, want, have))
        return -1;
    if (counts != (have->dtype == TENSOR_I32))
        return fail("%s: tensor %s is %s: expected %s", path, match_name(name, have->name),
                    tensor_dtype_name(have->dtype), counts ? "I32" : "F32 or BF16");
    if (counts && count_in(have) != e->count)
        return fail("%s: %s is %" PRId32 ", but by the step it is %" PRId32
                    ": not a train state that our optimiser can go on with",
                    path, match_name(name, have->name), count_in(have), e->count);
    float zero = 0;
    if (e->kind == ZERO)
        floats_widen(&zero, have->data, 1, have->dtype);
    if (zero == 0)
        return 0;
    return fail("%s: tensor %s is not zero: an Adafactor that factors, which the reference's does "
                "not",
                path, match_name(name, have->name));
}

static int check(const struct listing *l, const struct flax *f)
{
    if (match_names(f->path, l->tensor, l->count, f->list, f->count))
        return -1;
    for (int i = 0; i < l->count; i++)
        if (check_entry(&l->entry[i], &l->tensor[i], flax_find(f, l->name[i]), f->path))
            return -1;
    return 0;
}

int reference_alloc(const struct reference *r, struct params *p)
{
    size_t bytes = p->floats * sizeof *p->m;
    if (params_alloc(p, false))
        return -1;
    if (r->optim != REFERENCE_PARAMS_ONLY) {
        p->m = device_alloc(bytes);
        p->v = device_alloc(bytes);
        p->mean = r->accumulate > 1 ? device_alloc(bytes) : NULL;
        if (!p->m || !p->v || (r->accumulate > 1 && !p->mean))
            return fail("out of memory: the moments of %zu parameters", p->total);
    }
    return 0;
}

/* Call `move` for PIECE floats after another. */
static int each_piece(const struct listing *l, int i, float *piece,
                      int (*move)(const struct entry *e, size_t at, size_t n, float *piece,
                                  void *arg),
                      void *arg)
{
    size_t count = l->tensor[i].count;
    for (size_t at = 0; at < count; at += PIECE)
        if (move(&l->entry[i], at, count - at < PIECE ? count - at : PIECE, piece, arg))
            return -1;
    return 0;
}

static int read_piece(const struct entry *e, size_t at, size_t n, float *piece, void *arg)
{
    const struct tensor *t = arg;
    floats_widen(piece, (const uint8_t *)t->data + at * tensor_element_bytes(t->dtype), n,
                 t->dtype);
    device_put(e->at + at, piece, n * sizeof *piece);
    return 0;
}

static int fill(const struct reference *r, const struct params *p, const struct flax *f)
{
    struct listing l;
    float *piece = malloc(PIECE * sizeof *piece);
    if (!piece)
        return fail("%s: out of memory", f->path);
    int status = list_open(&l, r, p);
    for (int i = 0; !status && i < l.count; i++)
        if (l.entry[i].kind == FLOATS)
            status = each_piece(&l, i, piece, read_piece, (void *)flax_find(f, l.name[i]));
    if (!status)
        list_close(&l);
    free(piece);
    return status;
}

int reference_load(const struct reference *r, struct params *p, const struct flax *f)
{
    struct listing l;
    if (list_open(&l, r, p))
        return -1;
    int status = check(&l, f);
    list_close(&l);
    return status || reference_alloc(r, p) || fill(r, p, f) ? -1 : 0;
}

/* ---- writing ------------------------------------------------------------------------------- */

struct target {
    struct flax_writer w;
    enum tensor_dtype dtype;
};

static int write_piece(const struct entry *e, size_t at, size_t n, float *piece, void *arg)
{
    struct target *to = arg;
    if (e->kind == COUNT)
        return flax_put(&to->w, &e->count, sizeof e->count);
    if (e->kind == ZERO)
        memset(piece, 0, n * sizeof *piece);
    else
        device_get(piece, e->at + at, n * sizeof *piece);
    return flax_put(&to->w, piece, floats_narrow(piece, piece, n, to->dtype));
}

static int write_all(struct target *to, const struct listing *l, float *piece)
{
    for (int i = 0; i < l->count; i++) {
        struct tensor t = l->tensor[i];
        if (t.dtype != TENSOR_I32)
            t.dtype = to->dtype;
        if (flax_begin(&to->w, &t) || each_piece(l, i, piece, write_piece, to))
            return -1;
    }
    return 0;
}

int reference_save(const struct reference *r, const struct params *p, const char *path,
                   enum tensor_dtype dtype)
{
    struct target to = {.dtype = dtype};
    struct listing l;
    if (r->step > INT32_MAX)
        return fail("%s: step %" PRId64 " is beyond the reference's 32-bit count", path, r->step);
    float *piece = malloc(PIECE * sizeof *piece);
    if (!piece)
        return fail("%s: out of memory", path);
    int status = list_open(&l, r, p);
    if (!status) {
        status = flax_create(&to.w, path);
        if (!status && write_all(&to, &l, piece)) {
            flax_abandon(&to.w);
            status = -1;
        } else if (!status) {
            status = flax_commit(&to.w);
        }
        list_close(&l);
    }
    free(piece);
    return status;
}
