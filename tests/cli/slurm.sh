#!/bin/bash
# slurm.sh BIN -- scripts/slurm/train.sbatch and arrays of ttt-tokenize on a real Slurm of this machine.
# shellcheck source=tests/cli/mesh_parts.bash disable=SC2154
. "$(dirname "$0")/mesh_parts.bash" "$@"
# shellcheck source=tests/cli/slurm_parts.bash
. tests/cli/slurm_parts.bash
need_mpi
if [[ $bin != */cpu/* ]]; then
    nothing 'Slurm is tried with the cpu build alone'
fi
export SLURM_CONF=$work/slurm/slurm.conf
trap 'end_slurm "$work/slurm"; remove_work' EXIT
if ! trouble=$(begin_slurm "$work/slurm"); then
    nothing "$trouble"
fi

# ---- training ----------------------------------------------------------------------------------

model=(--total_steps=200 --update_model_config="dict($shape)" --eval_every=0
    --save_checkpoint_freq=5)
# submit NAME SBATCH-FLAGS...: a run of two tasks; its job to $job.
submit() {
    local name=$1
    shift
    job=$(TTT_TRAIN=$bin/ttt-train sbatch --parsable --ntasks-per-node=2 --cpus-per-task=1 --gpus-per-node=0 \
        --output="$work/$name.log" "$@" scripts/slurm/train.sbatch "${common[@]}" "${model[@]}" \
        --mesh_dim=2,1,1 --exp_name="$name" 2>"$work/err") || bad "sbatch of $name"
}
# under_way NAME: it has written a checkpoint.
under_way() {
    for _ in {1..600}; do
        [[ -e $work/runs/$1/latest ]] && return 0
        sleep 0.05
    done
    cp "$work/$1.log" "$work/err"
    return 1
}
# went_on NAME JOB: queued again once, and gone on to the end from where it was.
went_on() {
    cp "$work/$1.log" "$work/err"
    [[ $(scontrol show job -o "$2") == *Restarts=1*JobState=COMPLETED* ||
        $(scontrol show job -o "$2") == *JobState=COMPLETED*Restarts=1* ]] &&
        says 'stopped by the signal; queued again' && says 'goes on from .*step_' && says 'step 200/200'
}
bits() { cat "$work/runs/$1"/step_200/params* | md5sum; }

submit by_srun
by_srun=$job
TTT_LAUNCH=mpirun submit by_mpirun
by_mpirun=$job
check 'train.sbatch starts two tasks by srun' under_way by_srun
scancel --signal=TERM "$by_srun" # to the ranks themselves
check 'and by mpirun' under_way by_mpirun
scancel --signal=TERM --batch "$by_mpirun" # to the script, which tells the ranks

# ---- data, beside it ---------------------------------------------------------------------------

for i in {1..90}; do printf '{"text": "In the beginning %d God created the heaven."}\n' "$i"; done >"$work/in.jsonl"
tokenize="$bin/ttt-tokenize -q --tokenizer tests/golden/tokenizer/small-1024.model"
$tokenize -o "$work/one.tok" "$work/in.jsonl" 2>"$work/err"
sbatch -Q --array=0-2 --output="$work/array-%a.log" --wrap \
    "$tokenize --shard=\$SLURM_ARRAY_TASK_ID/3 -o $work/many.tok $work/in.jsonl" 2>"$work/err"

check 'all jobs come to an end' through
"$bin/ttt-pack" -q -o "$work/packed_one" --tokenizer-name t "$work/one.tok" >/dev/null 2>"$work/err"
"$bin/ttt-pack" -q -o "$work/packed_many" --tokenizer-name t "$work"/many-*.tok >/dev/null 2>"$work/err"
check 'an array of three tasks makes the bytes of one program' \
    diff -r -x manifest.jsonl "$work/packed_one" "$work/packed_many"

check 'srun: queued again after scancel --signal=TERM, and gone on' went_on by_srun "$by_srun"
check 'mpirun: queued again after scancel --signal=TERM --batch, and gone on' went_on by_mpirun "$by_mpirun"
train 2 2,1,1 alone "${model[@]}" || bad 'two ranks without Slurm'
check 'to the bits of ranks that nothing stopped, by srun' test "$(bits by_srun)" = "$(bits alone)"
check 'and by mpirun' test "$(bits by_mpirun)" = "$(bits alone)"
finish
