/* team_data.h -- that the ranks of a program read the same. */
#ifndef TEAM_DATA_H
#define TEAM_DATA_H

#include "data.h"
#include "dataset.h"
#include "team.h"

/* Before team_join: that all ranks have the same dataset, by its manifest, and of its arrays list
   [count], closed ones left out, the same numbers of ids and samples of them. On every rank -1 with
   a sentence naming the first that differs. */
enum { TEAM_ARRAYS = 2 };
must_check int team_agree_data(struct team *t, const struct dataset *set,
                               const struct data *const *list, int count);

/* After it: that all ranks have the same file of the flag `name`. -1 likewise. */
must_check int team_same_file(struct team *t, const char *name, const char *path);

#endif
