/* summary.c -- what a run has come to, for people, at its end. */
#include "summary.h"
#include "config.h"
#include "device.h"
#include "report.h"

#include <inttypes.h>
#include <sys/resource.h>

void summary_begin(struct summary *s, const struct run *r)
{
    *s = (struct summary){r->step, now_s()};
}

static void tell_speed(const struct summary *s, const struct run *r, double gflops)
{
    const struct options *o = r->options;
    char speed[16], all[16], took[24], whole[24];
    double per_step = (double)o->global_batch_size * (double)o->seq_length;
    double made = (double)(r->step - s->first_step) * per_step, took_s = now_s() - s->began_s;
    double each = config_train_flops(&r->config, (int)o->seq_length);
    fprintf(stderr, "  tokens           %s in %s", human(all, (double)r->step * per_step),
            human_s(whole, now_s() - r->began_s));
    if (s->first_step)
        fprintf(stderr, ", of which %s in %s here", human(speed, made), human_s(took, took_s));
    fprintf(stderr, "\n  speed            %s tokens/s, validation and checkpoints included\n",
            human(speed, made / took_s));
    if (gflops > 0) {
        double ranks = (double)mesh_ranks(&o->mesh), done = made / took_s * each / 1e9 / ranks;
        fprintf(
            stderr,
            "  MFU              %.1f %%: %.3g GFLOP a token, %.4g GFLOP/s%s of the %.4g that one "
            "large %s product reached here\n",
            100 * done / gflops, each / 1e9, done, ranks > 1 ? " a rank" : "", gflops,
            device_matmul_kind());
    }
}

static void tell_memory(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    size_t device_bytes = device_peak_bytes();
    fprintf(stderr, "  peak memory      %.0f MiB of the host", (double)used.ru_maxrss / 1024);
    if (device_bytes)
        fprintf(stderr, ", %.0f MiB of the device", (double)device_bytes / (1 << 20));
    fprintf(stderr, "\n");
}

void summary_tell(const struct summary *s, const struct run *r, double gflops)
{
    double best;
    int64_t at;
    if (quiet || r->step <= s->first_step)
        return;
    say("step %" PRId64 " of %" PRId64, r->step, r->options->total_steps);
    tell_speed(s, r, gflops);
    if (metrics_best(&r->metrics, &best, &at))
        fprintf(stderr, "  best validation  %.4f at step %" PRId64 "\n", best, at);
    tell_memory();
    if (!r->saved)
        return;
    fprintf(stderr, "  checkpoint       %s/step_%" PRId64 "\n", r->dir.path, r->saved);
    fprintf(stderr,
            "  text from it     ttt-generate --checkpoint='%s' --tokenizer=MODEL --prompt=TEXT\n",
            r->dir.path);
}
