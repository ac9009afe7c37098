/* test_gather.c -- documents of several .tok files in a new order: from maps, and read again. */
#include "check.h"
#include "gather.h"
#include "scratch.h"

/* Document d has a length and ids that are functions of d; some have none, some fill blocks. */
enum { FILES = 3, EACH = 700, DOCUMENTS = FILES * EACH, BLOCK_IDS = 1000 };

static uint64_t length(uint64_t d)
{
    return d % 90 == 7 ? 5 * BLOCK_IDS + d % 13 : d * d % 401;
}

static uint32_t id(uint64_t d, uint64_t i)
{
    return (uint32_t)(d * 31 + i * 7) % 60000;
}

static const char *paths[FILES];

static uint64_t written(bool compress)
{
    struct tok_meta m = {.vocab_size = 60000, .block_ids = BLOCK_IDS, .options = "{}"};
    static uint32_t ids[6 * BLOCK_IDS];
    uint64_t tokens = 0;
    memset(m.tokenizer.hex, '0', 32);
    for (uint64_t f = 0, d = 0; f < FILES; f++) {
        struct tok_writer w;
        CHECK(!tok_writer_open(&w, paths[f], &m, compress));
        for (; d < (f + 1) * EACH; d++) {
            for (uint64_t i = 0; i < length(d); i++)
                ids[i] = id(d, i);
            CHECK(!tok_writer_put(&w, ids, length(d)));
        }
        tokens += w.totals.tokens;
        CHECK(!tok_writer_commit(&w));
    }
    return tokens;
}

/* Places from .. to-1 that are not what they should be. */
static uint64_t wrong_ones(struct gather *g, const struct reorder_plan *plan)
{
    static uint64_t at[DOCUMENTS];
    uint64_t wrong = 0, place = plan->from, have = 0;
    struct placing order;
    struct reorder_piece p;
    CHECK(!placing_begin(&order, plan->kind, plan->seed, DOCUMENTS));
    for (uint64_t d = 0; d < DOCUMENTS; d++)
        at[placing_of(&order, d)] = d;
    placing_end(&order);
    int status;
    while ((status = gather_next(g, &p)) > 0 && place < plan->to) {
        wrong += p.place != place || p.first != (have == 0);
        for (size_t i = 0; i < p.count; i++)
            wrong += le16((const uint8_t *)p.stored + 2 * i) != id(at[place], have + i);
        have += p.count;
        wrong += p.last != (have == length(at[place]));
        place += p.last;
        have = p.last ? 0 : have;
    }
    return wrong + (status != 0) + (place != plan->to);
}

/* What memory makes of the way: maps of the files, the files again, something else. */
enum { MAPPED = 8 << 20, AGAIN = 300 << 10, NEITHER = 30 << 10 };

static void orders(int64_t memory, const char *name)
{
    uint64_t tokens = written(false);
    case_begin(name);
    for (int kind = PLACING_SAME; kind <= PLACING_NUMPY; kind++)
        for (uint64_t part = 0; part < 4; part++) {
            struct reorder_plan plan = {.kind = (enum placing_kind)kind,
                                        .seed = 5,
                                        .id_bytes = 2,
                                        .memory = memory,
                                        .known = true,
                                        .documents = DOCUMENTS,
                                        .tokens = tokens,
                                        .from = part ? DOCUMENTS * (part - 1) / 3 : 0,
                                        .to = part ? DOCUMENTS * part / 3 : DOCUMENTS,
                                        .head = 20};
            struct gather g;
            uint64_t before = 0, head = 0;
            struct placing order;
            CHECK(!placing_begin(&order, plan.kind, plan.seed, DOCUMENTS));
            for (uint64_t d = 0; d < DOCUMENTS; d++) {
                before += placing_of(&order, d) < plan.from ? length(d) : 0;
                head += placing_of(&order, d) < 20 ? length(d) : 0;
            }
            placing_end(&order);
            int parts = part ? 3 : 0;
            CHECK(gather_open(&g, &plan, paths, FILES, part ? (int)part - 1 : 0, parts, 1) == 1);
            CHECK(g.recalls == (memory == AGAIN));
            CHECK(g.before_tokens == before && g.head_tokens == head);
            CHECK(wrong_ones(&g, &plan) == 0);
            gather_close(&g);
        }
    case_end("");
}

static struct reorder_plan usual(int64_t memory, uint64_t documents)
{
    return (struct reorder_plan){.kind = PLACING_TTT,
                                 .seed = 5,
                                 .id_bytes = 2,
                                 .memory = memory,
                                 .known = true,
                                 .documents = documents,
                                 .to = documents};
}

static void others(void)
{
    static const int64_t memories[] = {MAPPED, AGAIN};
    struct gather g;
    case_begin("what it leaves to others");
    CHECK(written(false) > 0);
    struct reorder_plan plan = usual(NEITHER, DOCUMENTS);
    CHECK(gather_open(&g, &plan, paths, FILES, 0, 0, 1) == 0);
    plan = usual(AGAIN, DOCUMENTS); /* with ten programs that have it together */
    CHECK(gather_open(&g, &plan, paths, FILES, 0, 0, 10) == 0);
    CHECK(written(true) > 0);
    for (int m = 0; m < 2; m++) {
        plan = usual(memories[m], DOCUMENTS);
        CHECK(gather_open(&g, &plan, paths, FILES, 0, 0, 1) == 0);
    }
    case_end("");
}

static void refusals(const char *name)
{
    static const int64_t memories[] = {MAPPED, AGAIN};
    struct gather g;
    struct reorder_piece p;
    case_begin(name);
    for (int m = 0; m < 2; m++) {
        CHECK(written(false) > 0);
        struct reorder_plan plan = usual(memories[m], DOCUMENTS - 1);
        CHECK(gather_open(&g, &plan, paths, FILES, 0, 0, 1) == -1 && strstr(why(), "more doc"));
        plan = usual(memories[m], DOCUMENTS + 1);
        CHECK(gather_open(&g, &plan, paths, FILES, 0, 0, 1) == -1 && strstr(why(), "fewer doc"));
        /* One bit of an id: found by who proves the block it is in. */
        int fd = open(paths[1], O_RDWR);
        uint8_t byte = 0;
        CHECK(fd >= 0 && pread(fd, &byte, 1, 100000) == 1);
        byte ^= 1;
        CHECK(pwrite(fd, &byte, 1, 100000) == 1 && !close(fd));
        plan = usual(memories[m], DOCUMENTS);
        CHECK(gather_open(&g, &plan, paths, FILES, 0, 1, 1) == -1 && strstr(why(), "checksum"));
        CHECK(gather_open(&g, &plan, paths, FILES, 0, 0, 1) == 1);
        gather_close(&g);
    }
    /* The file is cut when its documents are about to be read. */
    struct reorder_plan plan = usual(AGAIN, DOCUMENTS);
    CHECK(gather_open(&g, &plan, paths, FILES, 0, 0, 1) == 1 && !truncate(paths[1], 5000));
    int status;
    while ((status = gather_next(&g, &p)) > 0)
        ;
    CHECK(status == -1 && strstr(why(), "shorter"));
    gather_close(&g);
    case_end("");
}

int main(void)
{
    scratch_make();
    paths[0] = scratch("a.tok"), paths[1] = scratch("b.tok"), paths[2] = scratch("c.tok");
    orders(MAPPED, "three files mapped");
    others();
    const char *again = "three files read again", *said = "what cannot be done is said";
    if (written(false) && recall_kept(paths[0], 1)) {
        orders(AGAIN, again);
        refusals(said);
    } else {
        case_skip(again, "the file system does not tell what is in memory");
        case_skip(said, "the same");
    }
    return check_finish();
}
