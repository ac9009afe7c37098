/* verify.c -- ttt-verify: prove that files of the suite are whole and mean what they say. */
#include "flags.h"
#include "npy.h"
#include "pcg.h"
#include "prove.h"
#include "report.h"
#include "tok.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>

static int64_t vocab_size;
static const struct xxh3 *tokenizer; /* expected everywhere, or NULL */
static const char *model = "", *repair = "";
static struct flag_list sources;
static bool deep, quick;
static int bad_things;

/* A line for what was proved, or a sentence for what was not. */
static void judge(const char *path, int status, const struct proof *p)
{
    if (status) {
        warn("%s", why());
        bad_things++;
    } else if (!quiet) {
        printf("%s\tok\t%s\n", path, p->note);
        fflush(stdout); /* a line stands before the sentences that follow it */
    }
}

/* With --deep: documents decoded and tokenized again. */
static void judge_deep(const char *path)
{
    struct proof p;
    if (deep)
        judge(path, prove_deep(path, model, &p), &p);
}

/* An array without a manifest. */
static int prove_array(const char *path, int64_t bound, struct proof *p)
{
    return quick ? prove_header(path, p) : prove_ids(path, (uint32_t)bound, NULL, p);
}

static char *join(const char *dir, const char *name)
{
    char *path;
    size_t n = strlen(dir);
    if (asprintf(&path, "%s%s%s", dir, n && dir[n - 1] == '/' ? "" : "/", name) < 0)
        die("out of memory");
    return path;
}

static bool has(const char *dir, const char *name)
{
    char *path = join(dir, name);
    struct stat st;
    bool there = !stat(path, &st);
    free(path);
    return there;
}

/* ---- dataset directories ------------------------------------------------------------------ */

/* All lines tell of one dataset: the same tokenizer, options and seed. */
static int lines_agree(const struct manifest *m, const char *path)
{
    const struct manifest_file *a = &m->files[0];
    if (tokenizer && strcmp(tokenizer->hex, a->tokenizer.hex))
        return fail("%s: made with another tokenizer: its XXH3-128 is %s, not %s", path,
                    a->tokenizer.hex, tokenizer->hex);
    for (size_t i = 1; i < m->count; i++) {
        const struct manifest_file *b = &m->files[i];
        if (strcmp(a->tokenizer.hex, b->tokenizer.hex) || a->vocab_size != b->vocab_size ||
            strcmp(a->tokenizer_name, b->tokenizer_name) || strcmp(a->options, b->options) ||
            a->seed != b->seed)
            return fail("%s: lines 1 and %zu tell of different tokenizers, options or seeds", path,
                        i + 1);
    }
    return 0;
}

/* How many documents the ratio gives to test. */
static int share_check(const struct manifest_file *test, const char *path)
{
    json_t *options = json_loads(test->options, 0, NULL);
    const char *ratio = json_string_value(json_object_get(options, "val_ratio"));
    uint64_t rows = 0;
    int status = ratio ? pcg_split(&rows, strtod(ratio, NULL), test->source.documents)
                       : fail("there is no val_ratio among the options");
    if (!status && rows != test->documents)
        status = fail("test has %llu documents, but a ratio of %s of %llu is %llu",
                      (unsigned long long)test->documents, ratio,
                      (unsigned long long)test->source.documents, (unsigned long long)rows);
    json_decref(options);
    return status ? fail("%s: %s", path, why()) : 0;
}

static bool option(const struct manifest_file *f, const char *name)
{
    json_t *options = json_loads(f->options, 0, NULL);
    bool given = json_object_get(options, name) != NULL;
    json_decref(options);
    return given;
}

static const char *const split_names[] = {"train", "validation", "test"};

/* What the lines of one split add up to: files of ids alone, all of which have the same source. */
static int split_sum(const struct manifest *m, int split, struct manifest_file *sum,
                     const char *path)
{
    size_t n = strlen(split_names[split]);
    *sum = (struct manifest_file){0};
    for (size_t i = 0; i < m->count; i++) {
        const struct manifest_file *f = &m->files[i];
        if (strncmp(f->path, split_names[split], n) || !strchr("._/", f->path[n]))
            continue;
        if (!sum->path) {
            *sum = *f; /* the ids come first; llm.c's and MDS's are several */
            continue;
        }
        if (strcmp(f->dtype, sum->dtype)) {
            bool same = f->tokens == sum->tokens && f->documents == sum->documents;
            if (!same)
                return fail("%s: %s and %s do not agree on documents and tokens", path, sum->path,
                            f->path);
            continue;
        }
        sum->tokens += f->tokens;
        sum->documents += f->documents;
    }
    return sum->path ? 0 : fail("%s: lacks a line for %s", path, split_names[split]);
}

/* The splits hold all that came in: disjoint and complete where drawn, whole where given. Rows of
   best-fit hold padding too, and llm.c's files tell no documents. */
static int splits_check(const struct manifest *m, const char *path)
{
    struct manifest_file split[3];
    for (int i = 0; i < 3; i++)
        if (split_sum(m, i, &split[i], path))
            return -1;
    const struct manifest_file *train = &split[0], *test = &split[2];
    bool rows = option(train, "best_fit"), counted = !rows && train->documents > 0;
    for (int i = 0; !rows && train->seed < 0 && i < 3; i++)
        if ((counted && split[i].documents != split[i].source.documents) ||
            split[i].tokens != split[i].source.tokens)
            return fail("%s: %s does not hold all of its source", path, split_names[i]);
    if (train->seed < 0)
        return 0;
    if (strcmp(split[1].xxh3.hex, test->xxh3.hex))
        return fail("%s: %s and %s differ, but they were drawn as one", path, split[1].path,
                    test->path);
    if (rows)
        return 0;
    if ((counted && train->documents + test->documents != train->source.documents) ||
        train->tokens + test->tokens != train->source.tokens)
        return fail("%s: train and test together do not hold all of the source", path);
    return counted ? share_check(test, path) : 0;
}

/* The other program's format of a file of ids, or NULL; also where --dtype chose the width of ids
   that the file does not tell. */
static char *foreign_format(const struct manifest_file *f)
{
    const char *dot = strrchr(f->path, '.');
    if (!dot || option(f, "dtype") ||
        (strcmp(dot, ".bin") && strcmp(dot, ".ds") && strcmp(dot, ".mds")))
        return NULL;
    json_t *options = json_loads(f->options, 0, NULL);
    const char *format = json_string_value(json_object_get(options, "format"));
    char *copy = format ? strdup(format) : NULL;
    json_decref(options);
    return copy;
}

static int prove_line(const struct manifest_file *f, const char *path, struct proof *p)
{
    const char *dot = strrchr(path, '.');
    char *format = foreign_format(f);
    if (format) {
        int status = prove_foreign(path, format, f, p);
        free(format);
        return status;
    }
    if (dot && !strcmp(dot, ".offsets"))
        return prove_offsets(path, f, p);
    if (dot && !strcmp(dot, ".npy"))
        return prove_ids(path, 0, f, p);
    return prove_sums(path, f, p);
}

static void verify_dataset(const char *dir)
{
    struct manifest m;
    struct proof p;
    char *path = join(dir, MANIFEST_NAME);
    int status = manifest_read(&m, path), bad_before = bad_things;
    for (size_t i = 0; !status && i < m.count; i++) {
        char *file = join(dir, m.files[i].path);
        judge(file, prove_line(&m.files[i], file, &p), &p);
        free(file);
    }
    if (!status)
        status = lines_agree(&m, path) || splits_check(&m, path) ? -1 : 0;
    if (!status)
        snprintf(p.note, sizeof p.note, "%zu files\t%s\ttokenizer %s", m.count,
                 m.files[0].tokenizer_name, m.files[0].tokenizer.hex);
    judge(path, status, &p);
    int chained = status || bad_things > bad_before ? 0 : prove_chain(dir, &m, &p);
    if (chained)
        judge(dir, chained < 0 ? -1 : 0, &p);
    for (int i = 0; !status && i < 3; i++) {
        char npy[32];
        snprintf(npy, sizeof npy, "%s.npy", split_names[i]);
        char *file = join(dir, npy);
        if (manifest_find(&m, npy))
            judge_deep(file);
        free(file);
    }
    if (!status && sources.count)
        judge(dir, prove_origin(dir, &m, sources.items, sources.count, &p), &p);
    manifest_free(&m);
    free(path);
}

/* ---- checkpoints -------------------------------------------------------------------------- */

static const char state_json[] = "state.json";

/* Each file that state.json names, of the length and hash that it says. */
static void verify_checkpoint(const char *dir)
{
    struct proof p;
    json_error_t e;
    char *path = join(dir, state_json);
    const char *name;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &e), *file;
    json_t *files = json_object_get(root, "files");
    int status = 0;
    if (!root)
        status = fail("%s: line %d: %s", path, e.line, e.text);
    else if (json_object_size(files) == 0)
        status = fail("%s: names no files", path);
    json_object_foreach(files, name, file)
    {
        const char *hex = json_string_value(json_object_get(file, "xxh3"));
        json_int_t bytes = json_integer_value(json_object_get(file, "bytes"));
        struct xxh3 xxh3;
        if (!hex || strlen(hex) != 32 || bytes < 0 || strchr(name, '/')) {
            status = fail("%s: does not tell the length and hash of %s", path, name);
            continue;
        }
        memcpy(xxh3.hex, hex, sizeof xxh3.hex);
        char *tensors = join(dir, name);
        judge(tensors, prove_tensors(tensors, state_json, (uint64_t)bytes, &xxh3, &p), &p);
        free(tensors);
    }
    snprintf(p.note, sizeof p.note, "checkpoint\tstep %lld",
             (long long)json_integer_value(json_object_get(root, "step")));
    judge(path, status, &p);
    json_decref(root);
    free(path);
}

/* ---- what a path is ----------------------------------------------------------------------- */

static int verify(const char *path);

/* The reference's own: three arrays and no manifest. Those of the two published sets are known by
   their sizes, and have Llama 2's vocabulary. */
static void verify_bare(const char *dir)
{
    enum { PUBLISHED_VOCAB = 32000 };
    const char *set[3] = {NULL};
    struct proof p;
    say(quick ? "%s: only headers and sizes are looked at"
              : "%s: no manifest: only headers, sizes and ids can be proved",
        dir);
    for (int i = 0; i < 3; i++) {
        char name[32];
        struct npy a;
        snprintf(name, sizeof name, "%s.npy", split_names[i]);
        char *path = join(dir, name);
        int64_t bound = vocab_size;
        if (!npy_open(&a, path)) {
            set[i] = prove_published(name, &a);
            npy_close(&a);
        }
        if (set[i] && !bound)
            bound = PUBLISHED_VOCAB;
        judge(path, prove_array(path, bound, &p), &p);
        judge_deep(path);
        free(path);
    }
    /* All three begin with the name of the set. */
    size_t n = set[0] ? strcspn(set[0], "'") : 0;
    if (set[0] && set[1] && set[2] && !strncmp(set[0], set[1], n) && !strncmp(set[0], set[2], n))
        snprintf(p.note, sizeof p.note, "by its sizes this is the published %.*s", (int)n, set[0]);
    else if (set[0] || set[1] || set[2])
        snprintf(p.note, sizeof p.note,
                 "not a published set: train.npy is %s, validation.npy %s, test.npy %s",
                 set[0] ? set[0] : "of another size", set[1] ? set[1] : "of another size",
                 set[2] ? set[2] : "of another size");
    else
        snprintf(p.note, sizeof p.note, "not one of the published sets, by its sizes");
    judge(dir, 0, &p);
}

/* Everything below dir, in the order of names; returns how much there was to judge. */
static int verify_tree(const char *dir)
{
    struct dirent **entries;
    int n = scandir(dir, &entries, NULL, alphasort), found = 0;
    if (n < 0)
        die("%s: %s", dir, strerror(errno));
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name, *dot = strrchr(name, '.');
        char *path = join(dir, name);
        struct stat st;
        if (name[0] != '.' && !strstr(name, ".part.") && !stat(path, &st) &&
            (S_ISDIR(st.st_mode) || (dot && (!strcmp(dot, ".tok") || !strcmp(dot, ".npy") ||
                                             !strcmp(dot, ".safetensors")))))
            found += verify(path);
        free(path);
        free(entries[i]);
    }
    free(entries);
    return found;
}

static void verify_file(const char *path)
{
    uint8_t head[9] = {0};
    struct proof p;
    struct map m;
    if (!strcmp(path, "-")) {
        judge(path, prove_tok(path, tokenizer, &p), &p);
        return;
    }
    if (map_open(&m, path)) {
        judge(path, -1, &p);
        return;
    }
    memcpy(head, m.data, m.bytes < sizeof head ? m.bytes : sizeof head);
    map_close(&m);
    const char *dot = strrchr(path, '.');
    bool starts = dot && !strcmp(dot, ".offsets");
    bool named_tok = dot && !strcmp(dot, ".tok"), named_npy = dot && !strcmp(dot, ".npy");
    if (!memcmp(head, "TTT.TOK", 7) || named_tok)
        judge(path, prove_tok(path, tokenizer, &p), &p);
    else if (starts)
        judge(path, prove_offsets_alone(path, &p), &p);
    else if (!memcmp(head, "\x93NUMPY", 6) || named_npy)
        judge(path, prove_array(path, vocab_size, &p), &p);
    else if (head[8] == '{')
        judge(path, prove_tensors(path, "", 0, NULL, &p), &p);
    else
        judge(path,
              fail("%s: not a file of the suite: expected .tok, .npy, .safetensors, %s or a "
                   "dataset's folder",
                   path, MANIFEST_NAME),
              &p);
    if (named_tok || named_npy)
        judge_deep(path);
}

/* Returns how much there was to judge. */
static int verify(const char *path)
{
    struct stat st;
    size_t n = strlen(path), name = strlen(MANIFEST_NAME);
    bool is_dir = !stat(path, &st) && S_ISDIR(st.st_mode);
    if (is_dir && has(path, MANIFEST_NAME))
        verify_dataset(path);
    else if (is_dir && has(path, "train.npy"))
        verify_bare(path);
    else if (is_dir && has(path, state_json))
        verify_checkpoint(path);
    else if (is_dir)
        return verify_tree(path);
    else if (n >= name && !strcmp(path + n - name, MANIFEST_NAME) &&
             (n == name || path[n - name - 1] == '/')) {
        char *dir = n == name ? strdup(".") : strndup(path, n - name);
        if (!dir)
            die("out of memory");
        verify_dataset(dir);
        free(dir);
    } else
        verify_file(path);
    return 1;
}

int main(int argc, char **argv)
{
    struct flag flags[] = {
        {FLAG_TEXT, 0, "tokenizer", &model, "MODEL",
         "everything must have been made with this tokenizer's file"},
        {FLAG_INT, 0, "vocab-size", &vocab_size, "N",
         "of arrays without a manifest: every id must be below; 0 takes what the type can hold"},
        {FLAG_LIST, 0, "source", &sources, "IN.tok",
         "the streams that a dataset was made of, in their order: every document must be there\n"
         "once, and where the manifest's seed puts it"},
        {FLAG_ON, 0, "quick", &quick, NULL,
         "of arrays without a manifest the headers and sizes alone: tells in a moment whether\n"
         "they can be a published set"},
        {FLAG_ON, 0, "deep", &deep, NULL,
         "decode documents, up to 1000 of a file, and tokenize them again; needs --tokenizer"},
        {FLAG_TEXT, 0, "repair", &repair, "OUT.tok",
         "write the documents of a damaged .tok file that are whole there, and a report"},
        {FLAG_ON, 'q', "quiet", &quiet, NULL, "nothing about what is good"},
        {0},
    };
    const struct program about = {
        .name = "ttt-verify",
        .operands = "PATH...",
        .purpose =
            "Prove that files are whole and mean what they say: .tok streams (\"-\": standard\n"
            "input), .npy arrays of ids, dataset directories, checkpoints, safetensors, "
            "manifests,\n"
            "and all of these below a folder. Checked are headers, sizes, checksums, every id,\n"
            "counts, offsets, the split, and that all of a dataset has one origin: its documents,\n"
            "put back into the source's order by the seed, give the source's hashes (12 bytes of\n"
            "memory a document). One line a file\n"
            "on standard output; one sentence for each bad thing, and exit status 1.",
        .examples = "ttt-verify corpus.tok data\n"
                    "ttt-verify --vocab-size 32000 downloaded/train.npy && echo good",
        .flags = flags,
    };
    int count;
    char **path = flags_parse(argc, argv, &about, &count);
    if (count == 0)
        misuse("expected files or folders to verify");
    if (vocab_size < 0 || vocab_size > INT32_MAX)
        misuse("--vocab-size=%lld: expected a number from 1 to 2147483647", (long long)vocab_size);
    if (deep && quick)
        misuse("--quick reads no ids, which --deep would decode: choose one");
    if (deep && !*model)
        misuse("--deep needs --tokenizer MODEL");
    if (*repair) {
        if (count != 1)
            misuse("--repair takes one damaged .tok file; %d were given", count);
        writer_clean_on_signals();
        if (prove_repair(*path, repair))
            die("%s", why());
        return finish(0);
    }
    struct xxh3 hash;
    struct map m;
    if (*model) {
        if (map_open(&m, model))
            die("%s", why());
        hash = xxh3_of(m.data, m.bytes);
        tokenizer = &hash;
        map_close(&m);
    }
    for (; *path; path++)
        if (verify(*path) == 0) {
            warn("%s: no dataset, checkpoint, .tok, .npy or .safetensors in it", *path);
            bad_things++;
        }
    return finish(bad_things != 0);
}
