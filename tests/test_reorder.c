/* test_reorder.c -- the new order of documents in memory and through buckets, from a pipe and from
   a file, numpy's order against its goldens, and ttt-shuffle in 32 MB of memory.

   test_reorder [TOKENS]: so many ids are shuffled under the limit (150 million, 300 MB). */
#include "check.h"
#include "npy.h"
#include "placing.h"
#include "reorder.h"
#include "scratch.h"

#include <libgen.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- orders ------------------------------------------------------------------------------- */

static void numpy_order(void)
{
    static const struct {
        const char *path;
        uint64_t seed;
    } goldens[] = {{"tests/golden/shuffle/perm-seed2357-n1.npy", 2357},
                   {"tests/golden/shuffle/perm-seed2357-n3.npy", 2357},
                   {"tests/golden/shuffle/perm-seed42-n257.npy", 42},
                   {"tests/golden/shuffle/perm-seed2357-n1000.npy", 2357},
                   {"tests/golden/shuffle/perm-seed4294967301-n1000.npy", 4294967301}};
    case_begin("order: numpy's permutations, turned round");
    for (size_t g = 0; g < sizeof goldens / sizeof *goldens; g++) {
        struct npy a;
        struct placing o;
        CHECK(!npy_open(&a, goldens[g].path));
        const char *n = strstr(goldens[g].path, "-n") + 2;
        uint64_t count = strtoull(n, NULL, 10), wrong = 0;
        CHECK(!placing_begin(&o, PLACING_NUMPY, goldens[g].seed, count));
        for (uint64_t i = 0; i < a.count; i++)
            wrong += placing_of(&o, (uint64_t)npy_int(&a, i)) != i;
        CHECK(a.count > 0 && a.count <= count && wrong == 0);
        placing_end(&o);
        npy_close(&a);
    }
    struct placing o;
    CHECK(placing_begin(&o, PLACING_NUMPY, 1, UINT64_C(1) << 31) == -1);
    case_end("");
}

/* ---- reorder ------------------------------------------------------------------------------ */

/* Document d has a length and ids that are functions of d. */
static uint64_t mixed(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

struct corpus {
    uint64_t documents, mean;
    size_t id_bytes;
    bool large; /* one document in a thousand is larger than a 64th of the memory */
};

static uint64_t length(const struct corpus *c, uint64_t d)
{
    if (c->large && d % 1000 == 77)
        return 20000 + d % 64;
    return c->mean ? mixed(d) % (2 * c->mean) : 0;
}

static uint32_t id(uint64_t d, uint64_t i)
{
    return (uint32_t)mixed(d * 31 + i / 64) % 60000 + (uint32_t)i % 64;
}

static uint64_t tokens(const struct corpus *c)
{
    uint64_t sum = 0;
    for (uint64_t d = 0; d < c->documents; d++)
        sum += length(c, d);
    return sum;
}

static int fill(struct reorder *o, const struct corpus *c)
{
    uint32_t wide[1000];
    uint16_t narrow[1000];
    for (uint64_t d = 0; d < c->documents; d++) {
        uint64_t n = length(c, d), most = d % 3 ? 1000 : 1 + d % 1000;
        for (uint64_t at = 0, part;; at += part) {
            part = n - at < most ? n - at : most;
            for (uint64_t i = 0; i < part; i++)
                narrow[i] = (uint16_t)(wide[i] = id(d, at + i));
            const void *stored = c->id_bytes == 2 ? (const void *)narrow : wide;
            if (reorder_put(o, stored, part, at + part == n))
                return -1;
            if (at + part == n)
                break;
        }
    }
    return reorder_turn(o);
}

/* Documents of places from .. to-1 that are not what they should be. */
static uint64_t wrong_ones(struct reorder *o, const struct corpus *c, struct placing *order,
                           uint64_t from, uint64_t to)
{
    uint64_t *at = malloc(c->documents * sizeof *at + 8), wrong = 0, place = from, have = 0;
    for (uint64_t d = 0; d < c->documents; d++)
        at[placing_of(order, d)] = d;
    struct reorder_piece p;
    int status;
    while ((status = reorder_next(o, &p)) > 0) {
        bool in_range = place < to;
        uint64_t d = in_range ? at[place] : 0, bad = !in_range || p.place != place;
        bad += p.first != (have == 0);
        for (size_t i = 0; i < p.count; i++) {
            const uint8_t *v = (const uint8_t *)p.stored + i * c->id_bytes;
            bad += (c->id_bytes == 2 ? le16(v) : le32(v)) != id(d, have + i);
        }
        have += p.count;
        bad += p.last != (have == length(c, d));
        wrong += bad != 0;
        if (p.last) {
            place++;
            have = 0;
        }
    }
    free(at);
    return wrong + (status != 0) + (place != to);
}

static void reorders(const char *name, struct corpus c)
{
    static const int64_t memories[] = {2 << 20, 5 << 20, 64 << 20};
    char note[96];
    uint64_t sum = tokens(&c), most = 0;
    case_begin(name);
    for (int kind = PLACING_SAME; kind <= PLACING_NUMPY; kind++)
        for (int known = 0; known < 2; known++)
            for (int m = 0; m < 3; m++) {
                struct reorder_plan plan = {.kind = (enum placing_kind)kind,
                                            .seed = 7,
                                            .id_bytes = c.id_bytes,
                                            .memory = memories[m],
                                            .tmp = "",
                                            .beside = scratch("x"),
                                            .known = known,
                                            .documents = known ? c.documents : 0,
                                            .tokens = known ? sum : 0};
                struct reorder o;
                struct placing order;
                CHECK(!placing_begin(&order, plan.kind, plan.seed, c.documents));
                CHECK(!reorder_open(&o, &plan));
                CHECK(!fill(&o, &c));
                CHECK(wrong_ones(&o, &c, &order, 0, c.documents) == 0);
                CHECK(o.tokens == sum && o.documents == c.documents);
                most = o.temporary_bytes > most ? o.temporary_bytes : most;
                placing_end(&order);
                reorder_close(&o);
            }
    /* As a .tok file stores them: four bytes a document more. */
    double bytes = (double)(sum * c.id_bytes + 4 * c.documents);
    double share = sum ? (double)most / bytes : 0;
    CHECK(share <= 1.1);
    snprintf(note, sizeof note, "temporary files of %.2f times the data", share);
    case_end(sum ? note : "");
}

/* Each of several programs takes a part of the places, and knows where it begins. */
static void parts(void)
{
    struct corpus c = {20000, 60, 2, true};
    case_begin("reorder: parts of the places");
    uint64_t sum = tokens(&c), together = 0;
    for (int i = 0; i < 3; i++) {
        struct reorder_plan plan = {.kind = PLACING_NUMPY,
                                    .seed = 2357,
                                    .id_bytes = 2,
                                    .memory = 2 << 20,
                                    .tmp = "",
                                    .known = true,
                                    .documents = c.documents,
                                    .tokens = sum,
                                    .head = 20,
                                    .beside = scratch("x"),
                                    .from = c.documents * i / 3,
                                    .to = c.documents * (i + 1) / 3};
        struct reorder o;
        struct placing order;
        CHECK(!placing_begin(&order, plan.kind, plan.seed, c.documents));
        CHECK(!reorder_open(&o, &plan) && !fill(&o, &c));
        uint64_t before = 0, head = 0;
        for (uint64_t d = 0; d < c.documents; d++) {
            before += placing_of(&order, d) < plan.from ? length(&c, d) : 0;
            head += placing_of(&order, d) < plan.head ? length(&c, d) : 0;
        }
        CHECK(o.before_tokens == before && o.head_tokens == head && before >= together);
        together = before;
        CHECK(wrong_ones(&o, &c, &order, plan.from, plan.to) == 0);
        placing_end(&order);
        reorder_close(&o);
    }
    case_end("");
}

static void refusals(void)
{
    struct corpus c = {1000, 60, 2, false};
    case_begin("reorder: what cannot be done is said");
    struct reorder_plan plan = {.kind = PLACING_TTT,
                                .id_bytes = 2,
                                .memory = 2 << 20,
                                .tmp = "",
                                .beside = "",
                                .known = true,
                                .documents = 1001,
                                .tokens = tokens(&c)};
    struct reorder o;
    CHECK(!reorder_open(&o, &plan) && fill(&o, &c) == -1 && strstr(why(), "promised"));
    reorder_close(&o);
    plan.tmp = "/nowhere/at/all";
    plan.tokens = plan.documents = 100000000;
    CHECK(reorder_open(&o, &plan) == -1 && strstr(why(), "--memory"));
    plan.tokens = plan.documents = 1000000;
    CHECK(reorder_open(&o, &plan) == -1 && strstr(why(), "/nowhere"));
    plan.memory = 1000;
    CHECK(reorder_open(&o, &plan) == -1 && strstr(why(), "--memory"));
    case_end("");
}

/* ---- the program under a limit ------------------------------------------------------------ */

#if defined __SANITIZE_ADDRESS__
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static int stream(const char *path, uint64_t count)
{
    struct tok_meta m = {.vocab_size = 65536, .options = "{}"};
    struct corpus c = {0, 700, 2, false};
    struct tok_writer w;
    static uint32_t ids[300000];
    memset(m.tokenizer.hex, '0', 32);
    if (tok_writer_open(&w, path, &m, false))
        return -1;
    for (uint64_t d = 0; w.totals.tokens < count; d++) {
        /* Books among web pages: too large for their share of 32 MB. */
        size_t n = d % 2000 == 7 ? 300000 : length(&c, d);
        for (size_t i = 0; i < n; i++)
            ids[i] = (uint32_t)(d + i * 7) & 0xffff;
        if (tok_writer_put(&w, ids, n))
            return -1;
    }
    return tok_writer_commit(&w);
}

/* `program ARGS <in`, all of its address space below `limit` bytes (0: no limit). */
static int ran(const char *program, uint64_t limit, const char *in, const char *const *args)
{
    pid_t child = fork();
    if (child == 0) {
        int fd = open(in, O_RDONLY);
        struct rlimit most = {limit, limit};
        if (fd < 0 || dup2(fd, 0) < 0 || (limit && setrlimit(RLIMIT_AS, &most)))
            _exit(99);
        execv(program, (char *const *)args);
        _exit(98);
    }
    int status;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status)
               ? WEXITSTATUS(status)
               : -1;
}

static bool same_bytes(const char *a, const char *b)
{
    struct map x, y;
    bool same = !map_open(&x, a) && !map_open(&y, b) && x.bytes == y.bytes &&
                !memcmp(x.data, y.data, x.bytes);
    map_close(&x);
    map_close(&y);
    return same;
}

static void limited(const char *self, uint64_t count)
{
    const char *name = "ttt-shuffle: 300 MB of documents in 32 MB of memory";
    char program[4096], copy[4096];
    if (SANITIZED) {
        case_skip(name, "AddressSanitizer needs more address space than that");
        return;
    }
    snprintf(copy, sizeof copy, "%s", self);
    snprintf(program, sizeof program, "%s/../bin/ttt-shuffle", dirname(copy));
    if (access(program, X_OK)) {
        case_skip(name, "ttt-shuffle has not been built");
        return;
    }
    case_begin(name);
    const char *in = scratch("in.tok"), *plain = scratch("plain.tok"), *out = scratch("out.tok");
    const uint64_t limit = 32 << 20;
    CHECK(!stream(in, count));
    for (int numpy = 0; numpy < 2; numpy++) {
        const char *order = numpy ? "--order=numpy" : "--order=ttt";
        const char *free_args[] = {"ttt-shuffle", "-q", "--seed=3", order, "-o", plain, in, NULL};
        const char *file_args[] = {"ttt-shuffle", "-q", "--seed=3", order, "--memory=32M",
                                   "-o",          out,  in,         NULL};
        const char *pipe_args[] = {"ttt-shuffle", "-q", "--seed=3", order, "--memory=32M",
                                   "-o",          out,  "-",        NULL};
        CHECK(ran(program, 0, in, free_args) == 0);
        CHECK(ran(program, limit, in, file_args) == 0);
        CHECK(same_bytes(plain, out));
        if (numpy)
            break;
        CHECK(ran(program, limit, in, pipe_args) == 0);
        CHECK(same_bytes(plain, out));
        CHECK(ran(program, limit, in, free_args) != 0); /* the limit is one */
    }
    case_end("from a file and from a pipe, numpy's order too, as without a limit");
}

int main(int argc, char **argv)
{
    scratch_make();
    numpy_order();
    reorders("reorder: no document", (struct corpus){0, 0, 2, false});
    reorders("reorder: one document", (struct corpus){1, 9, 2, false});
    reorders("reorder: documents without ids", (struct corpus){3000, 0, 2, false});
    reorders("reorder: short documents", (struct corpus){200000, 8, 2, false});
    reorders("reorder: wide ids", (struct corpus){30000, 90, 4, false});
    reorders("reorder: large documents among others", (struct corpus){20000, 60, 2, true});
    parts();
    refusals();
    limited(argv[0], argc > 1 ? strtoull(argv[1], NULL, 10) : 150000000);
    return check_finish();
}
