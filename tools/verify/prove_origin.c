/* prove_origin.c -- does an array hold the documents that it should: its streams', its tokenizer's?
 */
#include "encoder.h"
#include "feed.h"
#include "npy.h"
#include "pcg.h"
#include "placing.h"
#include "prove.h"
#include "report.h"
#include "source.h"
#include "tok_block.h"
#include "utf8.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { COMPARED = 100000, RETOKENIZED = 1000 };

/* ---- the published sets ------------------------------------------------------------------- */

const char *prove_published(const char *name, const struct npy *a)
{
    enum { HEADER_BYTES = 128 }; /* as numpy writes it before all of them */
    static const struct {
        const char *name, *what;
        uint64_t tokens;
    } known[] = {
        {"train.npy", "Pile set's train.npy", 383509963636},
        {"validation.npy", "Pile set's validation.npy", 393983786},
        {"test.npy", "Pile set's test.npy", 383707892},
        {"train.npy", "Books3 set's train.npy", 32585931901},
        {"validation.npy", "Books3 set's validation.npy", 14007763},
        {"test.npy", "Books3 set's test.npy", 14007763},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i].name) && a->dtype == NPY_U2 && a->count == known[i].tokens &&
            a->map.bytes == HEADER_BYTES + 2 * known[i].tokens)
            return known[i].what;
    return NULL;
}

/* ---- from streams to a dataset ------------------------------------------------------------ */

/* A split with where its documents begin. */
struct part {
    struct npy ids, offsets;
    char path[4096];
};

static int part_open(struct part *p, const char *dir, const char *split)
{
    char offsets[4096 + 8];
    snprintf(p->path, sizeof p->path, "%s/%s.npy", dir, split);
    snprintf(offsets, sizeof offsets, "%s/%s.offsets", dir, split);
    if (npy_open(&p->ids, p->path) || npy_open(&p->offsets, offsets))
        return -1;
    return p->offsets.dtype == NPY_U8 && p->offsets.count ? 0 : fail("%s: no offsets", offsets);
}

static void part_close(struct part *p)
{
    npy_close(&p->ids);
    npy_close(&p->offsets);
}

/* Document i; NULL when the offsets lie. */
static const uint8_t *part_document(const struct part *p, uint64_t i, uint64_t *count)
{
    if (i + 1 >= p->offsets.count)
        return NULL;
    uint64_t from = le64(p->offsets.data + 8 * i), to = le64(p->offsets.data + 8 * i + 8);
    *count = to - from;
    return from > to || to > p->ids.count ? NULL
                                          : p->ids.data + from * npy_item_bytes(p->ids.dtype);
}

/* The sum of all documents' hashes, which does not depend on their order. */
static uint64_t part_sum(const struct part *p, size_t id_bytes)
{
    uint64_t sum = 0, count;
    for (uint64_t i = 0; i + 1 < p->offsets.count; i++) {
        const uint8_t *ids = part_document(p, i, &count);
        sum += ids ? XXH3_64bits(ids, count * id_bytes) : 0;
    }
    return sum;
}

/* Documents that are not what the source has, and the first of them. */
struct lost {
    uint64_t documents, first, place, from, to; /* its bytes in the array: from .. to-1 */
    const char *path;                           /* of the array */
};

/* Documents of the stream, which come in pieces, against their places: every `stride`-th. */
static int compare(struct feed *f, const struct placing *o, uint64_t test, const struct part *train,
                   const struct part *held_out, size_t id_bytes, uint64_t stride,
                   uint64_t *compared, struct lost *lost)
{
    uint64_t documents = f->totals.documents, d = 0, at = 0, count = 0;
    const uint8_t *there = NULL;
    struct tok_doc piece;
    struct progress shown;
    bool same = true;
    int status;
    progress_begin(&shown, "compared", "B", f->bytes);
    for (; (status = feed_piece(f, &piece)) > 0; d += piece.last) {
        progress_to(&shown, feed_offset(f));
        if (d % stride || d >= documents)
            continue;
        uint64_t place = placing_of(o, d), number = place < test ? place : place - test;
        const struct part *p = place < test ? held_out : train;
        if (piece.first) {
            there = part_document(p, number, &count);
            same = there != NULL;
            at = 0;
        }
        same = same && at + piece.count <= count && (!piece.last || at + piece.count == count) &&
               !memcmp(there + at * id_bytes, piece.stored, piece.count * id_bytes);
        at += piece.count;
        *compared += piece.last;
        if (!piece.last || same)
            continue;
        if (lost->documents++ == 0) {
            lost->first = d;
            lost->place = number;
            lost->path = p->path;
            lost->from = there ? (uint64_t)(there - p->ids.map.data) : 0;
            lost->to = there ? lost->from + count * id_bytes : p->ids.map.bytes;
        }
    }
    progress_end(&shown);
    return status;
}

int prove_origin(const char *dir, const struct manifest *m, const char *const *sources, int count,
                 struct proof *p)
{
    const struct manifest_file *line = manifest_find(m, "train.npy");
    struct foreign_plan plan = {0};
    struct feed f = {0};
    struct placing o = {0};
    struct part train = {0}, test = {0};
    struct lost lost = {0};
    uint64_t held_out = 0, compared = 0;
    if (!line || line->seed < 0)
        return fail("%s: only .npy datasets whose splits were drawn are compared with their source",
                    dir);
    json_t *options = json_loads(line->options, 0, NULL);
    const char *ratio = json_string_value(json_object_get(options, "val_ratio"));
    bool rows = json_object_get(options, "best_fit") != NULL;
    int status = rows    ? fail("%s: rows of best-fit are not compared with their source", dir)
                 : ratio ? feed_open(&f, sources, count, &plan)
                         : fail("%s: the manifest tells no val_ratio", dir);
    size_t id_bytes = f.known ? tok_id_bytes(&f.meta) : 2;
    if (!status && !f.known)
        status = fail("%s: a pipe cannot be compared: name a file", sources[0]);
    if (!status &&
        (f.totals.chain != line->source.chain || f.totals.documents != line->source.documents))
        status = fail("%s: not made from %s: chains and counts differ", dir, sources[0]);
    if (!status)
        status = part_open(&train, dir, "train") || part_open(&test, dir, "test") ||
                         pcg_split(&held_out, strtod(ratio, NULL), f.totals.documents) ||
                         placing_begin(&o, PLACING_NUMPY, (uint64_t)line->seed, f.totals.documents)
                     ? -1
                     : 0;
    if (!status && npy_item_bytes(train.ids.dtype) != id_bytes)
        status = fail("%s: its ids are not as wide as the source's", train.path);
    bool whole = !status && part_sum(&train, id_bytes) + part_sum(&test, id_bytes) == f.totals.sum;
    if (!status) /* what is not whole is looked at document by document */
        status = compare(&f, &o, held_out, &train, &test, id_bytes,
                         whole ? f.totals.documents / COMPARED + 1 : 1, &compared, &lost);
    if (!status && lost.documents)
        status =
            fail("%s: document %" PRIu64 " of the source should stand in place %" PRIu64
                 " there, bytes %" PRIu64 " to %" PRIu64 ", but something else does; %" PRIu64
                 " of %" PRIu64 " documents are lost",
                 lost.path, lost.first, lost.place, lost.from, lost.to, lost.documents, compared);
    else if (!status && !whole)
        status = fail("%s: train and test together are not the documents of the source", dir);
    snprintf(p->note, sizeof p->note,
             "every document of the source once\torder of seed %lld: %" PRIu64 " compared",
             (long long)line->seed, compared);
    json_decref(options);
    placing_end(&o);
    part_close(&train);
    part_close(&test);
    feed_close(&f);
    return status;
}

/* ---- a dataset alone ------------------------------------------------------------------------ */

/* Of a document's ids as its stream stored them, which may have been narrower than here. */
static uint64_t hash_of(const uint8_t *ids, uint64_t count, size_t item, size_t id_bytes,
                        uint16_t **narrow, uint64_t *room)
{
    if (item == id_bytes)
        return XXH3_64bits(ids, count * item);
    if (count > *room) {
        free(*narrow);
        *room = count + count / 2;
        *narrow = malloc(*room * sizeof **narrow);
        if (!*narrow)
            die("no memory for a document of %" PRIu64 " ids", count);
    }
    for (uint64_t i = 0; i < count; i++)
        (*narrow)[i] = (uint16_t)le32(ids + 4 * i);
    return XXH3_64bits(*narrow, count * id_bytes);
}

/* Hashes of all documents of a split to hashes[0 ..]. */
static int hash_split(const char *dir, const char *split, size_t id_bytes, uint64_t documents,
                      uint64_t *hashes)
{
    struct part s = {0};
    uint16_t *narrow = NULL;
    uint64_t room = 0, count;
    struct progress shown;
    int status = part_open(&s, dir, split);
    size_t item = npy_item_bytes(s.ids.dtype);
    if (!status && (item < id_bytes || s.offsets.count != documents + 1))
        status = fail("%s: not the ids of %" PRIu64 " documents", s.path, documents);
    progress_begin(&shown, "hashed", " documents", documents);
    for (uint64_t i = 0; !status && i < documents; i++) {
        const uint8_t *ids = part_document(&s, i, &count);
        if (!ids)
            status = fail("%s: document %" PRIu64 " lies outside the array", s.path, i);
        else
            hashes[i] = hash_of(ids, count, item, id_bytes, &narrow, &room);
        progress_to(&shown, i + 1);
    }
    progress_end(&shown);
    free(narrow);
    part_close(&s);
    return status;
}

/* Does the chain of hashes, taken by the order from place `place(d)`, end where the source's did?
 */
static bool same_chain(const uint64_t *hashes, const struct placing *o, uint64_t chain)
{
    struct tok_totals t = {0};
    for (uint64_t d = 0; d < o->n; d++)
        tok_totals_add(&t, hashes[placing_of(o, d)]);
    return t.chain == chain;
}

int prove_chain(const char *dir, const struct manifest *m, struct proof *p)
{
    static const char *const splits[] = {"train", "validation", "test"};
    const struct manifest_file *line[3];
    uint64_t most = 0;
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s.npy", splits[i]);
        line[i] = manifest_find(m, name);
        if (!line[i])
            return 0;
        most = line[i]->source.documents > most ? line[i]->source.documents : most;
    }
    json_t *options = json_loads(line[0]->options, 0, NULL);
    bool rows = json_object_get(options, "best_fit") != NULL;
    json_decref(options);
    if (rows)
        return 0;
    bool given = line[0]->seed < 0;
    size_t id_bytes = tok_id_bytes(&(struct tok_meta){.vocab_size = line[0]->vocab_size});
    uint64_t *hashes = malloc((most + 1) * sizeof *hashes);
    int status = hashes ? 0 : fail("no memory for the hashes of %" PRIu64 " documents", most);
    for (int i = 0; !status && i < (given ? 3 : 1); i++) {
        const struct manifest_source *from = &line[i]->source;
        uint64_t held_out = given ? 0 : line[2]->documents;
        struct placing o = {0};
        if (held_out + line[i]->documents != from->documents)
            status = fail("%s: the splits have not as many documents as the source", dir);
        if (!status && !given)
            status = hash_split(dir, splits[2], id_bytes, held_out, hashes);
        if (!status)
            status = hash_split(dir, splits[i], id_bytes, line[i]->documents, hashes + held_out);
        if (!status)
            status = placing_begin(&o, given ? PLACING_SAME : PLACING_NUMPY,
                                   given ? 0 : (uint64_t)line[i]->seed, from->documents);
        if (!status && !same_chain(hashes, &o, from->chain))
            status = fail("%s: the documents of %s, put back into their source's order%s, do not "
                          "give its chain of hashes: some are lost, doubled, changed or misplaced",
                          dir, given ? splits[i] : "train and test", given ? "" : " by the seed");
        placing_end(&o);
    }
    free(hashes);
    if (given)
        snprintf(p->note, sizeof p->note, "every document of the sources once, in their order");
    else
        snprintf(p->note, sizeof p->note,
                 "every document of the source once, in train or in test, in the order of seed "
                 "%lld\tchain %016" PRIx64,
                 (long long)line[0]->seed, line[0]->source.chain);
    return status ? -1 : 1;
}

/* ---- back to text and to ids again -------------------------------------------------------- */

/* Text of the ids between BOS and EOS, tokenized: -1 error, 0 other ids, 1 the same, 2 cannot be
   told: control ids stand inside, or bytes that are no text. */
static int again(struct encoder *e, const struct tok_doc *doc, struct ids *out, uint8_t **text,
                 size_t *room)
{
    const struct tokenizer *t = e->t;
    struct framing framing = {.special = SPECIAL_TEXT};
    size_t first = 0, end = doc->count;
    framing.bos = end > 0 && doc->ids[0] == t->bos_id;
    first = framing.bos;
    framing.eos = end > first && doc->ids[end - 1] == t->eos_id;
    end -= framing.eos;
    for (size_t i = first; i < end; i++)
        if (doc->ids[i] == t->bos_id || doc->ids[i] == t->eos_id || doc->ids[i] == t->unk_id)
            return 2;
    size_t need = tokenizer_decode(t, doc->ids, doc->count, NULL, *text, *room);
    if (need > *room) {
        free(*text);
        *room = need + need / 2;
        if (!(*text = malloc(*room)))
            return fail("no memory for a text of %zu bytes", need);
        tokenizer_decode(t, doc->ids, doc->count, NULL, *text, *room);
    }
    if (!utf8_valid(*text, need, &(size_t){0}))
        return 2;
    out->count = 0;
    if (encoder_document(e, *text, need, framing, out))
        return -1;
    return out->count == doc->count && !memcmp(out->id, doc->ids, 4 * doc->count);
}

int prove_deep(const char *path, const char *model, struct proof *p)
{
    struct tokenizer t;
    struct encoder e = {0};
    struct source s = {0};
    struct tok_doc doc;
    struct ids out = {0};
    uint8_t *text = NULL;
    size_t room = 0;
    uint64_t same = 0, untold = 0, documents = 0;
    if (tokenizer_open(&t, model))
        return -1;
    int status = source_open(&s, path, "train") || encoder_open(&e, &t) ? -1 : 0;
    if (!status && s.has_tokenizer && strcmp(s.tokenizer.hex, t.hash.hex))
        status = fail("%s: made with another tokenizer: its XXH3-128 is %s, not %s", path,
                      s.tokenizer.hex, t.hash.hex);
    if (!status && s.is_tok && s.tok.file_bytes && !tok_reader_index(&s.tok))
        documents = s.tok.totals.documents;
    else if (!status)
        documents = s.offsets.count ? s.offsets.count - 1 : 0;
    /* Where documents are not known, the first ones stand for all. */
    uint64_t stride = documents / RETOKENIZED + 1, at = 0, tried = 0;
    for (; !status && tried < RETOKENIZED; at += stride) {
        if (documents && at >= documents)
            break;
        if (stride > 1 && source_skip(&s, at)) {
            status = -1;
            break;
        }
        int there = source_next(&s, &doc);
        if (there <= 0) {
            status = there;
            break;
        }
        int told = again(&e, &doc, &out, &text, &room);
        status = told < 0    ? -1
                 : told == 0 ? fail("%s: document %" PRIu64 " decoded and tokenized again gives "
                                    "other ids",
                                    path, at)
                             : 0;
        same += told == 1;
        untold += told == 2;
        tried++;
    }
    snprintf(p->note, sizeof p->note,
             "tokenized again: %" PRIu64 " documents the same, %" PRIu64 " cannot be told", same,
             untold);
    ids_free(&out);
    free(text);
    encoder_close(&e);
    source_close(&s);
    tokenizer_close(&t);
    return status;
}
