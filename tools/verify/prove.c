/* prove.c -- is one file whole, and does it hold what it should? */
#include "prove.h"
#include "damage.h"
#include "foreign.h"
#include "ids.h"
#include "npy.h"
#include "report.h"
#include "tensors.h"
#include "tok.h"
#include "tok_repair.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { CHUNK_BYTES = 1 << 20, CHUNK_IDS = 1 << 17 };

/* ---- .tok --------------------------------------------------------------------------------- */

/* The sentence for a damaged file, with its first bad place and what all of them cost. */
static int damaged(const char *path)
{
    struct tok_repair r;
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", why());
    if (tok_repair(&r, path, NULL) || r.count == 0)
        return fail("%s", sentence);
    const struct tok_damage *d = &r.damages[0];
    fail("%s; first bad: block %" PRIu64 ", bytes %" PRIu64 " to %" PRIu64 "; %" PRIu64
         " documents are good, %" PRIu64 "%s lost%s",
         sentence, d->block, d->from, d->to, r.documents, r.lost,
         r.counted ? "" : " and an unknown number", "; --repair saves the good ones");
    tok_repair_close(&r);
    return -1;
}

int prove_tok(const char *path, const struct xxh3 *tokenizer, struct proof *p)
{
    struct tok_reader r;
    struct tok_doc piece;
    struct progress shown;
    int status;
    if (tok_reader_open(&r, path))
        return -1;
    r.stored_only = true;
    progress_begin(&shown, "verified", "B", r.file_bytes);
    while ((status = tok_reader_piece(&r, &piece)) > 0)
        progress_to(&shown, r.offset);
    progress_end(&shown);
    if (status && r.file_bytes)
        damaged(path);
    if (!status && tokenizer && strcmp(tokenizer->hex, r.meta.tokenizer.hex))
        status = fail("%s: made with another tokenizer: its XXH3-128 is %s, not %s", path,
                      r.meta.tokenizer.hex, tokenizer->hex);
    snprintf(p->note, sizeof p->note,
             "%" PRIu64 " documents\t%" PRIu64 " tokens\t%" PRIu64 " blocks\tvocabulary %u",
             r.totals.documents, r.totals.tokens, r.totals.blocks, r.meta.vocab_size);
    tok_reader_close(&r);
    return status;
}

int prove_repair(const char *path, const char *out)
{
    struct tok_repair r;
    if (tok_repair(&r, path, out))
        return -1;
    for (size_t i = 0; i < r.count; i++) {
        const struct tok_damage *d = &r.damages[i];
        printf("%s\tbad\tblock %" PRIu64 "\tbytes %" PRIu64 " to %" PRIu64 "\t", path, d->block,
               d->from, d->to);
        if (d->counted)
            printf("%" PRIu64 " documents lost\t%s\n", d->documents, d->why);
        else
            printf("documents lost: unknown\t%s\n", d->why);
    }
    printf("%s\tsaved\t%" PRIu64 " documents\t%" PRIu64 " tokens\t%" PRIu64 " blocks\t%" PRIu64
           " documents lost%s\n",
           out, r.documents, r.tokens, r.blocks, r.lost, r.counted ? "" : " and those of the end");
    tok_repair_close(&r);
    return 0;
}

/* ---- .npy --------------------------------------------------------------------------------- */

/* What `who` ("the manifest") says of a file; b, which may be NULL, becomes its blocks. */
static int sums_check(const char *path, const struct map *m, const char *who, uint64_t bytes,
                      const struct xxh3 *xxh3, struct blocks *b)
{
    struct xxh3_stream s;
    struct progress shown;
    if (m->bytes != bytes)
        return fail("%s: %zu bytes, but %s says %" PRIu64 ": cut short, or another file", path,
                    m->bytes, who, bytes);
    progress_begin(&shown, "verified", "B", m->bytes);
    xxh3_begin(&s);
    for (size_t at = 0; at < m->bytes; at += CHUNK_BYTES) {
        size_t n = m->bytes - at < CHUNK_BYTES ? m->bytes - at : CHUNK_BYTES;
        xxh3_add(&s, m->data + at, n);
        if (b)
            blocks_add(b, m->data + at, n);
        progress_to(&shown, at + n);
    }
    progress_end(&shown);
    struct xxh3 x = xxh3_end(&s);
    if (strcmp(x.hex, xxh3->hex))
        return fail("%s: damaged: its XXH3-128 is %s, but %s says %s", path, x.hex, who, xxh3->hex);
    return 0;
}

static int line_check(const char *path, const struct map *m, const struct manifest_file *line)
{
    struct blocks b = {0};
    int status = sums_check(path, m, "the manifest", line->bytes, &line->xxh3, &b);
    uint32_t crc = blocks_crc32c(&b);
    if (status)
        status = damage_place(path, m->bytes, &b, line);
    else if (crc != line->crc32c)
        status =
            fail("%s: its crc32c is %08x, but the manifest says %08x", path, crc, line->crc32c);
    blocks_free(&b);
    return status;
}

static int sums_look(const char *path, const struct manifest_file *line)
{
    struct map m;
    if (map_open(&m, path))
        return -1;
    int status = line_check(path, &m, line);
    map_close(&m);
    return status;
}

/* An array that is what its line says, where it has one. Of one whose header cannot be read that
   tells where it is damaged. */
static int array_open(struct npy *a, const char *path, const struct manifest_file *line)
{
    char said[1024];
    if (!npy_open(a, path)) {
        if (!line || !line_check(path, &a->map, line))
            return 0;
        npy_close(a);
        return -1;
    }
    snprintf(said, sizeof said, "%s", why());
    return line && sums_look(path, line) ? -1 : fail("%s", said);
}

/* Every id is below the vocabulary; BOS and EOS are counted on the way, as Llama numbers them. */
struct count {
    uint64_t bos, eos;
};

static int shape_check(const char *path, const struct npy *a)
{
    if (a->dims != 1 || (a->dtype != NPY_U2 && a->dtype != NPY_I4 && a->dtype != NPY_U4))
        return fail("%s: %d dimensions of %s: token ids are one flat array of uint16, int32 or "
                    "uint32",
                    path, a->dims, npy_dtype_name(a->dtype));
    return 0;
}

/* c: NULL when nobody asks how many; whoever knows the documents has better proofs. */
static int ids_check(const char *path, const struct npy *a, uint64_t vocab_size, struct count *c)
{
    if (shape_check(path, a))
        return -1;
    if (vocab_size == 0)
        vocab_size = a->dtype == NPY_U2 ? 65536 : (uint64_t)INT32_MAX + 1;
    size_t item = npy_item_bytes(a->dtype);
    for (uint64_t at = 0, n; at < a->count; at += n) {
        n = a->count - at < CHUNK_IDS ? a->count - at : CHUNK_IDS;
        const uint8_t *from = a->data + at * item;
        if (ids_most(from, n, item) >= vocab_size) {
            uint64_t i = at + ids_find(from, n, item, vocab_size);
            return fail("%s: token %" PRIu64 " is %lld, which is not below the vocabulary of "
                        "%" PRIu64,
                        path, i, (long long)npy_int(a, i), vocab_size);
        }
        if (c) {
            c->bos += ids_count(from, n, item, 1);
            c->eos += ids_count(from, n, item, 2);
        }
    }
    return 0;
}

/* Does it look like documents of Llama's tokenizer, each from BOS to EOS? */
static const char *plausible(const struct npy *a, const struct count *c)
{
    if (a->count == 0)
        return "empty";
    if (npy_int(a, 0) != 1 || c->bos == 0)
        return "odd: it does not begin with BOS, id 1";
    if (c->eos > c->bos + c->bos / 16 || c->bos > 2 * c->eos + 16)
        return "odd: BOS and EOS do not go together";
    double mean = (double)a->count / (double)c->bos;
    return mean > 1e6 ? "odd: documents of a million ids" : "plausible";
}

/* So many ids, and whose they are by that. */
static const char *known_as(const char *path, const struct npy *a)
{
    const char *slash = strrchr(path, '/');
    return prove_published(slash ? slash + 1 : path, a);
}

int prove_header(const char *path, struct proof *p)
{
    struct npy a;
    if (npy_open(&a, path))
        return -1;
    const char *known = known_as(path, &a);
    int status = shape_check(path, &a);
    snprintf(p->note, sizeof p->note, "%" PRIu64 " tokens\t%s\tids not read%s%s", a.count,
             npy_dtype_name(a.dtype), known ? "\tof the size of the published " : "",
             known ? known : "");
    npy_close(&a);
    return status;
}

int prove_ids(const char *path, uint32_t vocab_size, const struct manifest_file *line,
              struct proof *p)
{
    struct npy a;
    struct count c = {0};
    if (array_open(&a, path, line))
        return -1;
    int status = ids_check(path, &a, line ? line->vocab_size : vocab_size, line ? NULL : &c);
    if (!status && line &&
        (a.count != line->tokens || strcmp(npy_dtype_name(a.dtype), line->dtype)))
        status = fail("%s: %" PRIu64 " ids of %s, but the manifest says %" PRIu64 " of %s", path,
                      a.count, npy_dtype_name(a.dtype), line->tokens, line->dtype);
    int n = snprintf(p->note, sizeof p->note, "%" PRIu64 " tokens\t%s", a.count,
                     npy_dtype_name(a.dtype));
    if (line)
        snprintf(p->note + n, sizeof p->note - (size_t)n, "\t%" PRIu64 " documents\txxh3 %s",
                 line->documents, line->xxh3.hex);
    else if (!status) {
        const char *known = known_as(path, &a);
        snprintf(p->note + n, sizeof p->note - (size_t)n,
                 "\tBOS %" PRIu64 ", EOS %" PRIu64 ", %s%s%s", c.bos, c.eos, plausible(&a, &c),
                 known ? "\tas many ids as the published " : "", known ? known : "");
    }
    npy_close(&a);
    return status;
}

static int starts_check(const char *path, const struct npy *a, const struct manifest_file *line)
{
    if (a->dims != 1 || a->dtype != NPY_U8 || a->count == 0 || a->count - 1 != line->documents)
        return fail("%s: %" PRIu64 " of %s, but %" PRIu64 " documents need one more uint64 than "
                    "they are",
                    path, a->count, npy_dtype_name(a->dtype), line->documents);
    uint64_t before = 0;
    for (uint64_t i = 0; i < a->count; i++) {
        uint64_t at = le64(a->data + 8 * i);
        if (at < before || (i == 0 && at != 0) || at > line->tokens)
            return fail("%s: document %" PRIu64 " begins at token %" PRIu64 ", the one before at "
                        "%" PRIu64 ", and there are %" PRIu64,
                        path, i, at, before, line->tokens);
        before = at;
    }
    if (before != line->tokens)
        return fail("%s: the last document ends at token %" PRIu64 " of %" PRIu64, path, before,
                    line->tokens);
    return 0;
}

int prove_offsets(const char *path, const struct manifest_file *line, struct proof *p)
{
    struct npy a;
    if (array_open(&a, path, line))
        return -1;
    int status = starts_check(path, &a, line);
    npy_close(&a);
    snprintf(p->note, sizeof p->note, "%" PRIu64 " documents", line->documents);
    return status;
}

int prove_offsets_alone(const char *path, struct proof *p)
{
    struct npy ids, a;
    char sibling[4096];
    snprintf(sibling, sizeof sibling, "%.*s.npy", (int)(strlen(path) - strlen(".offsets")), path);
    if (npy_open(&a, path))
        return -1;
    struct manifest_file line = {.documents = a.count ? a.count - 1 : 0};
    int status = npy_open(&ids, sibling);
    if (!status) {
        line.tokens = ids.count;
        npy_close(&ids);
        status = starts_check(path, &a, &line);
    }
    npy_close(&a);
    snprintf(p->note, sizeof p->note, "%" PRIu64 " documents of %" PRIu64 " tokens", line.documents,
             line.tokens);
    return status;
}

int prove_foreign(const char *path, const char *format, const struct manifest_file *line,
                  struct proof *p)
{
    struct foreign_plan plan = {.format = format, .eod = -1, .vocab_size = line->vocab_size};
    struct foreign f;
    struct tok_doc piece;
    uint64_t tokens = 0, documents = 0;
    int status = prove_sums(path, line, p);
    if (status || foreign_open(&f, path, &plan))
        return -1;
    bool told = f.ends == ENDS_LISTED || f.ends == ENDS_MEGATRON || f.ends == ENDS_MDS;
    while ((status = foreign_piece(&f, &piece)) > 0) {
        tokens += piece.count;
        documents += piece.last;
    }
    foreign_close(&f);
    if (!status && (tokens != line->tokens || (told && documents != line->documents)))
        status = fail("%s: %" PRIu64 " documents and %" PRIu64 " ids, but the manifest says "
                      "%" PRIu64 " and %" PRIu64,
                      path, documents, tokens, line->documents, line->tokens);
    int n = snprintf(p->note, sizeof p->note, "%" PRIu64 " tokens\t%s", tokens, format);
    if (told)
        snprintf(p->note + n, sizeof p->note - (size_t)n, "\t%" PRIu64 " documents", documents);
    return status;
}

int prove_sums(const char *path, const struct manifest_file *line, struct proof *p)
{
    snprintf(p->note, sizeof p->note, "%" PRIu64 " bytes", line->bytes);
    return sums_look(path, line);
}

/* ---- safetensors -------------------------------------------------------------------------- */

static int nan_check(const char *path, const struct tensor *x)
{
    for (size_t k = 0; x->dtype == TENSOR_F32 && k < x->count; k++) {
        float v;
        memcpy(&v, (const char *)x->data + 4 * k, 4);
        if (isnan(v))
            return fail("%s: tensor %s holds NaN at element %zu", path, x->name, k);
    }
    return 0;
}

int prove_tensors(const char *path, const char *who, uint64_t bytes, const struct xxh3 *xxh3,
                  struct proof *p)
{
    struct tensors t;
    uint64_t numbers = 0;
    if (tensors_open(&t, path))
        return -1;
    int status = xxh3 ? sums_check(path, &t.map, who, bytes, xxh3, NULL) : 0;
    for (int i = 0; !status && i < t.count; i++) {
        numbers += t.list[i].count;
        status = nan_check(path, &t.list[i]);
    }
    snprintf(p->note, sizeof p->note, "%d tensors\t%" PRIu64 " numbers", t.count, numbers);
    tensors_close(&t);
    return status;
}
