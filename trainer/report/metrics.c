/* metrics.c -- metrics.jsonl, one JSON object a line. */
#include "metrics.h"
#include "chart.h"
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

/* The step a line tells of; 0 when it is no such line, as the last of a killed run may be. */
static int64_t step_of(const char *line, size_t bytes)
{
    json_t *object = json_loadb(line, bytes, 0, NULL);
    int64_t step = json_integer_value(json_object_get(object, "step"));
    json_decref(object);
    return step;
}

/* Bytes of the whole lines up to `step`. */
static size_t bytes_to_keep(const struct map *m, int64_t step)
{
    size_t at = 0;
    while (at < m->bytes) {
        const uint8_t *end = memchr(m->data + at, '\n', m->bytes - at);
        if (!end)
            break;
        int64_t of = step_of((const char *)m->data + at, (size_t)(end - m->data) - at);
        if (of < 1 || of > step)
            break;
        at = (size_t)(end - m->data) + 1;
    }
    return at;
}

static int cut(const char *path, int64_t step)
{
    struct map m;
    if (access(path, F_OK))
        return 0;
    if (map_open(&m, path))
        return -1;
    size_t keep = bytes_to_keep(&m, step);
    int status = keep < m.bytes ? file_write(path, m.data, keep) : 0;
    map_close(&m);
    return status;
}

int metrics_open(struct metrics *m, const char *path, int64_t step)
{
    *m = (struct metrics){0};
    if (snprintf(m->path, sizeof m->path, "%s", path) >= (int)sizeof m->path)
        return fail("%s: the path is too long", path);
    if (cut(path, step))
        return -1;
    m->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (m->fd < 0)
        return fail("%s: %s", path, strerror(errno));
    m->good_bytes = lseek(m->fd, 0, SEEK_END);
    m->line = open_memstream(&m->text, &m->text_bytes);
    if (m->line)
        return 0;
    close(m->fd);
    return fail("%s: out of memory", path);
}

int metrics_follow(struct metrics *m, const char *dir, const char *textfile, const char *run,
                   int64_t step)
{
    m->textfile = (struct textfile){.path = textfile, .run = run, .step = step};
    return dir ? events_open(&m->events, dir, step + 1) : 0;
}

void metrics_close(struct metrics *m)
{
    events_close(&m->events);
    if (m->line) {
        fclose(m->line);
        free(m->text);
        close(m->fd);
    }
    *m = (struct metrics){0};
}

/* Write what was collected, or leave the file as it was. */
static int flush(struct metrics *m)
{
    fflush(m->line);
    size_t bytes = m->text_bytes, done = 0;
    int status = 0;
    while (done < bytes && !status) {
        ssize_t n = write(m->fd, m->text + done, bytes - done);
        if (n > 0)
            done += (size_t)n;
        else if (errno != EINTR)
            status = fail("%s: %s", m->path, strerror(errno));
    }
    if (!status)
        m->good_bytes += (int64_t)bytes;
    else if (ftruncate(m->fd, m->good_bytes))
        status = fail("%s: a line is cut: %s", m->path, strerror(errno));
    rewind(m->line);
    return status;
}

static int follow(struct metrics *m, const struct metrics_step *s)
{
    struct textfile *t = &m->textfile;
    struct events *e = &m->events;
    t->step = s->step;
    t->skipped += s->skipped;
    if (s->skipped)
        return textfile_write(t, true);
    t->loss = s->loss;
    t->grad_norm = s->grad_norm;
    t->learning_rate = s->learning_rate;
    t->tokens_per_s = s->tokens_per_s;
    t->elapsed_s = s->elapsed_s;
    return events_put(e, s->step, "train/loss", s->loss) ||
                   events_put(e, s->step, "train/grad_norm", s->grad_norm) ||
                   events_put(e, s->step, "train/learning_rate", s->learning_rate) ||
                   events_put(e, s->step, "train/tokens_per_s", s->tokens_per_s) ||
                   textfile_write(t, false)
               ? -1
               : 0;
}

static void put_skipped(struct metrics *m, const struct metrics_step *s)
{
    char deviations[32] = "null";
    if (isfinite(s->deviations))
        snprintf(deviations, sizeof deviations, "%.9g", s->deviations);
    fprintf(m->line, "{\"step\": %" PRId64 ", \"skipped\": true", s->step);
    if (s->deviations > 0)
        fprintf(m->line, ", \"spike\": %.9g, \"deviations\": %s", s->spike, deviations);
    fprintf(m->line, "}\n");
}

int metrics_put(struct metrics *m, const struct metrics_step *s)
{
    if (s->skipped)
        put_skipped(m, s);
    else
        fprintf(m->line,
                "{\"step\": %" PRId64
                ", \"loss\": %.9g, \"grad_norm\": %.9g, \"learning_rate\": %.9g, "
                "\"tokens_per_s\": %.1f, \"elapsed_s\": %.3f}\n",
                s->step, s->loss, s->grad_norm, s->learning_rate, s->tokens_per_s, s->elapsed_s);
    return flush(m) || follow(m, s) ? -1 : 0;
}

/* Numbers of the embedding, each layer and the rest, as a member of the line and as scalars. */
static int put_units(struct metrics *m, int64_t step, const char *name, const double *x, int count,
                     int layers)
{
    int status = 0;
    fprintf(m->line, ", \"%s\": [", name);
    for (int i = 0; i < count; i++)
        fprintf(m->line, "%s%.9g", i ? ", " : "", x[i]);
    fprintf(m->line, "]");
    for (int i = 0; i < count && !status; i++) {
        char tag[48];
        if (i == 0 || i > layers)
            snprintf(tag, sizeof tag, "%s/%s", name, i ? "rest" : "embedding");
        else
            snprintf(tag, sizeof tag, "%s/layer_%03d", name, i - 1);
        status = events_put(&m->events, step, tag, x[i]);
    }
    return status;
}

int metrics_put_norms(struct metrics *m, int64_t step, const double *weights,
                      const double *activations, int layers)
{
    fprintf(m->line, "{\"step\": %" PRId64, step);
    int status = put_units(m, step, "weights", weights, layers + 2, layers) ||
                         put_units(m, step, "activations", activations, layers + 1, layers)
                     ? -1
                     : 0;
    fprintf(m->line, "}\n");
    return flush(m) || status ? -1 : 0;
}

/* One layer's curves [4][points] as a line, and as a picture. */
static int put_layer(struct metrics *m, int64_t step, int layer, const float *curves, int points,
                     int mini_batch)
{
    char title[64], tag[48];
    size_t bytes;
    fprintf(m->line, "{\"step\": %" PRId64 ", \"layer\": %d, \"x\": [", step, layer);
    for (int i = 0; i < points; i++)
        fprintf(m->line, "%s%lld", i ? ", " : "", (long long)mini_batch * (i + 1));
    fprintf(m->line, "], \"ttt_stats\": [");
    for (int c = 0; c < 4; c++) {
        fprintf(m->line, "%s[", c ? ", " : "");
        for (int i = 0; i < points; i++)
            fprintf(m->line, "%s%.9g", i ? ", " : "", *curves++);
        fprintf(m->line, "]");
    }
    fprintf(m->line, "]}\n");
    if (!*m->events.path)
        return 0;
    snprintf(title, sizeof title, "layer %d, step %" PRId64, layer, step);
    snprintf(tag, sizeof tag, "ttt_stats/layer_%03d", layer);
    uint8_t *png =
        chart_draw(curves - (size_t)4 * (size_t)points, points, mini_batch, title, &bytes);
    int status =
        png ? events_put_picture(&m->events, step, tag, png, bytes, CHART_WIDTH, CHART_HEIGHT) : -1;
    free(png);
    return status;
}

int metrics_put_stats(struct metrics *m, int64_t step, const double *curves, int layers, int points,
                      int mini_batch)
{
    size_t count = (size_t)4 * (size_t)points;
    float *layer = malloc(count * sizeof *layer);
    int status = layer ? 0 : fail("%s: out of memory", m->path);
    for (int l = 0; l < layers && !status; l++) {
        for (size_t i = 0; i < count; i++)
            layer[i] = (float)curves[(size_t)l * count + i];
        status = put_layer(m, step, l, layer, points, mini_batch);
    }
    free(layer);
    return flush(m) || status ? -1 : 0;
}

int metrics_put_validation(struct metrics *m, int64_t step, double loss, uint64_t tokens)
{
    fprintf(m->line, "{\"step\": %" PRId64 ", \"val_loss\": %.9g, \"val_tokens\": %" PRIu64 "}\n",
            step, (float)loss, tokens);
    m->textfile.has_validation = true;
    m->textfile.validation_loss = loss;
    return flush(m) || events_put(&m->events, step, "validation/loss", loss) ||
                   textfile_write(&m->textfile, true)
               ? -1
               : 0;
}

int metrics_end(struct metrics *m)
{
    return textfile_write(&m->textfile, true);
}

bool metrics_best(const struct metrics *m, double *loss, int64_t *step)
{
    FILE *from = fopen(m->path, "re");
    char *line = NULL;
    size_t room = 0;
    *loss = INFINITY;
    for (ssize_t n; from && (n = getline(&line, &room, from)) > 0;) {
        const char *at = strstr(line, "\"val_loss\": "); /* a line of thousands of steps */
        double here = at ? strtod(at + 12, NULL) : INFINITY;
        if (here < *loss) {
            *loss = here;
            *step = step_of(line, (size_t)n);
        }
    }
    free(line);
    if (from)
        fclose(from);
    return isfinite(*loss);
}

int metrics_sync(const struct metrics *m)
{
    if (fsync(m->fd) && errno != EINVAL)
        return fail("%s: %s", m->path, strerror(errno));
    return 0;
}
