/* options.h -- the flags of ttt-train: the reference's names and meaning, and some of our own. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "config.h"
#include "flags.h"
#include "mesh.h"
#include "optim.h"
#include "order.h"

#include <jansson.h>
#include <stdio.h>

/* As given, then as resolved. Texts are never NULL. */
struct options {
    struct config_flags model;
    int64_t vocab_size; /* 0: the dataset's */
    struct optim_config optim;

    const char *dataset_path, *dataset_name, *tokenizer_name, *mask_bos, *order;
    int64_t seq_length, global_batch_size, loader_workers;

    int64_t total_steps, accum_steps;
    int64_t micro_batch;          /* rows; 0: "auto", as many as fit (run_memory.h) */
    const char *micro_text;       /* the flag: a number of rows, 0 for all, or "auto" */
    int64_t recompute_every;      /* mini-batches, 0: choose */
    const char *recompute_blocks; /* auto, on, off */
    int64_t skip_nonfinite;
    double skip_spikes; /* deviations; 0: none is skipped */
    int64_t spike_window, norms_every;
    int64_t seed;
    bool eval_mode;
    int64_t eval_every, eval_batches, eval_tokens;
    bool tensorboard, profile;
    const char *metrics_textfile; /* "" none */

    const char *exp_dir, *exp_name, *resume_exp_name, *resume_step, *resume, *load_part;
    int64_t save_checkpoint_freq, save_milestone_freq;
    bool save_in_background;
    const char *float_dtype;
    bool save_optimizer_state;
    bool initialize_jax_distributed; /* with the next four, only taken */
    const char *coordinator_address, *num_processes, *process_id, *local_device_ids;

    const char *mesh_dim, *dtype, *device, *matmul;
    int64_t threads;
    double comm_timeout_s;
    int64_t gpus; /* with plan */
    const char *gpu;
    bool plan, print_config, is_rollback_reshuffle;
    const char *flagfile;

    /* Resolved. */
    bool tokenizer_given;
    enum order_rule order_rule;
    int64_t step_to_resume; /* of resume_step, 0 for the newest */
    struct mesh mesh;       /* of mesh_dim; this rank in it */
    int64_t rank_rows;      /* of global_batch_size, those that a rank computes */
};

/* Parse, read --flagfile, and check every number that no file is needed for, for this one of so
   many ranks. Misuse ends the program (flags.h). The result is the process's own. */
const struct options *options_parse(int argc, char **argv, int rank, int ranks);

/* One line for each flag that is taken for the reference's sake and does nothing here. */
void options_notes(const struct options *o);

/* The table of flags, as parsed. */
const struct program *options_program(void);

/* Every flag as resolved: a line each, as --flagfile takes them; or {"name": "text"}. */
void options_write(FILE *to);
json_t *options_to_json(void);

#endif
