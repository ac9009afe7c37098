#!/bin/bash
# convert_transformers.sh BIN -- what ttt-convert writes for Hugging Face, read by transformers.
#
# Debian's python3-torch and PyPI's transformers together are some 700 MB, so this test fetches
# neither: it runs where build/venv-transformers is, which `tests/cli/convert_transformers.sh BIN
# --install` makes, and is skipped elsewhere.
set -uo pipefail
bin=$(cd "${1:?usage: convert_transformers.sh BIN [--install]}" && pwd) || exit 1
cd "$(dirname "$0")/../.." || exit 1
skip_all() { echo "skip convert_transformers  $1"; echo '0 passed, 0 failed, 1 skipped'; exit 0; }

[[ -x $bin/ttt-convert ]] || skip_all 'ttt-convert was left out of this build'
venv=build/venv-transformers
if [[ ${2-} == --install && ! -e $venv/good ]]; then
    /usr/bin/python3 -c 'import torch' 2>/dev/null ||
        { echo 'first: apt-get install --no-install-recommends python3-torch python3-venv' >&2; exit 1; }
    rm -rf "$venv"
    /usr/bin/python3 -m venv --system-site-packages "$venv" &&
        "$venv/bin/pip" install -q transformers==4.41.0 safetensors 'numpy<2' && touch "$venv/good"
fi
[[ -e $venv/good ]] ||
    skip_all "transformers and torch are not installed here: ${0#"$PWD/"} BIN --install (700 MB)"

work=$(mktemp -d --tmpdir ttt-transformers-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
# There and back through our own form, so that every byte is one that we wrote.
for dtype in fp32 bf16; do
    "$bin/ttt-convert" -q --from=hf --to=ttt tests/golden/hf/llama_untied_hd64 "$work/run-$dtype" &&
        "$bin/ttt-convert" -q --from=ttt --to=hf --dtype=$dtype "$work/run-$dtype" "$work/$dtype" || exit 1
done
"$bin/ttt-convert" -q --from=ttt --to=hf --max_shard_bytes=100K "$work/run-fp32" "$work/cut" || exit 1

HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 "$venv/bin/python" - "$work" <<'PY'
import sys
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, LlamaForCausalLM

work = sys.argv[1]
golden = load_file("tests/golden/hf/llama_untied_hd64/golden.safetensors")
passed = failed = 0


def check(name, good, note=""):
    global passed, failed
    passed, failed = (passed + 1, failed) if good else (passed, failed + 1)
    print("ok  " if good else "FAIL", name, note)


def model(name):
    loaded, info = LlamaForCausalLM.from_pretrained(f"{work}/{name}", output_loading_info=True)
    check(f"{name}: every tensor is taken", not any(info.values()), {k: v for k, v in info.items() if v})
    return loaded.float().eval()


with torch.no_grad():
    for name, near in ("fp32", 4e-5), ("cut", 4e-5):
        apart = (model(name)(golden["ids"].long()).logits - golden["logits"]).abs().max().item()
        check(f"{name}: the golden's logits", apart <= near, f"largest difference {apart:.1e}")
    whole = model("fp32")
    rounded = model("bf16")
    check("bf16: torch's own rounding", all(
        torch.equal(a.bfloat16().float(), b) for a, b in zip(whole.parameters(), rounded.parameters())))
    ids = whole.generate(golden["gen_ids"].long()[:, :10], max_new_tokens=40, do_sample=False,
                         eos_token_id=None, pad_token_id=0)
    check("fp32: greedy text", torch.equal(ids, golden["gen_ids"].long()))
check("config", AutoConfig.from_pretrained(f"{work}/bf16").torch_dtype == torch.bfloat16)
print(f"{passed} passed, {failed} failed")
sys.exit(failed != 0)
PY
