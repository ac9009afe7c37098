#!/bin/bash
# gpu-check.sh -- prove the CUDA builds on a machine with a GPU, and measure them.
#
# Usage: scripts/gpu-check.sh [--quick] [--out FILE]      on the GPU machine
#        scripts/gpu-check.sh --pack FILE.tar.gz          on one with everything, for a bare one
#        scripts/gpu-check.sh --emulated [--quick]        this script itself, without a GPU
#
# Needs the CUDA toolkit (12.0 or later), a C compiler, make, and the headers and libraries of jansson,
# xxHash and zlib, which --pack carries along with the reference's outputs. No network. What is found
# goes to docs/gpu/RESULT-GPU-COMMIT.md line by line, so that a run cut short leaves what it had. Ends
# within ten minutes, --quick within three; what there is no time for is named as left out. The exit
# status is 0 when nothing failed.
#
# NVCC names the compiler, CUDA_VISIBLE_DEVICES the GPU. PEERS=DIR with REF=DIR times other programs in
# the same run: DIR/run_h200.sh is called with pt, jax and fla.
set -uo pipefail
export LC_ALL=C.UTF-8
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
cd "$root" || exit 1

quick='' emulated='' pack='' out=''
while [[ $# -gt 0 ]]; do
    case $1 in
    --quick) quick=yes ;;
    --emulated) emulated=yes ;;
    --pack) pack=${2:?--pack needs a file}; shift ;;
    --out) out=${2:?--out needs a file}; shift ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
    *) echo "gpu-check.sh: no flag $1; --help tells them" >&2; exit 2 ;;
    esac
    shift
done

stop()
{
    echo "gpu-check.sh: $*" >&2
    exit 1
}

carry=$root/build/gpu-carry
shared=${TTT_SHARED:-$root/../shared}
commit=$(git -C "$root" describe --always --dirty 2>/dev/null || cat "$carry/version" 2>/dev/null ||
    echo unknown)
cases=(linear mlp attention)

# ---- what a bare machine needs ------------------------------------------------------------------

# first PATH...: the first that exists.
first()
{
    local path
    for path in "$@"; do
        [[ -e $path ]] && echo "$path" && return
    done
    return 1
}

fill_carry()
{
    local name path case
    rm -rf "$carry"
    mkdir -p "$carry/include" "$carry/lib" "$carry/golden" "$carry/run"
    for name in jansson.h jansson_config.h xxhash.h zlib.h zconf.h; do
        path=$(first /usr/include/$name /usr/include/*/$name) || stop "no $name here to carry"
        cp "$path" "$carry/include/"
    done
    for name in libjansson.a libxxhash.a libz.a; do
        path=$(first /usr/lib/*/$name /usr/lib/$name /usr/lib64/$name) ||
            stop "no $name here to carry"
        cp "$path" "$carry/lib/"
    done
    echo "$commit" >"$carry/version"
    if [[ ! -d $shared/golden/model ]]; then
        echo 'carried without the full reference outputs: no ../shared/golden here'
        return
    fi
    cp -r "$shared/golden/ops" "$shared/golden/model" "$carry/golden/"
    mkdir -p "$carry/run/data"
    cp -r "$shared"/golden/run/data/*-small-* "$carry/run/data/"
    for case in "${cases[@]}"; do
        mkdir -p "$carry/run/$case"
        cp "$shared/golden/run/$case/run.jsonl" "$carry/run/$case/"
        build/cpu/bin/ttt-convert -q --from=reference \
            "$shared/golden/run/$case/init.streaming_train_state" --to=ttt "$carry/run/$case/init" \
            --update_model_config='dict(num_attention_heads=4)' || stop "$case: not converted"
    done
}

make_pack()
{
    local bytes limit=$((60 << 20)) stage
    make -s -j"$(nproc)" all || exit 1
    fill_carry
    stage=$(mktemp -d) || exit 1
    mkdir "$stage/ttt" && git archive HEAD | tar -x -C "$stage/ttt" || stop 'no git archive'
    mkdir -p "$stage/ttt/build" && cp -r "$carry" "$stage/ttt/build/"
    tar -C "$stage" -czf "$pack.part" ttt && mv "$pack.part" "$pack" || stop "$pack: not written"
    rm -rf "$stage"
    bytes=$(stat -c %s "$pack")
    echo "$pack: $((bytes >> 20)) MiB; unpack it on the GPU machine and run ttt/scripts/gpu-check.sh"
    [[ $bytes -le $limit ]] || stop "$pack is larger than 60 MiB"
}

if [[ -n $pack ]]; then
    make_pack
    exit
fi

# ---- the machine --------------------------------------------------------------------------------

cc=$(command -v gcc || command -v cc) || stop 'no C compiler here'
command -v make >/dev/null || stop 'no make here'
if [[ -d $carry/include ]]; then
    export CPATH=$carry/include${CPATH:+:$CPATH} LIBRARY_PATH=$carry/lib${LIBRARY_PATH:+:$LIBRARY_PATH}
fi
missing=()
for header in jansson.h xxhash.h zlib.h; do
    echo "#include <$header>" | "$cc" -E -x c - >/dev/null 2>&1 || missing+=("$header")
done
[[ ${#missing[@]} -eq 0 ]] || stop "no ${missing[*]} here (Debian: libjansson-dev libxxhash-dev" \
    'zlib1g-dev); without a network make a package where they are: scripts/gpu-check.sh --pack FILE'

limit=570 emulated_s=0
[[ -n $quick ]] && limit=170
golden=
[[ -d $shared/golden ]] && golden=$shared/golden
[[ -d $carry/golden/ops ]] && golden=$carry/golden
if [[ -n $emulated ]]; then
    builds=(emulated emulated-bf16)
    gpu=emulated
    : "${out:=$root/build/gpu-check/RESULT-emulated.md}"
    limit=2400 emulated_s=800
else
    builds=(cuda-fp32 cuda)
    command -v nvidia-smi >/dev/null || stop 'no nvidia-smi here: is there a GPU? --emulated tries' \
        'this script without one'
    gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1)
    [[ -n $gpu ]] || stop 'nvidia-smi names no GPU'
    NVCC=${NVCC:-$(command -v nvcc || first /usr/local/cuda/bin/nvcc /usr/local/cuda-*/bin/nvcc)} ||
        stop 'no nvcc here: the CUDA toolkit is needed; NVCC=/path/to/nvcc names it'
    export NVCC
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1)
    export NVARCH=sm_${capability//./}
    # A GPU that the compiler does not know yet runs the PTX for older ones.
    "$NVCC" --list-gpu-code 2>/dev/null | grep -qx "$NVARCH" || NVARCH='sm_80 sm_90'
    slug=$(tr ' /' '--' <<<"${gpu,,}")
    : "${out:=$root/docs/gpu/RESULT-$slug-$commit.md}"
fi
fp32=${builds[0]} bf16=${builds[1]}
work=$root/build/gpu-check
rm -rf "$work/run" "$work"/*.log
mkdir -p "$work/run" "$(dirname "$out")"

# ---- what is found ------------------------------------------------------------------------------

passed=0 failed=0 left=0

note()
{
    printf '%s\n' "$*" | tee -a "$out"
}

seconds_left()
{
    echo $((limit - SECONDS))
}

# check NAME SECONDS COMMAND...: one line; its output goes to a log, and its last line to the note.
check()
{
    local name=$1 most=$2 began=$SECONDS log last status
    log=$work/$(tr -c 'a-zA-Z0-9\n' '-' <<<"$1").log
    shift 2
    if [[ $(seconds_left) -lt 5 ]]; then
        left=$((left + 1))
        note "- left out: $name, for there is no time"
        return 1
    fi
    [[ $most -lt $(seconds_left) ]] || most=$(seconds_left)
    timeout -k 5 "$most" "$@" >"$log" 2>&1 </dev/null
    status=$?
    last=$(tail -n 1 "$log" | cut -c 1-160)
    if [[ $status -eq 0 ]]; then
        passed=$((passed + 1))
        note "- ok: $name ($((SECONDS - began)) s)${last:+: $last}"
    elif [[ $status -eq 124 || $status -eq 137 ]]; then
        left=$((left + 1))
        note "- left out: $name did not end within $most s"
    else
        failed=$((failed + 1))
        note "- FAILED: $name, status $status"
        grep -vE '^(ok  |skip) ' "$log" | tail -n 12 | sed 's/^/      /' | tee -a "$out"
    fi
    return $status
}

# part TITLE: a section of the result.
part()
{
    note ''
    note "## $1"
    note ''
}

: >"$out"
note "# $gpu, $commit"
note ''
note "$(date -u +'%F %H:%M') UTC, ${quick:+--quick, }$(nproc) processors"
if [[ -z $emulated ]]; then
    note ''
    note "$(nvidia-smi --query-gpu=name,memory.total,clocks.max.sm,power.limit,driver_version \
        --format=csv,noheader | head -n 1); $("$NVCC" --version | tail -n 1); $NVARCH"
else
    note 'The emulated device: this shows that the script works, and no speed.'
fi

part 'Correctness'
# Both at once: one file takes as long as all the others together.
check 'both builds' "$((emulated_s + 400))" make -s -j"$(nproc)" "${builds[@]}" || build_failed=yes
for build in "${builds[@]}"; do
    check "$build, what measures it" 200 make -s -j"$(nproc)" BUILD="$build" bench || build_failed=yes
done
if [[ -n ${build_failed-} ]]; then
    note 'Without both builds there is nothing to run.'
    exit 1
fi

# tests BUILD: what needs the device, on the small outputs and on the full ones where they are.
tests()
{
    local test dir=build/$1/tests
    for test in golden_ops golden_model; do
        [[ -z $emulated || -z $quick || $test == golden_ops ]] || continue
        check "$1 $test" 120 "$dir/$test" "tests/golden/${test#golden_}"
        [[ -z $golden || -n $emulated ]] ||
            check "$1 $test, all outputs" 200 "$dir/$test" "$golden/${test#golden_}"
    done
    for test in "$dir"/device_*; do
        # Written for processors, whose numbers of threads it changes.
        [[ $test != */device_threads ]] || continue
        [[ -x $test && -e tests/${test##*/}.c ]] || continue
        [[ -z $emulated || (-z $quick && ($test == */device_queue || $test == */device_ops)) ]] || continue
        check "$1 ${test##*/}" 120 "$test"
    done
}
for build in "${builds[@]}"; do
    tests "$build"
done

# side_by_side COUNT PROGRAM MESH: so many ranks on this machine; all of them have to do well.
side_by_side()
{
    local r status=0 pids=()
    for ((r = 0; r < $1; r++)); do
        TTT_RANK=$r TTT_RANKS=$1 TTT_LOCAL_RANK=$r TTT_MASTER_ADDR=127.0.0.1 TTT_JOB_TOKEN=$$ "$2" "$3" &
        pids+=($!)
    done
    for r in "${pids[@]}"; do
        wait "$r" || status=1
    done
    return $status
}
export -f side_by_side

# NCCL with one rank, and with two where there are two GPUs.
gpus=2
[[ -n $emulated ]] || gpus=$(nvidia-smi -L 2>/dev/null | wc -l)
for build in "${builds[@]}"; do
    ranks=build/$build/tests/ranks_comm
    if [[ ! -x $ranks ]]; then
        note "- left out: $build collectives, for there was no nccl.h when it was built"
        continue
    fi
    check "$build collectives of one rank" 60 bash -c "side_by_side 1 $ranks 1,1,1"
    [[ $gpus -lt 2 ]] || check "$build collectives of two ranks" 60 bash -c "side_by_side 2 $ranks 2,1,1"
done

# ---- runs ---------------------------------------------------------------------------------------

# The bytes of our own sources are ids enough: .npy of 16-bit numbers.
make_data()
{
    local header bytes
    mkdir -p "$work/run/data"
    cat docs/*.md trainer/*/*.c kernels/*.h >"$work/run/text"
    bytes=$(($(stat -c %s "$work/run/text") / 2 * 2))
    for name in train validation; do
        header="{'descr': '<u2', 'fortran_order': False, 'shape': ($bytes,), }"
        {
            printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "$header"
            head -c "$bytes" "$work/run/text" | iconv -f ISO-8859-1 -t UTF-16LE
        } >"$work/run/data/$name.npy"
    done
}

steps=200 rows=8 length=512
sizes='num_hidden_layers=4,hidden_size=256,num_attention_heads=4,intermediate_size=704'
if [[ -n $emulated ]]; then
    steps=3 rows=2 length=32
    sizes='num_hidden_layers=1,hidden_size=32,num_attention_heads=2,intermediate_size=48'
fi

# train BUILD BLOCK STEPS NAME: a run on our own data.
train()
{
    "build/$1/bin/ttt-train" --dataset_path="$work/run/data" --vocab_size=256 \
        --load_model_config=125m-TTT --update_model_config="dict($sizes,seq_modeling_block='$2')" \
        --seq_length=$length --global_batch_size=$rows --total_steps="$3" --device=cuda \
        --dtype="$([[ $1 == "$bf16" ]] && echo bf16 || echo fp32)" \
        --optimizer.adamw_optimizer.lr=1e-3 --optimizer.adamw_optimizer.lr_warmup_steps=10 \
        --optimizer.adamw_optimizer.lr_decay_steps=$((steps + 11)) --save_checkpoint_freq=0 \
        --exp_dir="$work/run" --exp_name="$4"
}

twice()
{
    local n=$((steps < 20 ? steps : 20)) run
    rm -rf "$work/run/one" "$work/run/two"
    train "$1" "$2" $n one && train "$1" "$2" $n two || return 1
    for run in one two; do
        grep -o '"step".*"grad_norm": [^,]*' "$work/run/$run/metrics.jsonl" >"$work/run/$run.steps"
    done
    [[ -s $work/run/one.steps ]] && cmp "$work/run/one.steps" "$work/run/two.steps" &&
        cmp "$work/run/one/step_$n/params.safetensors" "$work/run/two/step_$n/params.safetensors" &&
        cmp "$work/run/one/step_$n/moments.safetensors" "$work/run/two/step_$n/moments.safetensors" &&
        echo "$n steps, parameters and moments: the same bits"
}

# losses NAME: step and loss of a run.
losses()
{
    sed -n 's/.*"step": \([0-9]*\).*"loss": \([^,]*\),.*/\1 \2/p' "$work/run/$1/metrics.jsonl"
}

# How far bf16 is from fp32: the mean of the last tenth of the losses, and the largest difference.
narrow_and_wide()
{
    rm -rf "$work/run/narrow" "$work/run/wide"
    train "$fp32" "$1" $steps wide && train "$bf16" "$1" $steps narrow || return 1
    join <(losses wide | sort) <(losses narrow | sort) | sort -n | awk -v steps=$steps '
        { d = $2 < $3 ? $3 - $2 : $2 - $3; if (d > worst) worst = d; n++
          if ($1 > steps * 0.9) { wide += $2; narrow += $3; late++ } }
        END { if (n != steps || !late) { print n + 0 " steps of " steps; exit 1 }
              wide /= late; narrow /= late; apart = (narrow - wide) / wide
              printf "%d steps: fp32 ends at %.4f, bf16 at %.4f, largest difference %.4f\n", n, wide,
                     narrow, worst
              exit !(apart <= 0.02 && apart >= -0.02) }'
}

# reference CASE: the recorded run of the reference, from its start values.
reference()
{
    local data=$carry/run/data config block
    config=num_hidden_layers=2,hidden_size=64,num_attention_heads=4,intermediate_size=176
    case $1 in
    linear) block="seq_modeling_block='ttt_linear',ttt_base_lr=1.0" ;;
    mlp) block="seq_modeling_block='ttt_mlp',ttt_base_lr=0.1,ttt_base_lr_init=0.01,ttt_base_lr_warmup=10" ;;
    attention) block="seq_modeling_block='self_attention'" ;;
    esac
    rm -rf "$work/run/$1" && mkdir -p "$work/run/$1" && cp -r "$carry/run/$1/init" "$work/run/$1/" &&
        "build/$fp32/bin/ttt-train" --dtype=fp32 --device=cuda --dataset_path="$data" \
            --tokenizer_name=small --seq_length=64 --global_batch_size=4 --optimizer.type=adamw \
            --optimizer.adamw_optimizer.weight_decay=0.1 --optimizer.adamw_optimizer.lr=3e-3 \
            --optimizer.adamw_optimizer.end_lr=1e-5 --optimizer.adamw_optimizer.lr_warmup_steps=10 \
            --optimizer.adamw_optimizer.lr_decay_steps=60 --total_steps=60 --save_milestone_freq=30 \
            --load_model_config=125m-TTT --update_model_config="dict($config,$block)" \
            --exp_dir="$work/run/$1" --resume_exp_name=init --load_part=trainstate_params \
            --exp_name=run &&
        awk -f tests/steps_agree.awk "$work/run/$1/run/metrics.jsonl" "$carry/run/$1/run.jsonl"
}

# check runs commands in a process of their own; functions travel by export.
export -f train twice losses narrow_and_wide reference
export work fp32 bf16 steps rows length sizes carry
make_data
shell()
{
    local name=$1 most=$2
    shift 2
    check "$name" "$most" bash -c '"$@"' bash "$@"
}

part 'Runs'
for block in ttt_linear ttt_mlp self_attention; do
    for build in "${builds[@]}"; do
        [[ -n $emulated && ($block != ttt_linear || $build == "$bf16") ]] ||
            shell "two runs of $block are one, $build" 60 twice "$build" $block
    done
done
for case in "${cases[@]}"; do
    if [[ -n $emulated ]]; then
        note "- left out: the reference's run, $case: the emulation would take minutes"
    elif [[ -d $carry/run/$case ]]; then
        shell "the reference's run, $case" 60 reference "$case"
    else
        note "- left out: the reference's run, $case: nothing is carried (--pack)"
    fi
done
for block in ttt_linear ttt_mlp self_attention; do
    [[ -n $emulated && ($block != ttt_linear || -n $quick) ]] ||
        [[ -n $quick && $block == self_attention ]] ||
        shell "bf16 beside fp32, $block" 100 narrow_and_wide $block
done

# ---- speed --------------------------------------------------------------------------------------

# bench SECONDS PART...: its Markdown goes into the result as it comes.
bench()
{
    local most=$1
    shift
    if [[ $(seconds_left) -lt 5 ]]; then
        left=$((left + 1))
        note "left out: $*, for there is no time"
        return
    fi
    [[ $most -lt $(seconds_left) ]] || most=$(seconds_left)
    timeout -k 5 "$most" "build/$bf16/bench/bench_device" ${emulated:+--tiny} "$@" 2>&1 |
        tee -a "$out"
    case ${PIPESTATUS[0]} in
    0) passed=$((passed + 1)) ;;
    124 | 137) left=$((left + 1)) && note "left out: $* did not end within $most s" ;;
    *) failed=$((failed + 1)) && note "FAILED: $*" ;;
    esac
}

part 'Speed'
bench 60 ops
[[ -n $quick ]] || bench 150 train
[[ -n $quick ]] || bench 60 decode

# ---- the sanitizer, last, for it takes all the time there is -------------------------------------

part 'compute-sanitizer'
sanitizer=$(command -v compute-sanitizer || first /usr/local/cuda*/bin/compute-sanitizer)
if [[ -n $emulated ]]; then
    note '- left out: the emulation looks for the same'
elif [[ -z $sanitizer ]]; then
    note '- left out: no compute-sanitizer here'
else
    tools=(memcheck racecheck synccheck initcheck)
    [[ -n $quick ]] && tools=(memcheck)
    for tool in "${tools[@]}"; do
        for build in "$bf16" "$fp32"; do
            check "$tool, $build, golden_ops" 60 "$sanitizer" --tool "$tool" --error-exitcode 9 \
                "build/$build/tests/golden_ops" tests/golden/ops
        done
        check "$tool, $bf16, device_queue" 30 "$sanitizer" --tool "$tool" --error-exitcode 9 \
            "build/$bf16/tests/device_queue"
    done
fi

if [[ -n ${PEERS-} ]]; then
    part 'Others'
    for peer in fla pt jax; do
        OUT=$work check "others: $peer" 200 bash "$PEERS/run_h200.sh" $peer
        [[ ! -s $work/$peer.jsonl ]] || sed 's/^/    /' "$work/$peer.jsonl" | tee -a "$out"
    done
fi

note ''
note "$passed passed, $failed failed, $left left out, in $SECONDS s"
echo "written to $out"
[[ $failed -eq 0 ]]
