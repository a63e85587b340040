"""Train the embedded model from nothing: stories from `story_world`, a byte-level BPE vocabulary, and a llama-architecture model in plain JAX.

    python examples/train_embedded/train.py --minutes 35 --out jaxllama/data/story-world.gguf

Text is made while training, so no story is seen twice. One example in four is a request and its answer in ChatML, so that the model can also chat.
The held-out loss is measured on stories from seeds that training never uses.
"""

from __future__ import annotations

import argparse
import itertools
import re
import time
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from export import write_gguf_model
from story_world import story
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

PEAK_RATE = 3e-3
NAME_WEIGHT = 3.0  # of a token of a name, in the loss
END, TURN, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"


class Shape(NamedTuple):
    vocab: int
    width: int = 256  # a multiple of 256, so that every block format applies
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 512
    context: int = 512
    rope_base: float = 10000.0
    epsilon: float = 1e-5


def train_tokenizer(size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END, TURN, TURN_END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator((story(Random(seed)).text for seed in range(40_000)), trainer)
    return tokenizer


def document(tokenizer: Tokenizer, seed: int) -> tuple[list[int], list[float]]:
    """Token ids of a story, and what each counts in the loss: the names count more, for carrying them through the text is the hard part."""
    r = Random(seed)
    made = story(r)
    chat = r.random() < 0.25
    text = f"{END}{TURN}user\n{made.request}{TURN_END}\n{TURN}assistant\n{made.text}{TURN_END}" if chat else END + made.text
    spans = [m.span() for m in re.finditer("|".join(map(re.escape, made.names)), text)]
    found = tokenizer.encode(text)
    inside = [any(start < end_of and begin < stop for begin, end_of in spans) for start, stop in found.offsets]
    return found.ids, [NAME_WEIGHT if name else 1.0 for name in inside]


class Batches:
    """Documents back to back, cut into rows of ids and weights."""

    def __init__(self, tokenizer: Tokenizer, seed: int):
        self.tokenizer, self.seed = tokenizer, seed
        self.ids: list[int] = []
        self.weights: list[float] = []

    def take(self, rows: int, length: int) -> tuple[jax.Array, jax.Array]:
        """The next token ids int32[rows, length + 1] and their weights f32[rows, length + 1]."""
        size = rows * (length + 1)
        while len(self.ids) < size:
            ids, weights = document(self.tokenizer, self.seed)
            self.ids += ids
            self.weights += weights
            self.seed += 1
        ids, self.ids = self.ids[:size], self.ids[size:]
        weights, self.weights = self.weights[:size], self.weights[size:]
        return jnp.asarray(ids, jnp.int32).reshape(rows, length + 1), jnp.asarray(weights, jnp.float32).reshape(rows, length + 1)


def initialise(shape: Shape, key: jax.Array) -> dict:
    d, f, n = shape.width, shape.feed_forward, shape.layers
    kv = d // shape.heads * shape.kv_heads
    keys = iter(jax.random.split(key, 8))

    def weight(*dims: int, gain: float = 1.0) -> jax.Array:
        return jax.random.normal(next(keys), dims, jnp.float32) * (gain / np.sqrt(dims[-1]))

    residual = 1 / np.sqrt(2 * n)
    return {
        "token_embd": jax.random.normal(next(keys), (shape.vocab, d), jnp.float32) * 0.05,
        "output_norm": jnp.ones(d),
        "blocks": {
            "attn_norm": jnp.ones((n, d)), "attn_q": weight(n, d, d), "attn_k": weight(n, kv, d), "attn_v": weight(n, kv, d),
            "attn_output": weight(n, d, d, gain=residual), "ffn_norm": jnp.ones((n, d)), "ffn_gate": weight(n, f, d),
            "ffn_up": weight(n, f, d), "ffn_down": weight(n, d, f, gain=residual),
        },
    }  # fmt: skip


def rms_norm(x: jax.Array, weight: jax.Array, epsilon: float) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + epsilon) * weight


def rotate(x: jax.Array, base: float) -> jax.Array:
    """Rope on interleaved pairs (llama.cpp's NORM kind), x[B, T, heads, H]."""
    half = x.shape[-1] // 2
    angle = jnp.arange(x.shape[1])[:, None] * base ** (-jnp.arange(half) / half)
    cos, sin = jnp.cos(angle)[:, None], jnp.sin(angle)[:, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    return jnp.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)


def forward(params: dict, tokens: jax.Array, shape: Shape) -> jax.Array:
    """Logits f32[B, T, V]."""
    b, t = tokens.shape
    head = shape.width // shape.heads
    x = params["token_embd"][tokens]
    visible = jnp.tril(jnp.ones((t, t), bool))

    def block(x, w):
        h = rms_norm(x, w["attn_norm"], shape.epsilon)
        q = rotate((h @ w["attn_q"].T).reshape(b, t, shape.heads, head), shape.rope_base)
        k = rotate((h @ w["attn_k"].T).reshape(b, t, shape.kv_heads, head), shape.rope_base)
        v = (h @ w["attn_v"].T).reshape(b, t, shape.kv_heads, head)
        q = q.reshape(b, t, shape.kv_heads, -1, head)
        scores = jnp.einsum("btkgh,bskh->bkgts", q, k) * head**-0.5
        attention = jax.nn.softmax(jnp.where(visible, scores, -1e30), -1)
        x = x + jnp.einsum("bkgts,bskh->btkgh", attention, v).reshape(b, t, -1) @ w["attn_output"].T
        h = rms_norm(x, w["ffn_norm"], shape.epsilon)
        return x + (jax.nn.silu(h @ w["ffn_gate"].T) * (h @ w["ffn_up"].T)) @ w["ffn_down"].T, None

    x, _ = jax.lax.scan(block, x, params["blocks"], unroll=True)
    return rms_norm(x, params["output_norm"], shape.epsilon) @ params["token_embd"].T


def loss_of(params: dict, tokens: jax.Array, weights: jax.Array, shape: Shape) -> jax.Array:
    """Mean cross entropy, each token by its weight, in nats."""
    losses = optax.softmax_cross_entropy_with_integer_labels(forward(params, tokens[:, :-1], shape), tokens[:, 1:])
    return (losses * weights[:, 1:]).sum() / weights[:, 1:].sum()


def train(tokenizer: Tokenizer, shape: Shape, *, minutes: float, rows: int) -> dict:
    """Parameters after `minutes` of AdamW; the learning rate follows the clock: a short warm-up, then a cosine down to nothing.

    Rows are half the context long at first, which is faster; the last quarter of the time teaches the positions of the whole context.
    """
    params = initialise(shape, jax.random.key(0))
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(b2=0.98), optax.add_decayed_weights(0.05))
    state = optimiser.init(params)

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params, state, tokens, weights, rate):
        loss, gradient = jax.value_and_grad(loss_of)(params, tokens, weights, shape)
        step, state = optimiser.update(gradient, state, params)
        return jax.tree.map(lambda p, s: p - rate * s, params, step), state, loss

    held_out = Batches(tokenizer, seed=10_000_000).take(16, shape.context)[0]
    score = jax.jit(partial(loss_of, shape=shape))
    text, start, seen, recent = Batches(tokenizer, seed=1_000_000), time.monotonic(), 0, []
    for count in itertools.count():
        done = (time.monotonic() - start) / (60 * minutes)
        if done >= 1:
            break
        short = done < 0.75
        tokens, weights = text.take(rows, shape.context // 2) if short else text.take(rows // 2, shape.context)
        rate = PEAK_RATE * min(1.0, (count + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * done))
        params, state, loss = update(params, state, tokens, weights, jnp.float32(rate))
        seen += rows * shape.context // 2
        recent.append(float(loss))
        if count % 50 == 0:
            speed = seen / (time.monotonic() - start)
            print(f"{100 * done:5.1f} %  step {count:5d}  loss {np.mean(recent[-50:]):.3f}  {speed:,.0f} tokens/s", flush=True)
    print(f"held-out loss {float(score(params, held_out, jnp.ones(held_out.shape))):.4f} nats a token after {seen:,} tokens")
    return params


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--vocab", type=int, default=2048)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--checkpoint", type=Path, help="keep the float32 parameters here (.npz); when the file exists, only export")
    args = parser.parse_args()
    tokenizer = train_tokenizer(args.vocab)
    shape = Shape(vocab=tokenizer.get_vocab_size())
    print(f"{shape.vocab} tokens; {sum(x.size for x in jax.tree.leaves(jax.eval_shape(lambda: initialise(shape, jax.random.key(0))))):,} parameters")
    if args.checkpoint and args.checkpoint.exists():
        loaded = dict(np.load(args.checkpoint))
        params = {k: v for k, v in loaded.items() if "." not in k} | {"blocks": {k[7:]: v for k, v in loaded.items() if k.startswith("blocks.")}}
    else:
        params = jax.device_get(train(tokenizer, shape, minutes=args.minutes, rows=args.rows))
        if args.checkpoint:
            flat = {k: v for k, v in params.items() if k != "blocks"} | {f"blocks.{k}": v for k, v in params["blocks"].items()}
            np.savez(args.checkpoint, **flat)
    write_gguf_model(args.out, params, shape, tokenizer)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
