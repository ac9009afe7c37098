/* portion.c -- shard i of n of a list of inputs. */
#include "portion.h"

#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- which -------------------------------------------------------------------------------- */

static int count_of(const char *text, const char **end, uint64_t *value)
{
    char *stop;
    errno = 0;
    unsigned long long v = strtoull(text, &stop, 10);
    if (errno || stop == text || *text < '0' || *text > '9')
        return -1;
    *end = stop;
    *value = v;
    return 0;
}

/* A whole number from the environment; `missing` where it is not set. */
static int from_slurm(const char *name, uint64_t missing, uint64_t *value)
{
    const char *text = getenv(name), *end = "";
    *value = missing;
    if (!text || (!count_of(text, &end, value) && !*end))
        return 0;
    return fail("%s=%s: expected a whole number; --shard=none does not look at it", name, text);
}

static int slurm(struct shard *s)
{
    uint64_t id, min, step, count;
    if (!getenv("SLURM_ARRAY_TASK_ID") || !getenv("SLURM_ARRAY_TASK_COUNT"))
        return 0;
    if (from_slurm("SLURM_ARRAY_TASK_ID", 0, &id) || from_slurm("SLURM_ARRAY_TASK_MIN", 0, &min) ||
        from_slurm("SLURM_ARRAY_TASK_STEP", 1, &step) ||
        from_slurm("SLURM_ARRAY_TASK_COUNT", 1, &count))
        return -1;
    if (id < min || !step || (id - min) / step >= count)
        return fail("task %" PRIu64 " of an array that begins at %" PRIu64 " and has %" PRIu64
                    " tasks is no shard; give --shard=i/n",
                    id, min, count);
    *s = (struct shard){(id - min) / step, count};
    return 1;
}

int shard_parse(struct shard *s, const char *text)
{
    const char *end;
    if (!*text)
        return slurm(s);
    if (!strcmp(text, "none"))
        return 0;
    if (count_of(text, &end, &s->index) || *end != '/' || count_of(end + 1, &end, &s->count) ||
        *end || s->index >= s->count || s->count > 99999)
        return fail("--shard=%s: expected i/n with i from 0 to n - 1, such as 0/16", text);
    return 1;
}

char *shard_name(const struct shard *s, const char *path)
{
    size_t n = strlen(path), stem = n > 4 && !strcmp(path + n - 4, ".tok") ? n - 4 : n;
    char *name;
    int bytes = asprintf(&name, "%.*s-%05" PRIu64 "-of-%05" PRIu64 "%s", (int)stem, path, s->index,
                         s->count, path + stem);
    return bytes < 0 ? NULL : name;
}

/* ---- where -------------------------------------------------------------------------------- */

/* Whether a file is JSON lines as they stand, by its first record: an object on one line. 1, 0,
 * -1.*/
static int divisible(const char *path, bool as_jsonl)
{
    struct input in;
    struct jsonl j;
    struct jsonl_key key = {0};
    struct jsonl_text text;
    struct jsonl_fault fault;
    enum input_format format = INPUT_JSONL;
    if (input_open(&in, path))
        return -1;
    int got = in.plain ? 0 : 1;
    if (!got && !as_jsonl && input_guess(&in, &format))
        got = -1;
    if (got || format != INPUT_JSONL) {
        input_close(&in);
        return got < 0 ? -1 : 0;
    }
    if (jsonl_open(&j, input_source(&in), &key)) {
        input_close(&in);
        return -1;
    }
    got = jsonl_next(&j, &text, &fault);
    uint64_t line = got == 1 ? text.record.line : fault.record.line;
    int lines = got == -2 ? -1 : j.stand.shape == JSONL_LINES && j.stand.now.line == line;
    jsonl_close(&j);
    input_close(&in);
    return lines;
}

/* The first byte behind the line that holds byte `at` - 1. */
static int line_behind(const char *path, uint64_t at, uint64_t *found)
{
    enum { PIECE = 1 << 18 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *piece = malloc(PIECE);
    int status = fd < 0  ? fail("%s: %s", path, strerror(errno))
                 : piece ? 0
                         : fail("%s: out of memory", path);
    *found = at - 1;
    while (!status) {
        ssize_t n = pread(fd, piece, PIECE, (off_t)*found);
        if (n < 0)
            status = fail("%s: %s", path, strerror(errno));
        if (n <= 0)
            break;
        const char *lf = memchr(piece, '\n', (size_t)n);
        *found += lf ? (uint64_t)(lf - piece) + 1 : (uint64_t)n;
        if (lf)
            break;
    }
    free(piece);
    if (fd >= 0)
        close(fd);
    return status;
}

/* Where the bytes from `at` of all inputs on begin. */
static int cut(const struct inputs *in, uint64_t at, bool as_jsonl, bool as_text, size_t *path,
               uint64_t *from)
{
    uint64_t begin = 0;
    *from = 0;
    for (*path = 0; *path < in->count; ++*path) {
        uint64_t bytes = in->bytes[*path];
        if (at <= begin)
            return 0;
        if (at < begin + bytes) {
            int lines = as_text ? 0 : divisible(in->paths[*path], as_jsonl);
            if (lines == 1 && line_behind(in->paths[*path], at - begin, from))
                return -1;
            if (lines != 1 || *from >= bytes) {
                ++*path;
                *from = 0;
            }
            return lines < 0 ? -1 : 0;
        }
        begin += bytes;
    }
    return 0;
}

struct portion portion_whole(const struct inputs *in)
{
    return (struct portion){.last = in->count - 1, .to = UINT64_MAX, .bytes = in->total};
}

int portion_find(struct portion *p, const struct inputs *in, const struct shard *s, bool as_jsonl,
                 bool as_text)
{
    uint64_t begin = (uint64_t)((unsigned __int128)in->total * s->index / s->count);
    uint64_t end = (uint64_t)((unsigned __int128)in->total * (s->index + 1) / s->count);
    *p = (struct portion){0};
    if (cut(in, begin, as_jsonl, as_text, &p->first, &p->from) ||
        cut(in, end, as_jsonl, as_text, &p->last, &p->to))
        return -1;
    if (s->index + 1 == s->count)
        p->last = in->count, p->to = 0;
    for (size_t i = p->first; i < p->last; i++)
        p->bytes += in->bytes[i];
    p->bytes = p->bytes - p->from + p->to;
    if (p->last == p->first && p->to <= p->from) {
        p->first = in->count; /* nothing */
        p->last = in->count - 1;
    } else if (p->to == 0) { /* the end of the path before */
        p->to = UINT64_MAX;
        p->last--;
    }
    return 0;
}
