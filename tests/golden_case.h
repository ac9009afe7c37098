/* golden_case.h -- a whole model of the reference with its training, as the files tell it. */
#ifndef GOLDEN_CASE_H
#define GOLDEN_CASE_H

#include "file.h"
#include "flags.h"
#include "model.h"
#include "optim.h"
#include "tensors.h"

/* Start with its name and OPTIM_DEFAULT. */
struct golden {
    const char *name;
    json_t *json;
    struct tensors file;
    struct tensors twin; /* the reference's bf16 of the same; open in bf16 builds alone */
    struct config config;
    struct optim_config optim;
    struct params params;
    int batch, seq, accum_steps;
    char note[512];
};

/* The optimiser's settings through the same table the trainer parses. -1 with why(). */
static inline int golden_read_optim(struct golden *g)
{
    struct flag flags[] = {OPTIM_FLAGS(g->optim), {0}};
    const struct program table = {.flags = flags};
    json_t *from = json_object_get(g->json, "optimizer"), *value;
    const char *type = json_string_value(json_object_get(from, "type")), *key;
    char name[96], path[32], text[64];
    if (!type || flag_set(flag_find(&table, "optimizer.type"), type))
        return fail("no optimiser of a known type");
    snprintf(path, sizeof path, "%s_optimizer", type);
    value = json_object_get(from, "accumulate_gradient_steps");
    if (value)
        g->optim.accumulate_gradient_steps = json_integer_value(value);
    json_object_foreach(json_object_get(from, path), key, value)
    {
        snprintf(name, sizeof name, "optimizer.%s.%s", path, key);
        snprintf(text, sizeof text, "%.17g", json_number_value(value));
        if (json_is_boolean(value))
            snprintf(text, sizeof text, "%d", json_is_true(value));
        struct flag *f = flag_find(&table, name);
        if (!f)
            return fail("no flag --%s", name);
        if (flag_set(f, text))
            return -1;
    }
    return optim_check(&g->optim);
}

/* Read the case's files; -1 with why(). */
static inline int golden_open(struct golden *g, const char *dir)
{
    char path[4096];
    json_error_t e;
    snprintf(path, sizeof path, "%s/%s.json", dir, g->name);
    g->json = json_load_file(path, 0, &e);
    if (!g->json)
        return fail("%s: %s", path, e.text);
    snprintf(path, sizeof path, "%s/%s.safetensors", dir, g->name);
    if (tensors_open(&g->file, path))
        return -1;
    const struct tensor *ids = tensors_find(&g->file, "input_ids");
    g->accum_steps = (int)json_integer_value(json_object_get(g->json, "accum_steps"));
    if (!ids || ids->dims != 2 || ids->shape[0] > 1 << 20 || ids->shape[1] > 1 << 20)
        return fail("%s: no input_ids of two axes", path);
    g->batch = (int)ids->shape[0];
    g->seq = (int)ids->shape[1];
    if (g->accum_steps < 1 || g->batch % g->accum_steps)
        return fail("%s: accum_steps does not divide the batch", path);
    return 0;
}

/* The sizes of its model and its optimiser's settings. -1 with why(). */
static inline int golden_configure(struct golden *g)
{
    return config_load(&g->config, "125m") ||
                   config_from_json(&g->config, json_object_get(g->json, "model"), g->name) ||
                   config_check(&g->config, g->seq) || golden_read_optim(g)
               ? -1
               : 0;
}

static inline void golden_close(struct golden *g)
{
    params_close(&g->params);
    tensors_close(&g->twin);
    tensors_close(&g->file);
    json_decref(g->json);
}

#endif
