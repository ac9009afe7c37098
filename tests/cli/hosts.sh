#!/bin/bash
# hosts.sh BIN -- two machines, as two network namespaces with a cable between them: they meet, train, and tell
# when the cable is cut. Ranks of the CUDA text, over the stand-in for NCCL.
# shellcheck source=tests/cli/mesh_parts.bash disable=SC2154
. "$(dirname "$0")/mesh_parts.bash" "$@"

near_host=ttt-near-$$ far_host=ttt-far-$$
leave() {
    ip netns del "$near_host" 2>/dev/null
    ip netns del "$far_host" 2>/dev/null
    remove_work
}
trap leave EXIT
lay_cable() {
    ip netns add "$near_host" && ip netns add "$far_host" &&
        ip link add cable netns "$near_host" type veth peer name cable netns "$far_host" &&
        ip -n "$near_host" addr add 10.77.0.1/24 dev cable && ip -n "$far_host" addr add 10.77.0.2/24 dev cable &&
        ip -n "$near_host" link set cable up && ip -n "$far_host" link set cable up &&
        ip -n "$near_host" link set lo up && ip -n "$far_host" link set lo up
}
lay_cable 2>"$work/err" || nothing "no network namespaces: $(head -n 1 "$work/err")"

run=("$bin/ttt-train" "${common[@]}" --global_batch_size=4 --eval_every=0 "--mesh_dim=1,2,1"
    --update_model_config="dict(${shape/layers=2/layers=3}, seq_modeling_block='self_attention')")
export TTT_RANKS=2 TTT_LOCAL_RANK=0 TTT_JOB_TOKEN=$$ TTT_MASTER_ADDR=10.77.0.1
# both FLAGS...: a rank on each, in the background; near and far are their processes.
both() {
    TTT_RANK=0 timeout 100 ip netns exec "$near_host" "${run[@]}" "$@" >/dev/null 2>"$work/near" &
    near=$!
    TTT_RANK=1 timeout 100 ip netns exec "$far_host" "${run[@]}" "$@" >/dev/null 2>"$work/far" &
    far=$!
}
says_on() { cp "$work/$1" "$work/err" && says "$2"; }

both --total_steps=3 --exp_name=met
wait $near
check 'two machines train a model' test $? -eq 0
wait $far
check 'to the end on both' test $? -eq 0
check 'which one of them tells' says_on near 'step 3/3'

both --total_steps=1000000 --exp_name=cut --comm_timeout=4 --save_checkpoint_freq=2
until [[ -e $work/runs/cut/latest ]] || ! kill -0 $near 2>/dev/null; do
    sleep 0.2
done
ip -n "$far_host" link set cable down
began=$SECONDS
wait $near
check 'the cable cut: the one ends' test $? -eq 1
wait $far
check 'and so does the other' test $? -eq 1
check 'within the time limit' test $((SECONDS - began)) -le 12
check 'each with one sentence that names the silent one' says_on near 'rank 1 (.*) has said nothing for'
check 'on both sides' says_on far 'rank 0 (10.77.0.1) has said nothing for'
ip -n "$far_host" link set cable up
both --total_steps="$(($(sed 's/step_//' "$work/runs/cut/latest") + 2))" --exp_name=cut --resume=auto
wait $near
check 'the cable mended: it goes on from the last checkpoint' test $? -eq 0
wait $far
finish
