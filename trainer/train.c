/* train.c -- ttt-train: the loop of steps. */
#include "comm.h"
#include "device.h"
#include "live.h"
#include "norms.h"
#include "profile.h"
#include "report.h"
#include "run.h"
#include "run_ranks.h"
#include "scale.h"
#include "sibling.h"
#include "summary.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t stop;

/* The first signal asks for a checkpoint and an end, the second ends. */
static void on_signal(int sig)
{
    if (stop)
        _exit(128 + sig);
    stop = sig;
}

static void catch_signals(void)
{
    struct sigaction act = {.sa_handler = on_signal};
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit then fails a write, which has a sentence */
    signal(SIGPIPE, SIG_IGN);
}

static bool is_due(int64_t step, int64_t every)
{
    return every && step % every == 0;
}

/* What follows a step. Troubles of the disk are told, and the run goes on: *status becomes 1. */
static void record(struct run *r, const struct metrics_step *m, struct live *line, int *status)
{
    const struct options *o = r->options;
    const struct config *c = &r->config;
    if (!run_is_first(r)) /* which speaks and writes for all */
        return;
    if (m->skipped) {
        live_break(line);
        warn("%s", why());
    }
    int bad = metrics_put(&r->metrics, m);
    if (r->curves && !m->skipped && is_due(m->step, o->save_milestone_freq))
        bad |= metrics_put_stats(&r->metrics, m->step, r->curves, c->num_hidden_layers,
                                 r->model.seq / c->mini_batch_size, c->mini_batch_size);
    bool last = m->step == o->total_steps;
    if (!m->skipped)
        live_show(line, m, last || run_stopped(r));
    if (bad) {
        live_break(line);
        warn("%s; training goes on without that line", why());
        *status = 1;
    }
}

static void tell_norms(struct run *r, struct live *line, int *status)
{
    int layers = r->config.num_hidden_layers;
    double *weights = calloc(2 * (size_t)layers + 3, sizeof *weights);
    int bad = weights ? norms_measure(r, weights, weights + layers + 2) : fail("out of memory");
    if (!bad && run_is_first(r))
        bad = metrics_put_norms(&r->metrics, r->step, weights, weights + layers + 2, layers);
    free(weights);
    if (bad) {
        live_break(line);
        warn("%s; training goes on without those norms", why());
        *status = 1;
    }
}

static void validate(struct run *r, struct live *line, int *status)
{
    double loss;
    uint64_t tokens;
    live_break(line);
    int bad = run_evaluate(r, &loss, &tokens);
    if (!bad && !run_is_first(r))
        return;
    if (bad || metrics_put_validation(&r->metrics, r->step, loss, tokens)) {
        warn("%s; training goes on", why());
        *status = 1;
        return;
    }
    say("step %" PRId64 "  validation loss %.4f over %" PRIu64 " tokens", r->step, loss, tokens);
}

/* Tell what became of the checkpoint under way, if there is one; waits for it. */
static void settle(struct run *r, struct live *line, int *status)
{
    int64_t before = r->saved, step = r->saving;
    if (!step || !run_save_end(r))
        return;
    live_break(line);
    *status = 1;
    if (r->saved != before)
        warn("%s", why());
    else if (before)
        warn("no checkpoint at step %" PRId64 ": %s; step_%" PRId64 " is whole", step, why(),
             before);
    else
        warn("no checkpoint at step %" PRId64 ": %s; there is none yet", step, why());
}

static void save(struct run *r, struct live *line, int *status)
{
    settle(r, line, status);
    if (r->step == r->saved || !run_save_begin(r))
        return;
    live_break(line);
    *status = 1;
    warn("no checkpoint at step %" PRId64 ": %s", r->step, why());
}

/* What this rank has sent, for people and for docs/scale.md. */
static void tell_traffic(int64_t steps)
{
    if (comm_ranks(COMM_WORLD) == 1 || steps < 1)
        return;
    uint64_t n = (uint64_t)steps;
    say("sent a step by a rank: dp %" PRIu64 ", fsdp %" PRIu64 ", mp %" PRIu64 " bytes",
        comm_traffic_of(COMM_DP).bytes / n, comm_traffic_of(COMM_FSDP).bytes / n,
        comm_traffic_of(COMM_MP).bytes / n);
}

enum { PROFILED_STEPS = 3 };

/* With --profile the second step of this process and those after it; the first, which has more to
   do, only where it is alone. */
static bool is_profiled(const struct run *r, int64_t first)
{
    int64_t step = r->step + 1 - first;
    if (!r->options->profile || !run_is_first(r))
        return false;
    return step > 1 ? step <= 1 + PROFILED_STEPS : first + 1 == r->options->total_steps;
}

/* One step, timed where it is to be. */
static int step(struct run *r, struct metrics_step *m, int64_t first)
{
    if (!is_profiled(r, first))
        return run_step(r, m);
    profile_step_begin(r->step + 1);
    int given_up = run_step(r, m);
    profile_step_end(!given_up);
    return given_up;
}

/* Of the steps that were timed, if any were. */
static void tell_profile(struct run *r, struct live *line, int *status)
{
    if (!profile_has_news())
        return;
    live_break(line);
    if (profile_write(r->dir.path, device_describe())) {
        warn("%s", why());
        *status = 1;
    } else {
        say("profile: %s/profile.txt, and trace.json for chrome://tracing", r->dir.path);
    }
    profile_close();
}

/* Steps until the end or a signal. Returns the exit status. */
static int train(struct run *r, double gflops)
{
    const struct options *o = r->options;
    struct live line;
    struct summary summary;
    int status = 0;
    int64_t first = r->step;
    if (r->step >= o->total_steps)
        say("step %" PRId64 " of %" PRId64 " is done already", r->step, o->total_steps);
    live_begin(&line, r->step, o->total_steps);
    summary_begin(&summary, r);
    while (r->step < o->total_steps && !run_stopped(r)) {
        struct metrics_step m;
        int given_up = step(r, &m, first);
        if (given_up > 0)
            break;
        if (given_up) {
            live_break(&line);
            warn("%s", why());
            settle(r, &line, &status);
            return 1;
        }
        record(r, &m, &line, &status);
        if (r->step == first + 1 + PROFILED_STEPS)
            tell_profile(r, &line, &status);
        if (is_due(r->step, o->norms_every) && !m.skipped)
            tell_norms(r, &line, &status);
        bool last = r->step == o->total_steps;
        if (is_due(r->step, o->eval_every) || (o->eval_every && last))
            validate(r, &line, &status);
        if (is_due(r->step, o->save_checkpoint_freq) || is_due(r->step, o->save_milestone_freq))
            save(r, &line, &status);
        else if (run_save_is_ready(r))
            settle(r, &line, &status);
    }
    tell_profile(r, &line, &status);
    if (r->step)
        save(r, &line, &status);
    settle(r, &line, &status);
    live_break(&line);
    if (run_is_first(r) && metrics_end(&r->metrics)) {
        warn("%s", why());
        status = 1;
    }
    summary_tell(&summary, r, gflops);
    tell_traffic(r->step - first);
    if (!run_stopped(r) || status)
        return status;
    say("stopped by a signal at step %" PRId64 "; --resume=auto goes on", r->step);
    return 128 + run_stopped(r);
}

static int evaluate(struct run *r)
{
    double loss;
    uint64_t tokens;
    if (run_evaluate(r, &loss, &tokens)) {
        warn("%s", why());
        return 1;
    }
    if (run_is_first(r))
        printf("Eval Loss: %.4f\n", loss);
    return 0;
}

int main(int argc, char **argv)
{
    char **given = malloc(((size_t)argc + 1) * sizeof *given);
    if (!given)
        die("out of memory");
    memcpy(given, argv, ((size_t)argc + 1) * sizeof *given);
    struct team team;
    team_find(&team, "ttt-train");
    int ranks = team.ranks.count;
    const struct options *o = options_parse(argc, argv, team.ranks.rank, ranks);
    team_speak(&team);
    if (o->plan) {
        if (scale_print(o))
            die("%s", why());
        return finish(0);
    }
    if (sibling_exec("ttt-train", given, o->device, o->dtype) ||
        sibling_exec_ranks("ttt-train", given, ranks))
        die("%s", why());
    free(given);
    catch_signals();

    team.mesh = o->mesh;
    if (team_meet(&team, o->comm_timeout_s))
        die("%s", why());
    team.peers.advice = "; the last whole checkpoint is as it was, --resume=auto goes on from it";
    const char *trouble = device_open((int)o->threads);
    if (trouble)
        die("%s", trouble);
    device_allow_tf32(!strcmp(o->matmul, "tf32"));
    if (o->print_config) {
        if (run_print(o))
            die("%s", why());
        device_close();
        return finish(0);
    }
    double gflops = quiet ? 0 : device_matmul_gflops();
    say("%s, %.0f GFLOP/s", device_describe(), gflops);
    struct run r;
    if (team_agree(&team, options_program()) || run_open(&r, o, &team, &stop))
        team_die(&team);
    int status = o->eval_mode ? evaluate(&r) : train(&r, gflops);
    if (ranks > 1 && status == 1)
        team_die(&team);
    run_close(&r);
    team_close(&team);
    device_close();
    return finish(status);
}
