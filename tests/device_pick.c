/* device_pick.c -- tokens chosen by the device are those that the trainer's sampler chooses. */
#include "check.h"
#include "device.h"
#include "kernels.h"
#include "random.h"
#include "sample.h"

#include <math.h>
#include <stdlib.h>

enum { ROWS = 3, VOCAB = 3000, STRIDE = 3007, DRAWS = 6 };

static const struct sample_config rules[] = {
    {.temperature = 0, .top_p = 1},
    {.temperature = 1, .top_p = 1},
    {.temperature = 0.05, .top_p = 1},
    {.temperature = 0.8, .top_p = 0.95},
    {.temperature = 3, .top_p = 0.5},
    {.temperature = 1, .top_p = 1e-9},
    {.temperature = 1, .top_p = 1, .top_k = 1},
    {.temperature = 2, .top_p = 1, .top_k = 40},
    {.temperature = 1, .top_p = 1, .top_k = 2 * VOCAB},
    {.temperature = 1.5, .top_p = 0.9, .top_k = 200},
    {.temperature = 1, .top_p = 1, .min_p = 0.2},
    {.temperature = 1.2, .top_p = 0.9, .top_k = 100, .min_p = 0.01},
};

/* The rows' draws of this number, which the sampler makes itself. */
static struct sample_text text_of(int row, int number)
{
    return (struct sample_text){.seed = 77 + (uint64_t)row, .draws = (uint64_t)number};
}

static void compare_rule(const struct sample_config *c, const float *logits, const float *device,
                         int rows)
{
    struct sampler s;
    CHECK(sample_open(&s, c, VOCAB) == 0);
    const struct pick_rule rule = {c->temperature, c->top_p, c->min_p, (int)c->top_k};
    double draw[ROWS];
    int32_t id[ROWS];
    double *dev_draw = device_alloc(sizeof draw);
    int32_t *dev_id = device_alloc(sizeof id);
    for (int n = 0; n < DRAWS; n++) {
        for (int r = 0; r < rows; r++)
            draw[r] = random_uniform(text_of(r, n).seed, random_stream("sample"), (uint64_t)n);
        device_put(dev_draw, draw, sizeof *draw * (size_t)rows);
        pick(dev_id, device, dev_draw, &rule, rows, VOCAB, STRIDE);
        device_get(id, dev_id, sizeof *id * (size_t)rows);
        for (int r = 0; r < rows; r++) {
            struct sample_text t = text_of(r, n);
            int32_t want = -2;
            CHECK(sample_pick(&s, &t, logits + r * STRIDE, &want) == 0);
            CHECK(id[r] == want);
        }
    }
    device_free(dev_draw);
    device_free(dev_id);
    sample_close(&s);
}

/* Random logits; few values, so that many are equal, of both signs and both zeros; all equal. The
   columns beyond VOCAB are larger than any. */
static void fill(float *logits)
{
    random_normal(logits, ROWS * STRIDE, 3, random_stream("logits"), 0, 3);
    for (int v = 0; v < VOCAB; v++) {
        logits[STRIDE + v] = rintf(logits[STRIDE + v]) / 2;
        logits[2 * STRIDE + v] = v % 2 ? 0.0f : -0.0f;
    }
    for (int r = 0; r < ROWS; r++)
        for (int v = VOCAB; v < STRIDE; v++)
            logits[r * STRIDE + v] = 100;
}

static void test_rules(const float *logits, float *device)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        char name[96];
        snprintf(name, sizeof name, "temperature %g, top_k %lld, top_p %g, min_p %g",
                 rules[i].temperature, (long long)rules[i].top_k, rules[i].top_p, rules[i].min_p);
        case_begin(name);
        device_put(device, logits, sizeof *logits * ROWS * STRIDE);
        compare_rule(&rules[i], logits, device, ROWS);
        case_end("");
    }
}

/* One row is broken; its neighbours are chosen from all the same. */
static void test_not_finite(const float *logits, float *device)
{
    static const float broken[] = {NAN, INFINITY, -INFINITY};
    case_begin("a logit that is not finite");
    double draw[ROWS] = {0.5, 0.5, 0.5};
    double *dev_draw = device_alloc(sizeof draw);
    int32_t id[ROWS], *dev_id = device_alloc(sizeof id);
    device_put(dev_draw, draw, sizeof draw);
    for (int i = 0; i < 3; i++) {
        device_put(device, logits, sizeof *logits * ROWS * STRIDE);
        device_put(device + STRIDE + 5, &broken[i], sizeof *device);
        pick(dev_id, device, dev_draw, &(struct pick_rule){1, 0.9, 0, 0}, ROWS, VOCAB, STRIDE);
        device_get(id, dev_id, sizeof id);
        CHECK(id[0] >= 0 && id[1] == -1 && id[2] >= 0);
    }
    device_free(dev_draw);
    device_free(dev_id);
    case_end("");
}

int main(void)
{
    const char *broken = device_open(0);
    if (broken) {
        fprintf(stderr, "device_pick: %s\n", broken);
        return 1;
    }
    float *logits = malloc(sizeof *logits * ROWS * STRIDE);
    float *device = device_alloc(sizeof *device * ROWS * STRIDE);
    if (!has_pick()) {
        case_skip("pick", "this build's logits are in the host's memory, where sample.h chooses");
    } else {
        fill(logits);
        test_rules(logits, device);
        test_not_finite(logits, device);
        broken = device_sync();
        CHECK(!broken);
    }
    device_free(device);
    free(logits);
    device_close();
    return check_finish();
}
