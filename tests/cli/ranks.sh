#!/bin/bash
# ranks.sh BIN -- many ranks: what happens when they differ, die or stop. Real mpirun.
# shellcheck source=tests/cli/mesh_parts.bash disable=SC2154
. "$(dirname "$0")/mesh_parts.bash" "$@"
need_mpi
model=(--total_steps=20 --update_model_config="dict($shape)")

# ---- ranks that differ --------------------------------------------------------------------------

mpirun -n 1 --oversubscribe "$bin/ttt-train" "${common[@]}" "${model[@]}" --mesh_dim=2,1,1 \
    --exp_name=differ : -n 1 "$bin/ttt-train" "${common[@]}" "${model[@]}" --mesh_dim=2,1,1 \
    --exp_name=differ --seed=5 >"$work/out" 2>"$work/err"
check 'another flag is named' says 'seed is 5, but 0 on rank 0'
cp -r "$work/data" "$work/data2"
array "$data/../../data2/${data##*/}/train.npy" 2900
mpirun -n 1 --oversubscribe env TTT=1 "$bin/ttt-train" "${common[@]}" "${model[@]}" --mesh_dim=2,1,1 \
    --exp_name=differ : -n 1 "$bin/ttt-train" "${common[@]}" "${model[@]}" --mesh_dim=2,1,1 \
    --exp_name=differ --dataset_path="$work/data2" >"$work/out" 2>"$work/err"
check 'other data are named' says 'dataset_path is .*data2'
train 2 3,1,1 differ "${model[@]}"
check 'a mesh of other ranks is refused' says '3 ranks along the axes it tells, but 2 were started'
train 3 1,1,3 differ "${model[@]}"
check 'heads that mp does not divide' says '3 ranks along mp do not divide'

# ---- ranks that die or stop ----------------------------------------------------------------------

# begin NAME FLAGS...: a long run on four ranks in the background, under way when this returns.
begin() {
    local name=$1 i
    shift
    mpirun -n 4 --oversubscribe "$bin/ttt-train" "${common[@]}" --update_model_config="dict($shape)" \
        --total_steps=100000 --mesh_dim=2,2,1 --save_checkpoint_freq=5 --eval_every=0 \
        --exp_name="$name" "$@" >"$work/out" 2>"$work/err" &
    launcher=$!
    for ((i = 0; i < 300; i++)); do
        [[ -e $work/runs/$name/latest ]] && return
        sleep 0.1
    done
}
# rank_of NAME RANK: its process.
rank_of() {
    local pid
    for pid in $(pgrep -f -- "--exp_name=$1( |\$)"); do
        tr '\0' '\n' 2>/dev/null <"/proc/$pid/environ" | grep -qx "OMPI_COMM_WORLD_RANK=$2" && echo "$pid"
    done | head -n 1
}
goes_on() { # goes_on NAME: its checkpoint is whole
    train 4 2,2,1 "$1" --update_model_config="dict($shape)" --resume=auto \
        --total_steps=$(($(sed 's/step_//' "$work/runs/$1/latest") + 2))
}

begin killed
kill -KILL "$(rank_of killed 2)"
wait "$launcher" 2>/dev/null
check 'a rank killed ends the run with its name' says 'rank 2 .* is gone'
check 'and the last checkpoint is whole' goes_on killed

begin stopped --comm_timeout=2
victim=$(rank_of stopped 3)
kill -STOP "$victim"
began=$SECONDS
for ((i = 0; i < 200; i++)); do
    says 'rank 3 .* has said nothing' && break
    sleep 0.1
done
check 'a rank stopped ends the run with its name' says 'rank 3 .* has said nothing for'
check 'within the time limit' test $((SECONDS - began)) -le 10
kill -KILL "$victim" 2>/dev/null
wait "$launcher" 2>/dev/null
check 'and the last checkpoint is whole as well' goes_on stopped

begin asked
kill -TERM "$launcher"
wait "$launcher" 2>/dev/null
check 'a signal to mpirun writes a checkpoint first' says 'stopped by a signal at step'
finish
