/* test_ranks.c -- which rank a process is and where the first one is, by its launcher's variables.
 */
#include "check.h"
#include "ranks.h"

#include <stdlib.h>
#include <string.h>

static void test_host_lists(void)
{
    static const struct {
        const char *list, *first;
    } known[] = {{"a", "a"},
                 {"a,b", "a"},
                 {"a[03-07,9],b", "a03"},
                 {"a[7,9]", "a7"},
                 {"a[1-3]-ib,b", "a1-ib"},
                 {"a[1-3]-ib[2-4],b", "a1-ib"},
                 {"a,b[1-2]", "a"},
                 {"", ""}};
    case_begin("host lists");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char name[64];
        ranks_first_host(name, sizeof name, known[i].list);
        if (strcmp(name, known[i].first))
            fprintf(stderr, "%s: %s, not %s\n", known[i].list, name, known[i].first);
        CHECK(!strcmp(name, known[i].first));
    }
    case_end("");
}

/* In the environment that begins with nothing but these, up to NULL. */
static int find_with(struct ranks *r, const char *const *variables)
{
    clearenv();
    for (; *variables; variables += 2)
        CHECK(!setenv(variables[0], variables[1], 1));
    return ranks_find(r);
}

static void test_found(void)
{
    struct ranks r;
    case_begin("found");
    CHECK(!find_with(&r, (const char *[]){NULL}) && r.count == 1 && r.rank == 0);
    CHECK(
        !find_with(&r, (const char *[]){"SLURM_PROCID", "5", "SLURM_STEP_NUM_TASKS", "8",
                                        "SLURM_LOCALID", "1", "SLURM_JOB_ID", "77", "SLURM_STEP_ID",
                                        "2", "SLURM_STEP_NODELIST", "gpu[003-004]", NULL}) &&
        r.rank == 5 && r.count == 8 && r.local == 1 && !strcmp(r.address, "gpu003") &&
        !strcmp(r.token, "77.2") && r.port >= 1024 && r.port < 65536);
    CHECK(!find_with(&r, (const char *[]){"RANK", "0", "WORLD_SIZE", "2", "LOCAL_WORLD_SIZE", "1",
                                          "MASTER_ADDR", "first", "MASTER_PORT", "29500",
                                          "TORCHELASTIC_RUN_ID", "x", NULL}) &&
          !strcmp(r.address, "first") && r.port == 29501 && !strcmp(r.token, "x"));
    CHECK(!find_with(&r, (const char *[]){"OMPI_COMM_WORLD_RANK", "1", "OMPI_COMM_WORLD_SIZE", "2",
                                          "OMPI_COMM_WORLD_LOCAL_SIZE", "2", NULL}) &&
          !strcmp(r.address, "127.0.0.1"));
    CHECK(!find_with(&r, (const char *[]){"TTT_RANK", "1", "TTT_RANKS", "2", "TTT_MASTER_ADDR",
                                          "there", "TTT_MASTER_PORT", "4000", "TTT_JOB_TOKEN",
                                          "mine", "RANK", "0", "WORLD_SIZE", "9", NULL}) &&
          r.count == 2 && !strcmp(r.address, "there") && r.port == 4000 &&
          !strcmp(r.token, "mine"));
    case_end("");
}

static void test_contradictions(void)
{
    static const struct {
        const char *variables[9], *words;
    } wrong[] = {
        {{"TTT_RANK", "1", "TTT_RANKS", "2"}, "nothing tells on which machine rank 0 is"},
        {{"TTT_RANK", "2", "TTT_RANKS", "2"}, "counted from 0"},
        {{"TTT_RANK", "two", "TTT_RANKS", "2"}, "TTT_RANK=two in the environment"},
        {{"TTT_RANK", "-1", "TTT_RANKS", "2"}, "expected a number from 0 on"},
        {{"RANK", "0", "WORLD_SIZE", "0"}, "WORLD_SIZE=0 in the environment"},
        {{"RANK", "0", "WORLD_SIZE", "2", "MASTER_ADDR", "a", "TTT_MASTER_PORT", "70000"},
         "the port 70000"},
    };
    case_begin("contradictions");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct ranks r;
        CHECK(find_with(&r, wrong[i].variables) == -1);
        if (!strstr(why(), wrong[i].words))
            fprintf(stderr, "%s\n", why());
        CHECK(strstr(why(), wrong[i].words));
    }
    case_end("");
}

int main(void)
{
    test_host_lists();
    test_found();
    test_contradictions();
    return check_finish();
}
