/* team_data.c -- that the ranks of a program read the same. */
#include "team_data.h"
#include "file.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What is claimed of an array. */
struct array_claims {
    char ids_name[64], ids[32], sample_name[64];
    struct xxh3 sample;
};

int team_agree_data(struct team *t, const struct dataset *set, const struct data *const *list,
                    int count)
{
    struct array_claims array[TEAM_ARRAYS];
    struct peers_claim claims[2 + 2 * TEAM_ARRAYS] = {
        {"the dataset's directory", set->dir},
        {"the XXH3-128 of the dataset's manifest.jsonl", set->digest.hex},
    };
    int n = 2;
    assert(count <= TEAM_ARRAYS);
    if (team_is_alone(t))
        return 0;
    for (int i = 0; i < count; i++) {
        struct array_claims *a = &array[i];
        if (!list[i]->path)
            continue;
        const char *file = strrchr(list[i]->path, '/') + 1;
        snprintf(a->ids_name, sizeof a->ids_name, "the number of ids in %.32s", file);
        snprintf(a->ids, sizeof a->ids, "%" PRIu64, list[i]->npy.count);
        snprintf(a->sample_name, sizeof a->sample_name, "the XXH3-128 of samples of %.32s", file);
        a->sample = data_sample(list[i]);
        claims[n++] = (struct peers_claim){a->ids_name, a->ids};
        claims[n++] = (struct peers_claim){a->sample_name, a->sample.hex};
    }
    return peers_agree(&t->peers, claims, n);
}

int team_same_file(struct team *t, const char *name, const char *path)
{
    struct map m;
    if (team_is_alone(t))
        return 0;
    int status = map_open(&m, path);
    if (team_status(t, status)) {
        if (!status)
            map_close(&m);
        return -1;
    }
    struct xxh3 digest = xxh3_of(m.data, m.bytes);
    map_close(&m);
    return team_same(t, name, digest.hex);
}
