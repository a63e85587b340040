"""What most families read in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, get_args

from jaxllama.layers.activations import Activation
from jaxllama.layers.mixture import Gate
from jaxllama.layers.norm import Norm
from jaxllama.layers.rope import Rope

from ..config import Config
from ..feed_forwards import Dense, FeedForward
from ..layer import Layer, Norms
from ..metadata import MAX_EXPERTS, MAX_LAYERS, Metadata
from ..mixers import Attention, Mixer

USUAL_NORMS = Norms()
GATES: tuple[Gate, ...] = get_args(Gate)  # in this order llama.cpp numbers them, from 1
YARN_KEYS = {"rope.scaling.yarn_ext_factor": -1.0, "rope.scaling.yarn_beta_fast": 32.0, "rope.scaling.yarn_beta_slow": 1.0}


def layer_count(m: Metadata) -> int:
    """How many layers a model has."""
    return m.integer("block_count", most=MAX_LAYERS)


def vocabulary_size(m: Metadata) -> int:
    """How many tokens there are."""
    tokens = m.file.get("tokenizer.ggml.tokens")
    return m.integer("vocab_size", len(tokens) if isinstance(tokens, list) and tokens else None)


def rms_norm(m: Metadata) -> Norm:
    """RMS norms with the file's epsilon."""
    return Norm("rms", m.number("attention.layer_norm_rms_epsilon"))


def decoder(
    m: Metadata,
    mixers: Sequence[Mixer],
    feed_forwards: Sequence[FeedForward | None],
    *,
    norms: Norms = USUAL_NORMS,
    embedding_scale: float = 1.0,
    final_softcap: float = 0.0,
) -> Config:
    """A model that reads tokens and gives logits, from its layers' mixers and feed-forwards."""
    return Config(
        architecture=m.architecture,
        n_vocab=vocabulary_size(m),
        n_embd=m.integer("embedding_length"),
        n_ctx_train=m.integer("context_length", 2048),
        layers=tuple(Layer(mixer=mixer, feed_forward=feed, norms=norms) for mixer, feed in zip(mixers, feed_forwards, strict=True)),
        norm=rms_norm(m),
        embedding_scale=embedding_scale,
        final_softcap=final_softcap,
    )


def attentions(
    m: Metadata,
    *,
    rope: Literal["norm", "neox"],
    rope_factors: bool = False,
    yarn: bool = False,
    scale: Callable[[int], float] = lambda head: head**-0.5,
    window: int = 0,
    windowed: Sequence[bool] | None = None,
    rope_near: Callable[[Rope], Rope] = lambda rope: rope,
    softcap: float = 0.0,
    head_norm: bool = False,
    sinks: bool = False,
    fused: bool = False,
    gated: bool = False,
    sections: bool = False,
    only: Sequence[bool] | None = None,
) -> list[Attention]:
    """The attention of all layers that have one. Heads and their sharing may differ from layer to layer.

    Args:
        rope: which pairs of a head rotate together.
        rope_factors: whether `rope_freqs.weight` counts.
        yarn: whether the architecture reads YaRN's constants.
        scale: head size -> scale of the scores.
        window: positions that layers with a window see; 0 for no windows.
        windowed: which layers have it; all by default.
        rope_near: how queries and keys rotate in layers with a window, from how they do in the others.
        softcap, head_norm, sinks, gated: see `Attention`.
        fused: queries, keys and values come from one matrix; otherwise they do where the file has that matrix.
        sections: positions have several axes, which the file divides the pairs among.
        only: the layers that have attention; all by default. The others are left out of what is returned.
    """
    layers, width = layer_count(m), m.integer("embedding_length")
    there = [True] * layers if only is None else only
    least = 0 if only else 1  # a layer without attention has no heads
    heads = m.integers("attention.head_count", layers, least=least)
    kv_heads = m.integers("attention.head_count_kv", layers, heads, least=least)
    size = m.integer("attention.key_length", max(1, width // max(1, heads[0])))
    value_size = m.integer("attention.value_length", max(1, width // max(1, heads[0])))
    everywhere = rope_of(m, rope, size, factors=rope_factors, yarn=yarn)
    if sections:
        everywhere = replace(everywhere, sections=m.sections("rope.dimension_sections", everywhere.dims // 2))
    found = []
    for i, (n_head, n_head_kv) in enumerate(zip(heads, kv_heads, strict=True)):
        if not there[i]:
            continue
        if not n_head or not n_head_kv or n_head % n_head_kv:
            raise m.fail("attention.head_count_kv", f"a divisor of the {n_head} heads", n_head_kv)
        near = bool(window) and (windowed is None or windowed[i])
        found.append(
            Attention(
                n_head=n_head,
                n_head_kv=n_head_kv,
                key_size=size,
                value_size=value_size,
                scale=scale(size),
                rope=rope_near(everywhere) if near else everywhere,
                window=window if near else 0,
                softcap=softcap,
                head_norm=head_norm,
                sinks=sinks,
                gated=gated,
                fused=fused or m.has_tensor(f"blk.{i}.attn_qkv.weight"),
            )
        )
    return found


def rope_of(m: Metadata, kind: Literal["norm", "neox"], head_size: int, *, factors: bool = False, yarn: bool = False) -> Rope:
    """How queries and keys of a model rotate.

    Args:
        factors: whether `rope_freqs.weight` counts.
        yarn: whether the architecture reads YaRN's constants; a user's count anyhow.
    """
    dims = m.integer("rope.dimension_count", head_size)
    if dims % 2 or dims > head_size:
        raise m.fail("rope.dimension_count", f"an even number of at most the head size {head_size}", dims)
    factor = m.number("rope.scaling.factor", 0) or m.number("rope.scale_linear", 0) or 1.0
    scaling = m.text("rope.scaling.type", "linear", among=("none", "linear", "yarn"))
    extrapolation, fast, slow = (
        m.number(key, default, least=-1 if default < 0 else 1e-3) if yarn or m.given(key) else default for key, default in YARN_KEYS.items()
    )
    return Rope(
        kind=kind,
        dims=dims,
        base=m.number("rope.freq_base", 10000.0, least=2),
        scaling=scaling if factor != 1 else "none",  # type: ignore[arg-type]
        factor=factor,
        original_context=m.integer("rope.scaling.original_context_length", m.integer("context_length", 2048)),
        attention_factor=m.number("rope.scaling.attn_factor", 1.0),
        beta_fast=fast,
        beta_slow=slow,
        extrapolation=extrapolation,
        has_factors=factors,
    )


def with_own_base(m: Metadata) -> Callable[[Rope], Rope]:
    """For `rope_near`: the base that the file names for layers with a window, if it does."""
    return lambda rope: replace(rope, base=m.number("rope.freq_base_swa", rope.base, least=2))


def dense(m: Metadata, activation: Activation = "silu") -> list[FeedForward]:
    """The gated feed-forward of every layer; widths may differ from layer to layer."""
    return [Dense(n_ff=n, activation=activation) for n in m.integers("feed_forward_length", layer_count(m))]


def expert_counts(m: Metadata) -> tuple[int, int]:
    """How many experts there are, and how many a position passes; (0, 0) for none."""
    experts = m.integer("expert_count", 0, least=0, most=MAX_EXPERTS)
    used = m.integer("expert_used_count", 0, least=0, most=max(experts, 0))
    if bool(experts) != bool(used):
        raise m.fail("expert_used_count", f"from 1 to the {experts} experts", used)
    return experts, used


def needed_experts(m: Metadata) -> tuple[int, int]:
    """The same for an architecture that cannot be without.

    Raises:
        GGUFError: there are none.
    """
    experts, used = expert_counts(m)
    if not experts:
        raise m.fail("expert_count", "at least one expert", 0)
    return experts, used


def expert_groups(m: Metadata, experts: int) -> tuple[int, int]:
    """(groups of experts, groups that are chosen); (0, 0) for none."""
    groups = m.integer("expert_group_count", 0, least=0, most=MAX_EXPERTS)
    used = m.integer("expert_group_used_count", 0, least=0, most=MAX_EXPERTS)
    if groups <= 1:
        return 0, 0
    if experts % groups or experts // groups < 2:
        raise m.fail("expert_group_count", f"a divisor of the {experts} experts, with two in each group", groups)
    if not 1 <= used < groups:
        raise m.fail("expert_group_used_count", f"from 1 to less than the {groups} groups", used)
    return groups, used


def gate_of(m: Metadata, default: Gate) -> Gate:
    """How scores become probabilities, by `expert_gating_func`."""
    number = m.integer("expert_gating_func", 0, least=0, most=len(GATES))
    return GATES[number - 1] if number else default
