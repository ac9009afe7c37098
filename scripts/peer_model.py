#!/usr/bin/env python3
"""peer_model.py -- the same measurements as tests/bench_model.c, of the authors' own programs.

usage: peer_model.py jax|torch CHECKOUT BLOCK train|forward|decode [ROUNDS [LAYERS]]

CHECKOUT is one of ttt-lm-jax or ttt-lm-pytorch; the Transformer of torch is transformers' Llama, since
ttt-lm-pytorch has none. 125m, fp32, rows of 512, one a step, one thread. Prints lines of a name and a
number: tokens_per_core_s, tokens_per_s, peak_mib. scripts/bench-peers calls it.
"""
import importlib.util
import os
import resource
import sys
import time
import types

SEQ, DECODED, VOCAB = 512, 32, 32000
SIZES = dict(vocab_size=VOCAB, hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12)
KINDS = {"self_attention": None, "ttt_linear": "linear", "ttt_mlp": "mlp"}


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def torch_rounds(checkout, block, mode):
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if block == "self_attention":
        from transformers import LlamaConfig, LlamaForCausalLM

        net = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True, max_position_embeddings=SEQ))
        memory = "past_key_values"
    else:
        ttt = load("ttt_torch", os.path.join(checkout, "ttt.py"))
        net = ttt.TTTForCausalLM(
            ttt.TTTConfig(**SIZES, ttt_layer_type=KINDS[block], use_gate=True, share_qk=True, pre_conv=True,
                          mini_batch_size=16, ttt_base_lr=1.0 if block == "ttt_linear" else 0.1))
        net.lm_head.weight = net.model.embed_tokens.weight
        memory = "cache_params"
    ids = torch.randint(0, VOCAB, (1, SEQ))
    if mode == "train":
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)

        def once():
            optimizer.zero_grad(set_to_none=True)
            net(input_ids=ids, labels=ids, use_cache=False).loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            return SEQ
    elif mode == "forward":
        net.eval()

        @torch.no_grad()
        def once():
            net(input_ids=ids, labels=ids, use_cache=False).loss.item()
            return SEQ
    else:
        net.eval()

        @torch.no_grad()
        def once():
            kept = {}
            for i in range(DECODED):
                out = net(input_ids=ids[:, i:i + 1], use_cache=True, **kept)
                kept = {memory: out[memory]}
            return DECODED
    return once


def jax_rounds(checkout, block, mode):
    if mode == "decode":
        raise SystemExit("peer_model: ttt-lm-jax does not decode")
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    # Of the package's helpers the model needs three; their module wants torch, wandb and older names of JAX.
    def policy(name):
        return getattr(jax.checkpoint_policies, name)

    for name in ("ttt", "ttt.infra", "ttt.models"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [os.path.join(checkout, *name.split("."))]
    helpers = types.ModuleType("ttt.infra.jax_utils")
    helpers.with_sharding_constraint = lambda x, spec: x
    helpers.get_jax_mesh = None
    helpers.get_gradient_checkpoint_policy = policy
    sys.modules["ttt.infra.jax_utils"] = helpers
    from ttt.models.model import CausalLM, ModelConfig

    config = ModelConfig.load_config("125m" if block == "self_attention" else "125m-TTT")
    config.update(dict(seq_modeling_block=block, max_sequence_length=SEQ,
                       num_hidden_layers=SIZES["num_hidden_layers"]))
    net = CausalLM(config)
    ids = jax.random.randint(jax.random.PRNGKey(0), (1, SEQ + 1), 0, VOCAB)
    inputs, targets = ids[:, :-1], ids[:, 1:]
    # Start values of any kind, for XLA takes minutes to compile the real ones.
    shapes = jax.eval_shape(net.init, jax.random.PRNGKey(1), inputs)
    drawn = np.random.default_rng(1)
    params = jax.tree_util.tree_map(
        lambda like: jnp.asarray(drawn.normal(0, 0.02, like.shape).astype(np.float32)), shapes)

    def loss(params, inputs, targets):
        logits = net.apply(params, inputs, deterministic=True).logits
        return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), targets).mean()

    if mode == "forward":
        forward = jax.jit(loss)

        def once():
            forward(params, inputs, targets).block_until_ready()
            return SEQ
        return once
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3, b1=0.9, b2=0.95, weight_decay=0.1))

    def update(params, state, inputs, targets):
        changes, state = rule.update(jax.grad(loss)(params, inputs, targets), state, params)
        return optax.apply_updates(params, changes), state

    step = jax.jit(update, donate_argnums=(0, 1))
    held = [params, jax.jit(rule.init)(params)]
    del params

    def once():
        held[:] = step(*held, inputs, targets)
        jax.block_until_ready(held)
        return SEQ
    return once


def main():
    if len(sys.argv) < 5 or sys.argv[1] not in ("jax", "torch") or sys.argv[3] not in KINDS:
        sys.exit(__doc__.strip())
    peer, checkout, block, mode = sys.argv[1:5]
    if len(sys.argv) > 6:
        SIZES["num_hidden_layers"] = int(sys.argv[6])
    once = (torch_rounds if peer == "torch" else jax_rounds)(checkout, block, mode)
    core = wall = 0
    for i in range(int(sys.argv[5] if len(sys.argv) > 5 else 3) + 1):
        core_began, began = time.process_time(), time.perf_counter()
        tokens = once()
        if i:
            core = max(core, tokens / (time.process_time() - core_began))
            wall = max(wall, tokens / (time.perf_counter() - began))
    print("tokens_per_core_s %.3f\ntokens_per_s %.3f\npeak_mib %d" % (
        core, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))


main()
