/* peek.c -- ttt-peek: look inside token streams, datasets and safetensors. */
#include "flags.h"
#include "manifest.h"
#include "plot.h"
#include "report.h"
#include "source.h"
#include "tensors.h"
#include "tokenizer.h"
#include "utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tokenizer tokenizer;
static const char *format = "", *model = "", *split = "train";
static bool plots;

/* ---- documents ---------------------------------------------------------------------------- */

/* A document's text in a buffer that the next call reuses. */
static const uint8_t *text_of(const struct tok_doc *doc, size_t *bytes)
{
    static uint8_t *text;
    static size_t room;
    size_t need = tokenizer_decode(&tokenizer, doc->ids, doc->count, NULL, text, room);
    if (need > room) {
        free(text);
        room = need + need / 2;
        text = malloc(room);
        if (!text)
            die("no memory for a text of %zu bytes", need);
        need = tokenizer_decode(&tokenizer, doc->ids, doc->count, NULL, text, room);
    }
    *bytes = need;
    return text;
}

static void print_ids(const struct tok_doc *doc, char between)
{
    for (size_t i = 0; i < doc->count; i++) {
        char digits[10], *d = digits + sizeof digits;
        uint32_t v = doc->ids[i];
        do
            *--d = (char)('0' + v % 10);
        while (v /= 10);
        if (i)
            putchar(between);
        fwrite(d, 1, (size_t)(digits + sizeof digits - d), stdout);
    }
}

/* As a JSON string; bytes that are no UTF-8 become U+FFFD. */
static void print_json(const uint8_t *text, size_t bytes)
{
    const uint8_t *end = text + bytes;
    uint32_t code;
    putchar('"');
    for (unsigned n; text < end; text += n) {
        n = utf8_next(text, end, &code);
        if (code == UTF8_BAD)
            fputs("\xef\xbf\xbd", stdout);
        else if (code == '"' || code == '\\')
            printf("\\%c", (int)code);
        else if (code == '\n')
            fputs("\\n", stdout);
        else if (code == '\t')
            fputs("\\t", stdout);
        else if (code < 0x20 || code == 0x7f)
            printf("\\u%04x", code);
        else
            fwrite(text, 1, n, stdout);
    }
    putchar('"');
}

static void print_document(const struct tok_doc *doc)
{
    size_t bytes;
    if (*format == 'i') {
        print_ids(doc, ' ');
    } else if (*format == 't') {
        const uint8_t *text = text_of(doc, &bytes);
        fwrite(text, 1, bytes, stdout);
    } else {
        printf("{\"doc\":%" PRIu64 ",\"ids\":[", doc->number);
        print_ids(doc, ',');
        putchar(']');
        if (*model) {
            const uint8_t *text = text_of(doc, &bytes);
            fputs(",\"text\":", stdout);
            print_json(text, bytes);
        }
        putchar('}');
    }
    putchar('\n');
}

/* The tokenizer must be the one that made the ids. */
static int tokenizer_check(const struct source *s)
{
    if (s->has_tokenizer && strcmp(s->tokenizer.hex, tokenizer.hash.hex))
        return fail("%s: made with another tokenizer: its XXH3-128 is %s, that of %s is %s",
                    s->path, s->tokenizer.hex, model, tokenizer.hash.hex);
    if (!s->has_tokenizer)
        say("%s: nothing says which tokenizer made it: %s is believed", s->path, model);
    return 0;
}

/* Take the tokenizer at `path` if it is the one that made the ids; says nothing if it is not. */
static bool tokenizer_take(const struct source *s, const char *path)
{
    if (access(path, R_OK) || tokenizer_open(&tokenizer, path))
        return false;
    if (!strcmp(s->tokenizer.hex, tokenizer.hash.hex))
        return true;
    tokenizer_close(&tokenizer);
    return false;
}

/* Without --tokenizer, look where the file says that its tokenizer was, and beside the file. */
static int tokenizer_look_up(const struct source *s)
{
    static char beside[PATH_MAX];
    const char *was = s->tokenizer_file;
    if (was && !*model) {
        const char *name = strrchr(was, '/'), *slash = strrchr(s->path, '/');
        int n = snprintf(beside, sizeof beside, "%.*s%s", slash ? (int)(slash + 1 - s->path) : 0,
                         s->path, name ? name + 1 : was);
        if (tokenizer_take(s, was) ||
            (n > 0 && (size_t)n < sizeof beside && tokenizer_take(s, beside)))
            model = beside;
    }
    if (*model || *format != 't')
        return 0;
    return fail("%s: --format=text needs --tokenizer MODEL%s%s", s->path,
                was ? ": not there any more, or another one, is " : "", was ? was : "");
}

static int documents(struct source *s, int64_t first, int64_t count)
{
    struct tok_doc doc;
    int status = 1;
    if (*model && tokenizer_check(s))
        return -1;
    if (s->guessed)
        say("%s: no offsets beside it: a document is taken to begin at each id 1", s->path);
    if (first > 0 && source_skip(s, (uint64_t)first))
        return -1;
    for (int64_t i = 0; (count < 0 || i < count) && status > 0; i++)
        if ((status = source_next(s, &doc)) > 0)
            print_document(&doc);
    return status < 0 ? -1 : 0;
}

/* ---- what it is, in lines of "key<tab>value" ----------------------------------------------- */

static int summary(struct source *s)
{
    struct tok_doc doc;
    struct progress p;
    uint64_t count = 0, tokens = 0, least = UINT64_MAX, most = 0, top = 0, bos = 0, eos = 0;
    const struct tok_meta *m = &s->tok.meta;
    uint32_t bos_id = s->is_tok ? m->bos_id : 1, eos_id = s->is_tok ? m->eos_id : 2;
    uint64_t lengths[PLOT_CLASSES] = {0}, *ids = NULL;
    size_t known_ids = s->vocab_size ? s->vocab_size : 65536;
    int status;
    if (plots && !(ids = calloc(known_ids, sizeof *ids)))
        return fail("no memory to count %zu ids", known_ids);
    progress_begin(&p, "read", "B", s->is_tok ? s->tok.file_bytes : s->ids.map.bytes);
    while ((status = source_next(s, &doc)) > 0) {
        count++;
        lengths[plot_class(doc.count)]++;
        for (size_t i = 0; ids && i < doc.count; i++)
            ids[doc.ids[i] < known_ids ? doc.ids[i] : known_ids - 1]++;
        tokens += doc.count;
        least = doc.count < least ? doc.count : least;
        most = doc.count > most ? doc.count : most;
        for (size_t i = 0; i < doc.count; i++) {
            top = doc.ids[i] > top ? doc.ids[i] : top;
            bos += doc.ids[i] == bos_id;
            eos += doc.ids[i] == eos_id;
        }
        progress_to(&p, s->is_tok ? s->tok.offset : s->at * npy_item_bytes(s->ids.dtype));
    }
    progress_end(&p);
    if (status) {
        free(ids);
        return -1;
    }
    plot_line("file", "%s", s->path);
    if (s->is_tok)
        plot_line("kind", "token documents, u%d, %" PRIu64 " blocks",
                  tok_id_bytes(m) == 2 ? 16 : 32, s->tok.totals.blocks);
    else
        plot_line("kind", "packed ids, %s", npy_dtype_name(s->ids.dtype));
    if (s->vocab_size)
        plot_line("vocabulary", "%u", s->vocab_size);
    if (s->has_tokenizer)
        plot_line("tokenizer", "xxh3 %s", s->tokenizer.hex);
    if (s->is_tok) {
        plot_line("documents begin with", "%s", m->add_bos ? "BOS" : "-");
        plot_line("documents end with", "%s", m->add_eos ? "EOS" : "-");
        plot_line("special strings", "%s", m->special_text ? "text" : "literal");
        plot_line("options", "%s", m->options);
    }
    plot_line("documents", "%" PRIu64 "%s", count,
              s->guessed ? " (guessed: one at each id 1)" : "");
    plot_line("tokens", "%" PRIu64, tokens);
    if (count) {
        char which[32];
        snprintf(which, sizeof which, "ids %u, %u", bos_id, eos_id);
        plot_line("tokens of a document", "%" PRIu64 " to %" PRIu64 ", mean %.1f", least, most,
                  (double)tokens / (double)count);
        plot_line("largest id", "%" PRIu64, top);
        plot_line(which, "%" PRIu64 ", %" PRIu64, bos, eos);
    }
    if (ids && count) {
        plot_classes("documents by tokens", lengths);
        plot_ids("ids by how often (logarithm)", ids, s->vocab_size ? known_ids : top + 1, 8);
    }
    free(ids);
    return 0;
}

static int summary_dataset(const char *dir)
{
    struct manifest m;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, MANIFEST_NAME);
    if (manifest_read(&m, path))
        return -1;
    const struct manifest_file *f = &m.files[0];
    plot_line("folder", "%s", dir);
    plot_line("kind", "dataset");
    plot_line("tokenizer", "%s, xxh3 %s", f->tokenizer_name, f->tokenizer.hex);
    plot_line("vocabulary", "%u", f->vocab_size);
    plot_line("options", "%s", f->options);
    for (size_t i = 0; i < m.count; i++, f++)
        plot_line(f->path, "%s\t%" PRIu64 " bytes\t%" PRIu64 " tokens\t%" PRIu64 " documents",
                  f->dtype, f->bytes, f->tokens, f->documents);
    manifest_free(&m);
    return 0;
}

/* Element k of a tensor of floats. */
static double number(const struct tensor *x, size_t k)
{
    const uint8_t *p = x->data;
    float v;
    if (x->dtype == TENSOR_F64) {
        double d;
        memcpy(&d, p + 8 * k, 8);
        return d;
    }
    uint32_t bits = x->dtype == TENSOR_F32 ? le32(p + 4 * k) : (uint32_t)le16(p + 2 * k) << 16;
    memcpy(&v, &bits, 4);
    return v;
}

/* Name, type, shape; of floats the root mean square and the largest magnitude, NaN if any is. */
static void print_tensor(const struct tensor *x, const char *shape)
{
    double squares = 0, most = 0;
    char norms[96] = "";
    bool floats = x->dtype == TENSOR_F32 || x->dtype == TENSOR_F64 || x->dtype == TENSOR_BF16;
    for (size_t k = 0; floats && k < x->count; k++) {
        double v = number(x, k);
        squares += v * v;
        most = !(fabs(v) <= most) ? fabs(v) : most;
    }
    if (floats && x->count)
        snprintf(norms, sizeof norms, "\trms %.4g\tmost %.4g\tnorm %.6g",
                 sqrt(squares / (double)x->count), most, sqrt(squares));
    plot_line(x->name, "%s\t%s%s", tensor_dtype_name(x->dtype), shape, norms);
}

/* A safetensors file, or the parameters of a checkpoint. */
static int summary_tensors(const char *dir, const char *name)
{
    struct tensors t;
    char shape[192], path[4096];
    snprintf(path, sizeof path, "%s%s", dir, name);
    if (tensors_open(&t, path))
        return -1;
    plot_line("file", "%s", path);
    plot_line("kind", "safetensors, %d tensors", t.count);
    for (int i = 0; i < t.notes; i++)
        plot_line("note", "%s\t%s", t.note[i].key, t.note[i].text);
    for (int i = 0; i < t.count; i++)
        print_tensor(&t.list[i],
                     tensor_shape_text(shape, sizeof shape, t.list[i].shape, t.list[i].dims));
    tensors_close(&t);
    return 0;
}

/* ---- as a trainer sees it ------------------------------------------------------------------ */

/* Window i: inputs, targets one further on, and the mask, 0 where a target is BOS. */
static int window(struct source *s, uint64_t i, uint64_t seq)
{
    enum { BOS = 1 };
    uint64_t n = s->ids.count, windows = n ? (n - 1) / seq : 0;
    if (s->is_tok)
        return fail("%s: windows are of packed arrays: name an .npy or a dataset's folder",
                    s->path);
    if (i >= windows)
        return fail("%s: there is no window %" PRIu64 " of %" PRIu64 " ids: windows are 0 to "
                    "%" PRId64,
                    s->path, i, seq, (int64_t)windows - 1);
    if (*model && tokenizer_check(s))
        return -1;
    const char *grey = plot_colours() ? "\033[2m" : "", *plain = *grey ? "\033[0m" : "";
    printf("position\tinput\ttarget\tmask%s\n", *model ? "\ttext of the target" : "");
    for (uint64_t k = 0; k < seq; k++) {
        uint32_t in = (uint32_t)npy_int(&s->ids, i * seq + k);
        uint32_t target = (uint32_t)npy_int(&s->ids, i * seq + k + 1);
        bool counts = target != BOS;
        printf("%s%" PRIu64 "\t%u\t%u\t%d", counts ? "" : grey, k, in, target, counts);
        if (*model && target < tokenizer.vocab_size) {
            size_t bytes;
            const uint8_t *text = tokenizer_piece(&tokenizer, target, &bytes);
            putchar('\t');
            print_json(text, bytes);
        }
        printf("%s\n", counts ? "" : plain);
    }
    return 0;
}

/* ---- the job ------------------------------------------------------------------------------ */

static bool has(const char *dir, const char *name)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return !stat(path, &st);
}

static bool ends_with(const char *path, const char *end)
{
    size_t n = strlen(path), k = strlen(end);
    return n >= k && !strcmp(path + n - k, end);
}

/* "7", "7..9" (9 is included) or "7.." as a beginning and a count. */
static int range_parse(const char *text, int64_t *first, int64_t *count)
{
    char *end;
    errno = 0;
    *first = strtoll(text, &end, 10);
    bool good = end > text && *text != '-' && errno == 0;
    if (good && !strcmp(end, ".."))
        return 0;
    if (good && !strncmp(end, "..", 2)) {
        const char *second = end + 2;
        int64_t last = strtoll(second, &end, 10);
        good = end > second && *second >= '0' && *second <= '9' && !*end && last >= *first;
        *count = last - *first + 1;
    }
    return good && !*end && errno == 0 ? 0 : -1;
}

static int peek(const char *path, int64_t first, int64_t count, int64_t at, int64_t seq)
{
    struct source s;
    if (!*format && !plots && at < 0 && has(path, MANIFEST_NAME))
        return summary_dataset(path);
    if (!*format && has(path, "params.safetensors"))
        return summary_tensors(path, "/params.safetensors");
    if (!*format && ends_with(path, ".safetensors"))
        return summary_tensors(path, "");
    if (source_open(&s, path, split))
        return -1;
    int status = at >= 0 || *format ? tokenizer_look_up(&s) : 0;
    if (status) {
        source_close(&s);
        return status;
    }
    status = at >= 0   ? window(&s, (uint64_t)at, (uint64_t)seq)
             : *format ? documents(&s, first, count)
                       : summary(&s);
    source_close(&s);
    return status;
}

int main(int argc, char **argv)
{
    int64_t first = 0, count = -1, at = -1, seq = 2048;
    const char *range = "0";
    struct flag flags[] = {
        {FLAG_CHOICE, 0, "format", &format, "text|ids|jsonl",
         "print documents: their text; their ids, a line each; or a JSON object a line,\n"
         "{\"doc\":0,\"ids\":[1,...],\"text\":\"...\"}, without text where no tokenizer is found.\n"
         "Without --format: what the file is, counts and lengths"},
        {FLAG_TEXT, 't', "tokenizer", &model, "MODEL",
         "the file that made the ids; checked.\nDefault: the one that ttt-tokenize was given, or "
         "one of its name beside PATH"},
        {FLAG_TEXT, 0, "doc", &range, "A..B",
         "documents A to B, counted from 0; A alone and \"A..\" begin with A"},
        {FLAG_INT, 0, "window", &at, "I",
         "window I of a packed array as the trainer sees it: inputs, targets, mask; -1: none"},
        {FLAG_INT, 0, "seq-length", &seq, "L", "of a window"},
        {FLAG_ON, 0, "plot", &plots, NULL, "with the counts: lengths and ids as bars"},
        {FLAG_INT, 'n', "count", &count, "COUNT", "so many documents; -1 takes all"},
        {FLAG_CHOICE, 0, "split", &split, "train|validation|test", "of a dataset's folder"},
        {FLAG_ON, 'q', "quiet", &quiet, NULL, "no news and no progress"},
        {0},
    };
    const struct program about = {
        .name = "ttt-peek",
        .operands = "PATH",
        .purpose =
            "Look inside a .tok stream (\"-\": standard input), a packed .npy, a dataset's "
            "folder,\n"
            "a checkpoint or a safetensors file. A document without end of its own (an .npy "
            "without its\n"
            ".offsets) is taken to begin at each id 1. Bytes that are not UTF-8 are U+FFFD in\n"
            "JSON and stay as they are in text.",
        .examples = "ttt-peek --plot corpus.tok\n"
                    "ttt-peek --window 7 --seq-length 2048 --tokenizer tokenizer.model data/...\n"
                    "ttt-peek --format=jsonl --tokenizer tokenizer.model --doc 10 -n 1 corpus.tok\n"
                    "ttt-peek --format=ids --split=test data/tokenizer_name-my/...",
        .flags = flags,
    };
    int operands;
    char **path = flags_parse(argc, argv, &about, &operands);
    if (operands != 1)
        misuse("expected one path; %d were given", operands);
    if (range_parse(range, &first, &count))
        misuse("--doc=%s: expected A, A..B or A.. with documents counted from 0", range);
    if (seq < 1 || seq > INT32_MAX)
        misuse("--seq-length=%lld: expected a positive number", (long long)seq);
    if (count < -1)
        misuse("--count=%lld: expected a number, or -1 for all", (long long)count);
    if (*model && tokenizer_open(&tokenizer, model))
        die("%s", why());
    if (peek(*path, first, count, at, seq))
        die("%s", why());
    tokenizer_close(&tokenizer);
    return finish(0);
}
