#!/bin/bash
# profile.sh BIN -- ttt-train --profile: the table and the timeline, read by a JSON parser.
# shellcheck source=tests/cli/parts.bash disable=SC2154
. "$(dirname "$0")/parts.bash" "$@"

dataset data 20000 400
train() { # NAME FLAGS...
    local name=$1
    shift
    "$bin/ttt-train" --device=cpu --threads=1 --dataset_path=data --vocab_size=64 --seq_length=32 \
        --global_batch_size=4 --accum_steps=2 --no-tensorboard --exp_dir=runs --exp_name="$name" \
        --update_model_config="dict(num_hidden_layers=3, hidden_size=64, num_attention_heads=2,
            intermediate_size=96, seq_modeling_block='${block-ttt_linear}')" "$@" 2>err
}

# ---- every operation -----------------------------------------------------------------------------

# What takes or chooses one token is for decoding, which ttt-train does not.
operations() { grep -oE '^void [a-z0-9_]+\(' "$here/kernels/kernels.h" | tr -d '(' | cut -d ' ' -f 2 | grep -vE '^(conv|rope)_step$|_decode|^pick$' | sort; }
timed() { sed -nE 's/^OP\(([a-z0-9_]+),.*/\1/p' "$here/trainer/report/profile_ops.c" | grep -vE '^(device|comm)_' | sort; }
check 'every operation of training can be timed' test "$(operations)" = "$(timed)"

# ---- the timeline --------------------------------------------------------------------------------

check 'a run' train run --total_steps=6 --save_milestone_freq=3 --profile
cat >judge.jq <<'JQ'
# A tolerance for times that were rounded to a thousandth of a microsecond.
def in(outer): .ts >= outer.ts - 0.01 and .ts + .dur <= outer.ts + outer.dur + 0.01;
# What these spans take of each step. Where other work takes the processor in one, it leaves others alone.
def shares($steps): . as $all | $steps | map(. as $s | ([$all[] | select(in($s)).dur] | add) / $s.dur);
.traceEvents as $all |
[$all[] | select(.cat == "step")] as $steps | [$all[] | select(.cat == "stage")] as $stages |
[$all[] | select(.cat == "operation")] as $ops |
{
    complete: ($all | all(.ph == "X" and .dur >= 0 and (.ts | isnormal or . == 0))),
    steps: [$steps[].name],
    stages: [$stages[] | select(in($steps[0])).name] | unique,
    "stages lie in steps": ($stages | all(. as $s | $steps | any(. as $o | $s | in($o)))),
    "operations lie in steps": ($ops | all(. as $s | $steps | any(. as $o | $s | in($o)))),
    "no operation begins before the last has ended":
        ($ops | [range(1; length) as $i | .[$i].ts >= .[$i - 1].ts + .[$i - 1].dur - 0.01] | all),
    "stages fill steps": ($stages | shares($steps) | max > 0.7 and max < 1.001),
    "operations fill steps": ($ops | shares($steps) | max > 0.5 and max < 1.001),
    names: [$ops[].name] | unique,
    "products a step": ([$ops[] | select(.name | startswith("matmul"))] | length / ($steps | length))
}
JQ
memory='MiB of the host$'
[[ $bin == *emulated* ]] && memory='MiB of the host, [1-9][0-9]* MiB of the device$'
check 'the summary names the product of its MFU' grep -q 'that one large fp32 product reached here' err
check 'and the memory it took' grep -qE "peak memory +[1-9][0-9]* $memory" err
check 'the run says where' grep -q 'profile: runs/run/profile.txt, and trace.json' err
jq -f judge.jq runs/run/trace.json >judged 2>err
check 'is JSON' test -s judged
is() { check "$1" test "$(jq -c --arg name "$1" '.[$name]' judged)" = "$2"; }
is complete true
is steps '["step 2","step 3","step 4"]'
is stages '["backward 0","backward 1","backward 2","forward 0","forward 1","forward 2","head","update"]'
is 'stages lie in steps' true
is 'operations lie in steps' true
is 'no operation begins before the last has ended' true
is 'stages fill steps' true
is 'operations fill steps' true
# Of a layer q, v, k and the gate's, wo, w1, w2, w3, and the head's, three times each, in two parts.
is 'products a step' "$(jq -n '(3 * 7 + 1) * 3 * 2')"
check 'by the names of kernels.h' test -z "$(comm -23 <(jq -r '.names[]' judged | sort) <({ operations; printf '%s\n' comm_all_gather comm_all_reduce comm_reduce_scatter comm_wait device_copy device_zero; } | sort))"
check 'those of TTT among them' test "$(jq -c '[.names[] | select(startswith("ttt_"))]' judged)" = '["ttt_gate_bwd","ttt_gate_fwd","ttt_linear_bwd","ttt_linear_fwd","ttt_linear_stats","ttt_target_variance"]'
# The same steps by another clock, which starts after and stops before: a tenth longer at most, or what
# a busy machine takes in between.
took=$(jq -sc '[.[] | select(.tokens_per_s and .step > 1 and .step < 5) | 128 / .tokens_per_s]' runs/run/metrics.jsonl)
agree() { jq -e --argjson took "$took" '[.traceEvents[] | select(.cat == "step").dur / 1e6] |
    [., $took] | transpose | length == 3 and all(.[0] > 0.99 * .[1]) and any(.[0] < 1.1 * .[1] + 0.05)' runs/run/trace.json >err; }
check 'steps take what metrics.jsonl says' agree

# ---- the table -----------------------------------------------------------------------------------

table=runs/run/profile.txt
sum_of() { awk -v part="$1" '$1 == part { on = 1; next } /^$/ { on = 0 } on { for (i = 1; i < NF; i++) if ($(i + 1) == "%") sum += $i } END { printf "%.0f\n", sum }' $table; }
check 'shares of operations make a whole' test "$(sum_of operation)" = 100
check 'shares of stages too' test "$(sum_of stage)" = 100
check 'rates of products' grep -qE '^matmul +[0-9.]+ +[0-9.]+ +[0-9.]+ % +[0-9.]+ +[0-9.]+$' $table
check 'and of stages' grep -qE '^backward +6 +[0-9.]+ +[0-9.]+ % +[0-9.]+ +[0-9.]+$' $table
check 'where they are known' grep -qE '^spoil_unless_finite .* - +[0-9.]+$' $table

# ---- other runs ----------------------------------------------------------------------------------

check 'a run without' train bare --total_steps=6 --save_milestone_freq=3
check 'has neither' test ! -e runs/bare/profile.txt -a ! -e runs/bare/trace.json
check 'and the same numbers' cmp <(jq -c 'del(.tokens_per_s, .elapsed_s)' runs/run/metrics.jsonl) <(jq -c 'del(.tokens_per_s, .elapsed_s)' runs/bare/metrics.jsonl)
check 'one step alone' train one --total_steps=1 --profile
check 'is timed' test "$(jq -r '[.traceEvents[] | select(.cat == "step").name] | join(",")' runs/one/trace.json)" = 'step 1'
block=self_attention check 'a Transformer' train attention --total_steps=2 --profile
check 'has its own operations' grep -qE '^attention_bwd +6 ' runs/attention/profile.txt
mkdir -p runs/full/profile.txt
check 'a table that cannot be written ends with status 1' test "$(train full --total_steps=2 --profile >/dev/null; echo $?)" = 1
check 'and a sentence' grep -q 'runs/full/profile.txt: ' err
check 'but the run is whole' test -e runs/full/step_2

finish
