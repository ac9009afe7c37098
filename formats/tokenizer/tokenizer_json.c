/* tokenizer_json.c -- reads Hugging Face's tokenizer.json. */
#include "tokenizer_json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define VOCAB_MAX (1u << 24)
#define BLANK     "\u2581"

/* ---- small questions ---------------------------------------------------------------------- */

static bool is_text(const json_t *v, const char *text)
{
    return json_is_string(v) && !strcmp(json_string_value(v), text);
}

static bool has_type(const json_t *v, const char *type)
{
    return is_text(json_object_get(v, "type"), type);
}

/* Missing, null, false, zero or "": as if it were not there. */
static bool is_off(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) || is_text(v, "") ||
           (json_is_number(v) && !(json_number_value(v) != 0));
}

/* {"pattern": {"String": from}, "content": to} */
static bool replaces(const json_t *v, const char *from, const char *to)
{
    return has_type(v, "Replace") &&
           is_text(json_object_get(json_object_get(v, "pattern"), "String"), from) &&
           is_text(json_object_get(v, "content"), to);
}

static uint32_t id_of(const json_t *vocab, const char *text)
{
    const json_t *id = text ? json_object_get(vocab, text) : NULL;
    return json_is_integer(id) ? (uint32_t)json_integer_value(id) : TOKENIZER_NONE;
}

/* ---- pieces ------------------------------------------------------------------------------- */

/* The ids are 0 to n - 1, each once. */
static int read_vocab(struct tokenizer *t, json_t *vocab, uint32_t *used)
{
    size_t count = json_object_size(vocab), bytes = 0;
    const char *text;
    json_t *id;
    if (!json_is_object(vocab) || count == 0)
        return fail("no model.vocab in it: not a tokenizer.json");
    if (count > VOCAB_MAX)
        return fail("%zu pieces are more than the %u that can be read", count, VOCAB_MAX);
    json_object_foreach(vocab, text, id) bytes += strlen(text);
    if (bytes > UINT32_MAX / 4)
        return fail("its pieces have %zu bytes, which is too much", bytes);
    t->pieces = calloc(count, sizeof *t->pieces);
    t->text = malloc(2 * bytes + 64);
    if (!t->pieces || !t->text)
        return fail("no memory for its %zu pieces", count);
    t->vocab_size = (uint32_t)count;
    *used = 0;
    json_object_foreach(vocab, text, id)
    {
        json_int_t n = json_is_integer(id) ? json_integer_value(id) : -1;
        if (n < 0 || n >= (json_int_t)count || t->pieces[n].kind)
            return fail(
                "model.vocab: \"%.60s\" has an id that is not one of 0 to %zu, or another's", text,
                count - 1);
        struct piece *p = &t->pieces[n];
        *p = (struct piece){.at = *used, .bytes = (uint32_t)strlen(text), .kind = PIECE_NORMAL};
        memcpy(t->text + p->at, text, p->bytes);
        *used += p->bytes;
    }
    return 0;
}

static int find_bytes(struct tokenizer *t)
{
    int found = 0;
    for (uint32_t id = 0; t->byte_fallback && id < t->vocab_size; id++) {
        struct piece *p = &t->pieces[id];
        int byte = tokenizer_byte_spelled(t->text + p->at, p->bytes);
        if (byte < 0)
            continue;
        p->kind = PIECE_BYTE;
        t->byte_id[byte] = id;
        found++;
    }
    return t->byte_fallback && found != 256 ? fail("%d byte pieces of 256", found) : 0;
}

/* ---- special tokens ------------------------------------------------------------------------ */

/* What the post-processor puts before and behind a text, else <s> and </s> if they are there. */
static void find_ends(struct tokenizer *t, const json_t *root, const json_t *vocab)
{
    const json_t *post = json_object_get(root, "post_processor"), *processors, *step;
    size_t i;
    bool behind = false;
    t->bos_id = id_of(vocab, "<s>");
    t->eos_id = id_of(vocab, "</s>");
    processors = json_object_get(post, "processors");
    if (has_type(post, "Sequence"))
        json_array_foreach(processors, i, step) post =
            has_type(step, "TemplateProcessing") ? step : post;
    json_array_foreach(json_object_get(post, "single"), i, step)
    {
        const json_t *special = json_object_get(step, "SpecialToken");
        uint32_t id = id_of(vocab, json_string_value(json_object_get(special, "id")));
        behind |= json_object_get(step, "Sequence") != NULL;
        if (special && id < t->vocab_size)
            *(behind ? &t->eos_id : &t->bos_id) = id;
    }
}

static int check_added(const struct tokenizer *t, const json_t *added)
{
    size_t i;
    const json_t *a;
    json_array_foreach(added, i, a)
    {
        const char *text = json_string_value(json_object_get(a, "content"));
        json_int_t id = json_integer_value(json_object_get(a, "id"));
        size_t n = 0;
        const uint8_t *piece =
            id >= 0 && id < t->vocab_size ? tokenizer_piece(t, (uint32_t)id, &n) : NULL;
        if (!text || !piece || n != strlen(text) || memcmp(piece, text, n) != 0 ||
            (id != t->unk_id && id != t->bos_id && id != t->eos_id))
            return fail("the added token \"%.60s\" is neither the unknown one, nor BOS, nor EOS, "
                        "and others cannot be read",
                        text ? text : "?");
        if (!is_off(json_object_get(a, "lstrip")) || !is_off(json_object_get(a, "rstrip")) ||
            !is_off(json_object_get(a, "single_word")) || !is_off(json_object_get(a, "normalized")))
            return fail("the added token \"%.60s\" is stripped, normalized or a single word, which "
                        "is not supported",
                        text);
    }
    return 0;
}

static int find_special(struct tokenizer *t, const json_t *root, const json_t *vocab)
{
    const json_t *unk = json_object_get(json_object_get(root, "model"), "unk_token");
    t->unk_id = id_of(vocab, json_string_value(unk));
    if (t->unk_id >= t->vocab_size)
        return fail("model.unk_token is no piece of model.vocab");
    find_ends(t, root, vocab);
    if (t->bos_id < t->vocab_size)
        t->pieces[t->bos_id].kind = PIECE_CONTROL;
    if (t->eos_id < t->vocab_size)
        t->pieces[t->eos_id].kind = PIECE_CONTROL;
    t->pieces[t->unk_id].kind = PIECE_UNKNOWN;
    return check_added(t, json_object_get(root, "added_tokens"));
}

/* ---- what is done to a text ----------------------------------------------------------------- */

static int read_normalizer(struct tokenizer *t, const json_t *normalizer, bool *blanks)
{
    const json_t *all = json_object_get(normalizer, "normalizers"), *step;
    size_t i, n = has_type(normalizer, "Sequence") ? json_array_size(all) : !is_off(normalizer);
    for (i = 0; i < n; i++) {
        step = has_type(normalizer, "Sequence") ? json_array_get(all, i) : normalizer;
        if (has_type(step, "Prepend") && is_text(json_object_get(step, "prepend"), BLANK) && i == 0)
            t->dummy_prefix = true;
        else if (replaces(step, " ", BLANK))
            *blanks = true;
        else
            return fail("its normalizer does more than put U+2581 for blanks and before the text");
    }
    return 0;
}

static int read_pre_tokenizer(struct tokenizer *t, const json_t *pre, bool *blanks)
{
    const json_t *scheme = json_object_get(pre, "prepend_scheme");
    const json_t *split = json_object_get(pre, "split");
    if (is_off(pre))
        return 0;
    if (!has_type(pre, "Metaspace") || !is_text(json_object_get(pre, "replacement"), BLANK) ||
        !split || !is_off(split) || *blanks)
        return fail("its pre-tokenizer splits texts, or is no Metaspace with U+2581");
    *blanks = true;
    if (is_text(scheme, "never"))
        return 0;
    t->dummy_first = is_text(scheme, "first");
    t->dummy_prefix = true;
    if (t->dummy_first || is_text(scheme, "always") ||
        (!scheme && !is_off(json_object_get(pre, "add_prefix_space"))))
        return 0;
    return fail("its Metaspace has an unknown prepend_scheme");
}

static int read_settings(struct tokenizer *t, const json_t *root)
{
    const json_t *model = json_object_get(root, "model");
    bool blanks = false;
    if (!json_is_object(model))
        return fail("no model in it: not a tokenizer.json");
    if (json_object_get(model, "type") && !has_type(model, "BPE"))
        return fail("its model is not of the type BPE");
    static const char *const never[] = {"dropout", "continuing_subword_prefix",
                                        "end_of_word_suffix", "ignore_merges"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (!is_off(json_object_get(model, never[i])))
            return fail("its model has a %s, which is not supported", never[i]);
    if (!is_off(json_object_get(root, "truncation")))
        return fail("it truncates texts, which is not supported");
    t->byte_fallback = json_is_true(json_object_get(model, "byte_fallback"));
    if (!t->byte_fallback && !json_is_true(json_object_get(model, "fuse_unk")))
        return fail("its model has neither byte_fallback nor fuse_unk, which is not supported");
    if (read_normalizer(t, json_object_get(root, "normalizer"), &blanks) ||
        read_pre_tokenizer(t, json_object_get(root, "pre_tokenizer"), &blanks))
        return -1;
    return blanks ? 0 : fail("it does not write blanks as U+2581, which is not supported");
}

/* ---- merges ------------------------------------------------------------------------------- */

/* "left right" or ["left", "right"]. */
static int read_merge(const json_t *vocab, const json_t *m, struct bpe_merge *merge)
{
    if (json_is_array(m) && json_array_size(m) == 2) {
        merge->left = id_of(vocab, json_string_value(json_array_get(m, 0)));
        merge->right = id_of(vocab, json_string_value(json_array_get(m, 1)));
    } else {
        const char *text = json_string_value(m), *blank = text ? strchr(text, ' ') : NULL;
        char *left = blank ? strndup(text, (size_t)(blank - text)) : NULL;
        merge->left = id_of(vocab, left);
        merge->right = id_of(vocab, left ? blank + 1 : NULL);
        free(left);
    }
    return merge->left == TOKENIZER_NONE || merge->right == TOKENIZER_NONE ? -1 : 0;
}

static int read_merges(const json_t *vocab, const json_t *list, struct bpe_merge **merges,
                       size_t *count)
{
    if (!json_is_array(list))
        return fail("no model.merges in it: not a tokenizer.json");
    *count = json_array_size(list);
    *merges = malloc(sizeof **merges * (*count + 1));
    if (!*merges)
        return fail("no memory for its %zu merges", *count);
    for (size_t i = 0; i < *count; i++)
        if (read_merge(vocab, json_array_get(list, i), *merges + i))
            return fail("merge %zu is not of two pieces of model.vocab", i);
    return 0;
}

int tokenizer_json(struct tokenizer *t, const void *data, size_t bytes, uint32_t *used,
                   struct bpe_merge **merges, size_t *count)
{
    json_error_t error;
    json_t *root = json_loadb(data, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    *merges = NULL;
    if (!root)
        return fail("line %d: %s", error.line, error.text);
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    int status = read_settings(t, root) || read_vocab(t, vocab, used) || find_bytes(t) ||
                         find_special(t, root, vocab) ||
                         read_merges(vocab, json_object_get(model, "merges"), merges, count)
                     ? -1
                     : 0;
    json_decref(root);
    return status;
}
