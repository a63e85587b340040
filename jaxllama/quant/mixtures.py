"""File types: which block format every tensor of a file gets. `Q4_K_M` and its like are mixtures: some tensors are worth more bits.

The rules and their order are llama.cpp's, so that its files and ours have the same types (src/llama-quant.cpp).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from .blocks import FORMATS

# name: (number in `general.file_type`, format of most tensors)
FILE_TYPES: dict[str, tuple[int, str]] = {
    "F32": (0, "F32"),
    "F16": (1, "F16"),
    "Q4_0": (2, "Q4_0"),
    "Q4_1": (3, "Q4_1"),
    "Q8_0": (7, "Q8_0"),
    "Q5_0": (8, "Q5_0"),
    "Q5_1": (9, "Q5_1"),
    "Q2_K": (10, "Q2_K"),
    "Q3_K_S": (11, "Q3_K"),
    "Q3_K_M": (12, "Q3_K"),
    "Q3_K_L": (13, "Q3_K"),
    "Q4_K_S": (14, "Q4_K"),
    "Q4_K_M": (15, "Q4_K"),
    "Q5_K_S": (16, "Q5_K"),
    "Q5_K_M": (17, "Q5_K"),
    "Q6_K": (18, "Q6_K"),
    "IQ2_XXS": (19, "IQ2_XXS"),
    "IQ2_XS": (20, "IQ2_XS"),
    "Q2_K_S": (21, "Q2_K"),
    "IQ3_XS": (22, "IQ3_S"),
    "IQ3_XXS": (23, "IQ3_XXS"),
    "IQ1_S": (24, "IQ1_S"),
    "IQ4_NL": (25, "IQ4_NL"),
    "IQ3_S": (26, "IQ3_S"),
    "IQ3_M": (27, "IQ3_S"),
    "IQ2_S": (28, "IQ2_XS"),
    "IQ2_M": (29, "IQ2_S"),
    "IQ4_XS": (30, "IQ4_XS"),
    "IQ1_M": (31, "IQ1_M"),
    "BF16": (32, "BF16"),
    "TQ1_0": (36, "TQ1_0"),
    "TQ2_0": (37, "TQ2_0"),
    "MXFP4_MOE": (38, "MXFP4"),
    "Q1_0": (40, "Q1_0"),
    "Q2_0": (41, "Q2_0"),
}
ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}

NEEDS_IMPORTANCE = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS"})  # formats that are no good without
_LOWEST = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"})  # file types of less than three bits with rules of their own
_SMALLER_BLOCKS = {
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
    **dict.fromkeys(("Q2_0", "Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}
_NEVER = (  # parts of names: small tensors, tables and routing that stay as they are
    *("_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj", "ssm_conv1d", "shortconv.conv.weight"),
    *("indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight"),
    *(f"time_mix_{name}.weight" for name in ("w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2", "lerp_fused")),
    *("attn_rel_b.weight", ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger"),
    *("a.rvq.codebook", "mm.a.code_embd"),
)
_NEVER_GLM5 = (
    *("hc_", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj", "indexer_compressor_gate", "indexer_compressor_ape", "ssm_f_a.weight", "ssm_f_b.weight"),
    *("ssm_g_a.weight", "ssm_g_b.weight", "ssm_beta.weight", "attn_kv_a_mqa.weight", "attn_k_b.weight", "attn_v_b.weight"),
)
_NEVER_NAMES = ("position_embd.weight", "token_types.weight")
_CATEGORIES = (  # the first part of a name that fits
    *(("attn_qkv.weight", "v"), ("attn_kv_b.weight", "v"), ("attn_v.weight", "v"), ("attn_k.weight", "k"), ("attn_q.weight", "q")),
    *(("attn_output.weight", "attn_output"), ("ffn_up", "ffn_up"), ("ffn_gate", "ffn_gate"), ("ffn_down", "ffn_down")),
)


@dataclass(frozen=True)
class ModelFacts:
    """What the rules look at: `n_gqa` is query heads per key/value head."""

    architecture: str
    n_layer: int
    n_gqa: int
    n_expert: int = 0


@dataclass(frozen=True)
class Choices:
    """What the user decides.

    Attributes:
        pure: every tensor gets the file type's own format.
        keep_output: leave `output.weight` as it is.
        output, token_embedding: formats for those tensors.
        patterns: (regular expression, format); the first that is found in a tensor's name decides.
    """

    pure: bool = False
    keep_output: bool = False
    output: str | None = None
    token_embedding: str | None = None
    patterns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Given:
    """A tensor as it is: its shape in numpy's order."""

    name: str
    shape: tuple[int, ...]
    format: str


@dataclass
class _Counters:
    """How many tensors of a category came before."""

    v: int = 0
    ffn: dict[str, int] = field(default_factory=lambda: {"ffn_down": 0, "ffn_gate": 0, "ffn_up": 0})


def file_type(name: str) -> str:
    """The file type that a name or number means; case does not matter.

    Raises:
        ValueError: there is none.
    """
    upper = name.upper()
    upper = ALIASES.get(upper, upper)
    if upper in FILE_TYPES:
        return upper
    for known, (number, _) in FILE_TYPES.items():
        if name == str(number):
            return known
    raise ValueError(f"there is no file type '{name}'; there are {', '.join([*FILE_TYPES, *ALIASES])} and COPY")


def order(name: str) -> tuple[int, str]:
    """Sorts tensors as llama.cpp does: by layer, tensors outside layers first, then by name. Some rules count tensors in this order."""
    match = re.match(r"blk\.(\d+)\.", name)
    return (int(match[1]) if match else -1, name)


def may_change(tensor: Given, choices: Choices, architecture: str) -> bool:
    """Whether a tensor is quantized at all: matrices of weights are, but for some small or touchy ones."""
    shape = tensor.shape
    if prod(shape[:-1]) <= 1 or not tensor.name.endswith("weight") or tensor.name in _NEVER_NAMES:
        return False
    if choices.keep_output and tensor.name == "output.weight":
        return False
    never = _NEVER + _NEVER_GLM5 if architecture == "glm5-next" else _NEVER
    return not any(part in tensor.name for part in never)


def needs_importance(name: str, format: str, file_type: str) -> bool:
    """Whether a format is of no use for a tensor without an importance matrix."""
    if _category(name) in ("output", "token_embd"):
        return False
    return format in NEEDS_IMPORTANCE or (format == "Q2_K" and file_type == "Q2_K_S")


def choose(tensors: Sequence[Given], model: ModelFacts, file_type: str, choices: Choices | None = None, *, importance: bool = False) -> dict[str, str]:
    """The format of every tensor in a file of the given type.

    Args:
        tensors: in the order of `order`; the rules count some of them.
        importance: whether there is an importance matrix; some rules are for files without.
    """
    choices = choices or Choices()
    tied = not any(t.name == "output.weight" for t in tensors)
    n_v = sum(_category(t.name) == "v" for t in tensors)
    counters = _Counters()
    base = FILE_TYPES[file_type][1]
    found = {}
    for tensor in tensors:
        if not may_change(tensor, choices, model.architecture):
            found[tensor.name] = tensor.format
            continue
        category = _category(tensor.name)
        manual = next((kind for pattern, kind in choices.patterns if re.search(pattern, tensor.name)), None)
        named_table = tensor.name == "per_layer_token_embd.weight" and manual is not None
        if choices.token_embedding and category == "token_embd" and not named_table:
            found[tensor.name] = choices.token_embedding
            continue
        if choices.output and category == "output":
            found[tensor.name] = choices.output
            continue
        kind = base
        if not FORMATS[base].dense:
            if manual is not None:
                kind = manual
            elif not choices.pure:
                kind = _mixed(tensor, category, model, file_type, choices, counters, tied=tied, n_v=n_v, importance=importance)
            kind = _fitting(kind, tensor.shape[-1])
        found[tensor.name] = kind
    return found


def without_effect(tensors: Sequence[Given], model: ModelFacts, file_type: str, choices: Choices) -> list[str]:
    """What a user has chosen and no tensor heeds, a sentence each.

    Args:
        tensors, model, file_type, choices: as for `choose`; the file type may be "COPY", which changes no format.
    """
    copied = file_type == "COPY"
    changing = [] if copied else [t for t in tensors if may_change(t, choices, model.architecture)]
    names = {t.name for t in tensors}
    one_format = "COPY changes no format" if copied else f"{file_type} has one format for all" if FORMATS[FILE_TYPES[file_type][1]].dense else None
    found = [f"--pure has no effect: {one_format}"] if choices.pure and copied else []
    if choices.keep_output and "output.weight" not in names:
        found.append("--leave-output-tensor has no effect: the model has no output.weight")
    embeds = "output.weight" not in names and changing and not choices.pure and one_format is None  # the embeddings are the output too, and heed its format
    for option, kind, category in (("--output-tensor-type", choices.output, "output"), ("--token-embedding-type", choices.token_embedding, "token_embd")):
        if kind is not None and not any(_category(t.name) == category for t in changing) and not (category == "output" and embeds):
            found.append(f"{option} has no effect: {one_format if copied else 'no tensor of that kind is quantized'}")
    deciding = {next((n for n, (pattern, _) in enumerate(choices.patterns) if re.search(pattern, t.name)), None) for t in changing}
    for n, (pattern, kind) in enumerate(choices.patterns):
        here = any(re.search(pattern, name) for name in names)
        why = "the tensors that it names stay as they are, or follow a rule before it" if here else "no tensor has such a name"
        if one_format is not None or n not in deciding:
            found.append(f"--tensor-type {pattern}={kind} has no effect: {one_format or why}")
    return found


def _category(name: str) -> str:
    if name == "output.weight":
        return "output"
    if name in ("token_embd.weight", "per_layer_token_embd.weight"):
        return "token_embd"
    return next((category for part, category in _CATEGORIES if part in name), "other")


def _fitting(kind: str, columns: int) -> str:
    """The format, or one with smaller blocks where rows are no whole number of blocks, or F16 where that does not help."""
    if columns % FORMATS[kind].type.weights == 0:
        return kind
    kind = _SMALLER_BLOCKS.get(kind, kind)
    return kind if columns % FORMATS[kind].type.weights == 0 else "F16"


def _more_bits(i: int, n: int) -> bool:
    """The first and last eighth of the layers, and every third between."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def _mixed(tensor: Given, category: str, model: ModelFacts, kind: str, choices: Choices, counters: _Counters, *, tied: bool, n_v: int, importance: bool) -> str:
    """The format by the rules of a file type (`kind`), without regard to the tensor's shape."""
    base = FILE_TYPES[kind][1]
    if model.architecture == "glm5-next" and any(part in tensor.name for part in ("attn_q_a", "attn_q_b", "nextn.eh_proj")):
        return "Q8_0"
    if category == "output" or (tied and category == "token_embd"):
        return _output(tensor, model, kind, choices)
    if kind == "MXFP4_MOE":
        experts = len(tensor.shape) == 3 and tensor.shape[0] > 1
        if model.architecture == "bailingmoe3":  # which has other tensors with three axes
            experts = experts and category in counters.ffn
        return "MXFP4" if experts else "Q8_0"
    if category == "token_embd":
        return _token_embedding(kind)
    if category == "v":
        counters.v += 1
        return _value_projection(model, kind, counters.v - 1, n_v, importance)
    if category in counters.ffn:
        i = counters.ffn[category]
        counters.ffn[category] += 1
        if kind not in _LOWEST and model.n_expert > 1:  # experts may lie in any order: the layer is in the name
            match = re.match(r"blk\.(\d+)\.", tensor.name)
            if match is None or int(match[1]) >= model.n_layer:
                raise ValueError(f"tensor '{tensor.name}' must name a layer from 0 to {model.n_layer - 1}")
            i = int(match[1])
        if category == "ffn_down":
            return _feed_forward_down(model, kind, i, importance)
        middle = model.n_layer // 8 <= i < 7 * model.n_layer // 8
        return "IQ3_XXS" if kind == "IQ3_XS" and middle else base
    eight = model.n_expert == 8
    if category == "attn_output":
        return _attention_output(model, kind)
    if category == "k" and eight:
        return "Q4_K" if kind in _LOWEST else "Q8_0"
    if category in ("k", "q"):
        return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(kind, base)
    return base


def _output(tensor: Given, model: ModelFacts, kind: str, choices: Choices) -> str:
    base = FILE_TYPES[kind][1]
    if choices.output:
        return choices.output
    if kind == "MXFP4_MOE" or model.architecture == "falcon" or tensor.shape[-1] % FORMATS[base].type.weights:
        return "Q8_0"
    if kind in _LOWEST or kind == "IQ3_XXS":
        return "Q5_K"
    return "Q8_0" if base == "Q8_0" else "Q6_K"


def _token_embedding(kind: str) -> str:
    if kind in ("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M"):
        return "Q2_K"
    if kind in ("IQ2_S", "IQ2_M", "IQ3_XXS"):
        return "IQ3_S"
    return "Q4_K" if kind in ("TQ1_0", "TQ2_0", "Q2_0") else FILE_TYPES[kind][1]


def _value_projection(model: ModelFacts, kind: str, i: int, n: int, importance: bool) -> str:
    shared = model.n_gqa >= 4
    if kind in _LOWEST:
        return "Q4_K" if shared or model.n_expert >= 4 else "IQ3_S" if kind in ("IQ2_S", "IQ2_M") else "Q2_K"
    found = FILE_TYPES[kind][1]
    if kind == "Q2_K":
        found = "Q4_K" if shared else "Q3_K"
    elif kind == "IQ3_XXS":
        found = "Q4_K" if shared else "IQ3_XXS" if importance else "IQ3_S"
    elif kind == "IQ3_M" or (kind in ("Q2_K_S", "IQ3_XS", "IQ3_S") and shared):
        found = "Q4_K"
    elif kind == "Q3_K_M":
        found = "Q5_K" if i < 2 else "Q4_K"
    elif kind == "Q3_K_L" or (kind in ("IQ4_NL", "IQ4_XS") and shared) or (kind == "Q4_K_S" and i < 4):
        found = "Q5_K"
    elif kind in ("Q4_K_M", "Q5_K_M") and _more_bits(i, n):
        found = "Q6_K"
    if model.architecture == "llama" and model.n_layer == 80 and model.n_gqa > 1 and found in ("Q3_K", "Q4_K"):
        found = "Q5_K"  # in the 70B model this tensor is small beside the others
    return "Q8_0" if model.n_expert == 8 else found


def _feed_forward_down(model: ModelFacts, kind: str, i: int, importance: bool) -> str:
    found, n, falcon = FILE_TYPES[kind][1], model.n_layer, model.architecture == "falcon"
    first = i < n // 8
    if kind in _LOWEST:
        return found if not first else "IQ3_S" if kind in ("IQ2_S", "IQ2_M") else "Q2_K"
    if kind == "Q2_K":
        return "Q3_K"
    if kind == "Q3_K_M":
        return "Q5_K" if i < n // 16 else "Q4_K" if not falcon or _more_bits(i, n) else "Q3_K"
    if kind == "Q3_K_L":
        return "Q4_K" if falcon else "Q5_K"
    if kind == "Q4_K_M" and falcon:
        return "Q6_K" if i < n // 16 else "Q5_K" if _more_bits(i, n) else "Q4_K"
    if kind in ("Q4_K_M", "Q5_K_M") and _more_bits(i, n):
        return "Q6_K"
    if kind == "IQ3_XXS" and not importance:
        return "Q4_K" if first else "Q3_K"
    if kind == "IQ3_M" and model.n_expert == 8 and _more_bits(i, n):
        return "Q4_K"
    if not first:
        return found
    if kind in ("IQ4_NL", "IQ4_XS") and importance:
        return found
    if kind in ("Q4_0", "Q5_0"):
        return {"Q4_0": "Q4_1", "Q5_0": "Q5_1"}[kind] if importance else found
    if kind == "Q4_K_S" and falcon:
        return found
    return {"Q2_K_S": "Q4_K", "IQ3_M": "Q4_K", "IQ4_NL": "Q5_K", "IQ4_XS": "Q5_K", "Q4_K_S": "Q5_K"}.get(kind, found)


def _attention_output(model: ModelFacts, kind: str) -> str:
    base = FILE_TYPES[kind][1]
    if kind in _LOWEST:
        if model.n_expert == 8:
            return "Q5_K"
        return {"IQ1_S": "IQ2_XXS", "IQ1_M": "IQ2_XXS", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S"}.get(kind, base)
    if model.architecture == "falcon":
        return "Q4_K" if kind == "Q3_K_L" else base
    if model.n_expert == 8:
        better = ("Q2_K", "IQ3_XS", "IQ3_XXS", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ3_S", "IQ3_M", "IQ4_XS")
        return "Q5_K" if kind in better else base
    return {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}.get(kind, base)
