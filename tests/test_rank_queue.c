/* test_rank_queue.c -- the queue of places by rank against a list that is searched. */
#include "check.h"
#include "rank_queue.h"

#include <stdlib.h>

static uint64_t state = 1;

static uint32_t below(uint32_t bound)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % bound);
}

/* Puts and takes in turns; in_order: places of a rank mostly grow, as they do in a sweep. */
static void against_list(const char *name, uint32_t ranks, uint32_t steps, bool in_order)
{
    struct rank_queue q;
    uint64_t *list = malloc(sizeof *list * steps);
    size_t count = 0;
    case_begin(name);
    CHECK(!rank_queue_open(&q, ranks));
    for (uint32_t i = 0; i < 2 * steps && check_failures_here == 0; i++) {
        uint32_t rank, place;
        if (i < steps && (below(3) || !in_order)) {
            rank = below(ranks);
            place = in_order && below(9) ? i : below(steps);
            CHECK(!rank_queue_put(&q, rank, place));
            list[count++] = (uint64_t)rank << 32 | place;
            continue;
        }
        size_t least = 0;
        for (size_t k = 1; k < count; k++)
            least = list[k] < list[least] ? k : least;
        CHECK(rank_queue_take(&q, &rank, &place) == (count > 0));
        if (count) {
            CHECK(list[least] == ((uint64_t)rank << 32 | place));
            list[least] = list[--count];
        }
    }
    CHECK(count == 0);
    rank_queue_close(&q);
    rank_queue_close(&q);
    free(list);
    case_end("");
}

int main(void)
{
    against_list("places in any order", 7, 3000, false);
    against_list("places that mostly grow", 7, 6000, true);
    against_list("one rank", 1, 3000, true);
    against_list("many ranks", 300000, 4000, false);
    against_list("ranks at the ends of words", 4097, 4000, true);
    return check_finish();
}
