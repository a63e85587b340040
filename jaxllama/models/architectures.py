"""The architecture table. An architecture is a row: metadata -> Config, and the tensors a file must or may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from jaxllama.formats.gguf import GGUFError, GGUFFile
from jaxllama.layers.rope import Rope

from .config import Config, Metadata

MAX_LAYERS, MAX_EXPERTS = 1024, 1024  # far beyond any model: a hostile file must not make us build long lists


@dataclass(frozen=True)
class TensorRow:
    """One tensor (of every layer, for `blk.N.` tensors).

    Attributes:
        dims: letters of `Config.sizes`, in numpy's order: a matrix is (outputs, inputs).
        when: the switch of `Config` on which it depends; always there when empty.
        optional: whether a file may leave it out.
    """

    dims: tuple[str, ...]
    when: Literal["", "dense", "experts"] = ""
    optional: bool = False


def _optional(*dims: str) -> TensorRow:
    return TensorRow(dims, optional=True)


GLOBAL_TENSORS: Mapping[str, TensorRow] = {
    "token_embd.weight": TensorRow(("V", "D")),
    "output_norm.weight": TensorRow(("D",)),
    "output.weight": _optional("V", "D"),
    "rope_freqs.weight": _optional("R"),
}
LLAMA_TENSORS: Mapping[str, TensorRow] = {
    "attn_norm.weight": TensorRow(("D",)),
    "attn_q.weight": TensorRow(("NH", "D")),
    "attn_k.weight": TensorRow(("KH", "D")),
    "attn_v.weight": TensorRow(("KH", "D")),
    "attn_output.weight": TensorRow(("D", "NH")),
    "attn_q.bias": _optional("NH"),
    "attn_k.bias": _optional("KH"),
    "attn_v.bias": _optional("KH"),
    "attn_output.bias": _optional("D"),
    "ffn_norm.weight": TensorRow(("D",)),
    "ffn_gate.weight": TensorRow(("F", "D"), "dense"),
    "ffn_up.weight": TensorRow(("F", "D"), "dense"),
    "ffn_down.weight": TensorRow(("D", "F"), "dense"),
    "ffn_gate_inp.weight": TensorRow(("E", "D"), "experts"),
    "ffn_gate_exps.weight": TensorRow(("E", "F", "D"), "experts"),
    "ffn_up_exps.weight": TensorRow(("E", "F", "D"), "experts"),
    "ffn_down_exps.weight": TensorRow(("E", "D", "F"), "experts"),
}


@dataclass(frozen=True)
class Architecture:
    config: Callable[[Metadata], Config]
    tensors: Mapping[str, TensorRow]


ARCHITECTURES: dict[str, Architecture] = {}


def register(name: str, *, config: Callable[[Metadata], Config], tensors: Mapping[str, TensorRow] = LLAMA_TENSORS) -> None:
    """Add a row; `name` is the file's `general.architecture`."""
    ARCHITECTURES[name] = Architecture(config, tensors)


def architecture_of(file: GGUFFile) -> Architecture:
    """The row for a file.

    Raises:
        GGUFError: there is none.
    """
    name = file.require("general.architecture")
    if name not in ARCHITECTURES:
        raise GGUFError(file.path, "general.architecture", expected=f"a supported architecture ({', '.join(sorted(ARCHITECTURES))})", found=name)
    return ARCHITECTURES[name]


def read_config(file: GGUFFile) -> Config:
    """The `Config` of a file."""
    return architecture_of(file).config(Metadata(file))


def llama_like(
    m: Metadata,
    *,
    rope: Literal["norm", "neox"] = "norm",
    qk_norm: bool = False,
    post_norms: bool = False,
    scale_embedding: bool = False,
    activation: Literal["silu", "gelu"] = "silu",
    window: int = 0,
    window_every: int = 1,
    attention_scale: Callable[[int, int, int, int], float] = lambda head, width, heads, layers: head**-0.5,
) -> Config:
    """Config of a llama-like model; the switches say how it differs from llama.

    Args:
        rope: which pairs of a head rotate together.
        qk_norm: whether heads of queries and keys are normalised.
        post_norms: whether the outputs of both halves of a block are normalised.
        scale_embedding: whether embeddings are multiplied by the square root of the width.
        activation: of the feed-forward gate.
        window: sliding window where the file does not say; 0 for none.
        window_every: of so many layers, all but the last have the window; 1 gives it to every layer.
        attention_scale: (head size, width, heads, layers) -> scale of the scores.
    """
    n_embd, n_head, n_layer = m.integer("embedding_length"), m.integer("attention.head_count"), m.integer("block_count", most=MAX_LAYERS)
    n_head_kv = m.integer("attention.head_count_kv", n_head)
    if n_head % n_head_kv:
        raise m.fail("attention.head_count_kv", f"a divisor of the {n_head} heads", n_head_kv)
    head_size = m.integer("attention.key_length", max(1, n_embd // n_head))
    if m.integer("attention.value_length", head_size) != head_size:
        raise m.fail("attention.value_length", f"the key length {head_size}", m.integer("attention.value_length", head_size))
    window = m.integer("attention.sliding_window", window, least=0)
    n_expert = m.integer("expert_count", 0, least=0, most=MAX_EXPERTS)
    n_used = m.integer("expert_used_count", 0, least=0, most=max(n_expert, 0))
    if bool(n_expert) != bool(n_used):
        raise m.fail("expert_used_count", f"from 1 to the {n_expert} experts", n_used)
    return Config(
        architecture=m.architecture,
        n_vocab=_vocabulary_size(m),
        n_embd=n_embd,
        n_layer=n_layer,
        n_head=n_head,
        n_head_kv=n_head_kv,
        n_ff=m.integer("feed_forward_length"),
        n_ctx_train=m.integer("context_length", 2048),
        head_size=head_size,
        norm_epsilon=m.number("attention.layer_norm_rms_epsilon"),
        rope=_read_rope(m, rope, head_size),
        attention_scale=m.number("attention.scale", 0) or attention_scale(head_size, n_embd, n_head, n_layer),
        attention_softcap=m.number("attn_logit_softcapping", 0),
        final_softcap=m.number("final_logit_softcapping", 0),
        windows=tuple(window if window_every == 1 or i % window_every < window_every - 1 else 0 for i in range(n_layer)),
        qk_norm=qk_norm,
        post_norms=post_norms,
        embedding_scale=n_embd**0.5 if scale_embedding else 1.0,
        activation=activation,
        n_expert=n_expert,
        n_expert_used=n_used,
        expert_scale=m.number("expert_weights_scale", 0) or 1.0,
    )


def _vocabulary_size(m: Metadata) -> int:
    tokens = m.file.get("tokenizer.ggml.tokens")
    return m.integer("vocab_size", len(tokens) if isinstance(tokens, list) and tokens else None)


def _read_rope(m: Metadata, kind: Literal["norm", "neox"], head_size: int) -> Rope:
    dims = m.integer("rope.dimension_count", head_size)
    if dims % 2 or dims > head_size:
        raise m.fail("rope.dimension_count", f"an even number of at most the head size {head_size}", dims)
    factor = m.number("rope.scaling.factor", 0) or m.number("rope.scale_linear", 0) or 1.0
    default = "linear" if factor != 1 else "none"
    scaling = m.text("rope.scaling.type", default, among=("none", "linear", "yarn"))
    return Rope(
        kind=kind,
        dims=dims,
        base=m.number("rope.freq_base", 10000.0, least=2),
        scaling=scaling if factor != 1 else "none",  # type: ignore[arg-type]
        factor=factor,
        original_context=m.integer("rope.scaling.original_context_length", m.integer("context_length", 2048)),
        attention_factor=m.number("rope.scaling.attn_factor", 1.0),
        beta_fast=m.number("rope.scaling.yarn_beta_fast", 32.0, least=1e-3),
        beta_slow=m.number("rope.scaling.yarn_beta_slow", 1.0, least=1e-3),
        extrapolation=m.number("rope.scaling.yarn_ext_factor", -1.0, least=-1),
    )


register("llama", config=llama_like)
register("qwen2", config=lambda m: llama_like(m, rope="neox"))
register(
    "qwen3",
    config=lambda m: llama_like(m, rope="neox", qk_norm=True),
    tensors={**LLAMA_TENSORS, "attn_q_norm.weight": TensorRow(("H",)), "attn_k_norm.weight": TensorRow(("H",))},
)
register(
    "gemma2",
    config=lambda m: llama_like(
        m,
        rope="neox",
        post_norms=True,
        scale_embedding=True,
        activation="gelu",
        window=4096,
        window_every=2,
        # The 27B model, known by its 46 layers, divides by the width of a head in the residual stream instead of the head size.
        attention_scale=lambda head, width, heads, layers: (width // heads if layers == 46 else head) ** -0.5,
    ),
    tensors={**LLAMA_TENSORS, "post_attention_norm.weight": TensorRow(("D",)), "post_ffw_norm.weight": TensorRow(("D",))},
)
