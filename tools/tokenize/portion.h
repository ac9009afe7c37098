/* portion.h -- shard i of n of a list of inputs: whole files, and ranges of lines of large ones.

   All inputs one behind the other are cut into n equal parts by their bytes. A file of JSON lines
   that is not compressed is cut at the line that a cut falls into, which stays with the part
   before; any other file belongs to the part in which its first byte lies. So the documents of
   shards 0 to n - 1 one behind the other are the documents of the whole, in order, for every n. */
#ifndef PORTION_H
#define PORTION_H

#include "inputs.h"
#include "jsonl.h"

struct shard {
    uint64_t index, count; /* index is below count */
};

/* "i/n", or "none", or "" for what Slurm's array job says in SLURM_ARRAY_TASK_ID, _MIN, _STEP and
   _COUNT. 1: *s is set; 0: there is no shard; -1 with why(). */
must_check int shard_parse(struct shard *s, const char *text);

/* NAME-00003-of-00016.tok for NAME.tok; owned by the caller. NULL when memory is out. */
char *shard_name(const struct shard *s, const char *path);

/* From byte `from` of path `first` to before byte `to` of path `last`; first is the number of paths
   where there is nothing. */
struct portion {
    size_t first, last;
    uint64_t from, to;
    uint64_t bytes; /* in all */
};

/* The whole list. */
struct portion portion_whole(const struct inputs *in);

/* One shard's. All inputs are regular files. `as_jsonl`: they are JSON lines whatever they are
   called; `as_text`: none is. Reads up to a record of the files that cuts fall into. */
must_check int portion_find(struct portion *p, const struct inputs *in, const struct shard *s,
                            bool as_jsonl, bool as_text);

#endif
