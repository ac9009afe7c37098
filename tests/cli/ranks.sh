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
mkdir "$work/there"
cp -r "$work/data" "$work/there"
for array in train validation; do
    printf '\x07' | dd of="$work/there/data/${data##*/}/$array.npy" bs=1 seek=600 conv=notrunc status=none
done
# apart PROGRAM FLAGS...: two ranks, the second with another folder's files under the same names.
apart() {
    local name=$1
    shift
    timeout -k 5 60 mpirun -n 1 --oversubscribe -wdir "$work" "$bin/$name" "$@" : -n 1 -wdir "$work/there" \
        "$bin/$name" "$@" >"$work/out" 2>"$work/err"
}
apart ttt-train "${common[@]}" "${model[@]}" --mesh_dim=2,1,1 --exp_name=differ --dataset_path=data
check 'other data under the same path are named' says 'rank 1 .*: the XXH3-128 of samples of train.npy is'
mkdir "$work/other"
cp "$bin"/ttt-train{,-mpi} "$work/other"
printf '\0' >>"$work/other/ttt-train-mpi"
mpirun -n 1 --oversubscribe "$bin/ttt-train" "${common[@]}" "${model[@]}" --mesh_dim=2,1,1 \
    --exp_name=differ : -n 1 "$work/other/ttt-train" "${common[@]}" "${model[@]}" --mesh_dim=2,1,1 \
    --exp_name=differ >"$work/out" 2>"$work/err"
check 'another program is named by its bytes' says "rank 1 .*: the program's XXH3-128 is"
check 'and no step was made by any of these' test ! -e "$work/runs/differ/metrics.jsonl"

speaks=("${model[@]}" --vocab_size=1024 --total_steps=1)
train 1 1,1,1 speaks "${speaks[@]}" || bad 'a model that speaks'
train 1 1,1,1 speaks "${speaks[@]}" --exp_dir="$work/there/runs" --seed=1 || bad 'another'
machine=(--device=cpu --threads=1 "--mesh_dim=2,1,1")
apart ttt-eval "$work/runs/speaks" --dataset_path=data "${machine[@]}"
check 'ttt-eval: other data under the same path are named' \
    says 'rank 1 .*: the XXH3-128 of samples of validation.npy is'
check 'and nothing was evaluated' test "$(grep -c speaks "$work/out")" -eq 0
state=(ttt-eval "$work/runs/speaks" --dataset_path="$work/data" --tokens=64 --state=state "${machine[@]}")
apart "${state[@]}" && apart "${state[@]}"
check 'a state that only rank 0 sees is gone on from' test $? -eq 0 -a "$(grep -c 'goes on at window 2' "$work/err")" -eq 1
cp tests/golden/tokenizer/small-1024.model "$work/a.model"
echo 'In the beginning' >"$work/prompts"
cp "$work"/{a.model,prompts} "$work/there"
echo more >>"$work/there/prompts"
texts=(--checkpoint="$work/runs/speaks" --tokenizer=a.model --prompts=prompts --tokens=1 --batch=2)
apart ttt-generate "${texts[@]}" "${machine[@]}"
check 'ttt-generate: other prompts under the same path are named' says 'rank 1: the XXH3-128 of --prompts is'
check 'and nothing was written' test ! -s "$work/out"
apart ttt-generate "${texts[@]}" --checkpoint=runs/speaks "${machine[@]}"
check 'another checkpoint under the same path is named' says "rank 1: the checkpoint's XXH3-128 is"
train 2 3,1,1 differ "${model[@]}"
check 'a mesh of other ranks is refused' says '3 ranks along the axes it tells, but 2 were started'
train 3 1,1,3 differ "${model[@]}"
check 'heads that mp does not divide' says '3 ranks along mp do not divide'
for r in 0 1; do
    TTT_RANK=$r TTT_RANKS=2 TTT_LOCAL_RANK=$r TTT_MASTER_ADDR=127.0.0.1 TTT_JOB_TOKEN=$$ timeout 60 "$bin/ttt-train" \
        "${common[@]}" "${model[@]}" --exp_name=alone >"$work/out" 2>"$work/alone.$r" &
done
wait
cat "$work"/alone.? >"$work/err"
check 'ranks that no mpirun has started: each says so, once' \
    test "$(grep -c 'MPI says rank 0 of 1' "$work/alone.0") $(grep -c 'MPI says rank 0 of 1' "$work/alone.1")" = '1 1'

# ---- ranks that die or stop ----------------------------------------------------------------------

# as_rank FILE COMMAND...: one of the ranks. FILE.RANK.pid, .err and .status tell of it, written in a session
# of their own: mpirun, which ends all when one is gone, does not keep the others from telling.
cat >"$work/as_rank" <<'SH'
#!/bin/bash
export file=$1.$OMPI_COMM_WORLD_RANK
setsid bash -c '"$@" 2>"$file.err" & echo $! >"$file.pid"; wait $!; echo $? >"$file.status"' - "${@:2}" &
trap 'kill -TERM "$(cat "$file.pid")"; wait' TERM
wait
SH
chmod +x "$work/as_rank"
# begin NAME FLAGS...: a long run on four ranks in the background, under way when this returns.
begin() {
    local name=$1 i
    shift
    mpirun -n 4 --oversubscribe "$work/as_rank" "$work/$name" "$bin/ttt-train" "${common[@]}" --update_model_config="dict($shape)" \
        --total_steps=100000 --mesh_dim=2,2,1 --save_checkpoint_freq=5 --eval_every=0 \
        --exp_name="$name" "$@" >"$work/out" 2>"$work/err" &
    launcher=$!
    for ((i = 0; i < 300; i++)); do
        [[ -e $work/runs/$name/latest ]] && return
        sleep 0.1
    done
}
goes_on() { # goes_on NAME: its checkpoint is whole
    train 4 2,2,1 "$1" --update_model_config="dict($shape)" --resume=auto \
        --total_steps=$(($(sed 's/step_//' "$work/runs/$1/latest") + 2))
}

begin killed
kill -KILL "$(cat "$work/killed.2.pid")"
wait "$launcher" 2>/dev/null
check 'a rank killed: each other rank ends with one sentence that names it' all_say killed 2 ' is gone'
check 'and the last checkpoint is whole' goes_on killed

begin stopped --comm_timeout=5
victim=$(cat "$work/stopped.3.pid")
kill -STOP "$victim"
began=$SECONDS
for ((i = 0; i < 200; i++)); do
    [[ -s $work/stopped.0.status && -s $work/stopped.1.status && -s $work/stopped.2.status ]] && break
    sleep 0.1
done
check 'within the time limit' test $((SECONDS - began)) -le 10
kill -KILL "$victim" 2>/dev/null
wait "$launcher" 2>/dev/null
check 'a rank stopped: each other rank ends with one sentence that names it' \
    all_say stopped 3 ' has said nothing for'
check 'and the last checkpoint is whole as well' goes_on stopped

begin asked
kill -TERM "$launcher"
wait "$launcher" 2>/dev/null
cp "$work/asked.0.err" "$work/err"
check 'a signal to mpirun writes a checkpoint first' says 'stopped by a signal at step'
finish
