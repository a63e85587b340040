"""What sampling costs a token, for a vocabulary of some size, inside a compiled loop.

python benchmarks/sampling.py [--vocab 128256]
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxllama  # noqa: F401  its flags, before jax does anything
from jaxllama.decode import make_sampling, make_words, remember, sample, start_history

SETTINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "default chain": {},
    "top-k 500": {"top_k": 500},
    "min-p 0.1 alone": {"top_k": 0, "top_p": 1.0, "min_p": 0.1},
    "top-p 0.95 alone": {"top_k": 0, "min_p": 0.0},
    "penalties": {"repeat_penalty": 1.1, "presence_penalty": 0.2},
    "DRY": {"dry_multiplier": 0.8},
    "a bias": {"logit_bias": {5: -1.0}},
    "XTC": {"xtc_probability": 0.5},
    "typical, after top-k": {"typical_p": 0.9},
    "Mirostat 2": {"mirostat": 2},
}


@partial(jax.jit, static_argnames=("steps", "sampled"))
def loop(logits, sampling, history, words, *, steps: int, sampled: bool):
    def body(i, carry):
        history, total = carry
        here = logits + total * 1e-9
        if not sampled:
            return history, total + here.max()
        choice, history = sample(here, sampling, history, history.length, words)
        history = remember(history, sampling, choice.tokens, jnp.asarray([True]))
        return history, total + choice.logprobs[0]

    return jax.lax.fori_loop(0, steps, body, (history, jnp.float32(0)))[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=128256)
    parser.add_argument("--steps", type=int, default=100)
    args = parser.parse_args()
    # Logits as models have them: a few likely tokens, and a long tail.
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.standard_normal((1, args.vocab)) * 2 + np.where(rng.random(args.vocab) < 2e-4, 12, 0), jnp.float32)
    words = make_words(args.vocab, [3])

    def measured(options: dict[str, Any], sampled: bool) -> float:
        sampling = make_sampling(1, seed=1, **options)
        history = start_history([[1] * 20], sampling, n_vocab=args.vocab, room=4097)
        best = float("inf")
        for _ in range(6):
            start = time.perf_counter()
            loop(logits, sampling, history, words, steps=args.steps, sampled=sampled).block_until_ready()
            best = min(best, (time.perf_counter() - start) / args.steps)
        return best

    nothing = measured({}, False)
    for name, options in SETTINGS.items():
        print(f"{name:22} {1e6 * (measured(options, True) - nothing):7.0f} us a token")


if __name__ == "__main__":
    main()
