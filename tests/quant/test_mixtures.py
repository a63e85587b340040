"""Which format every tensor of a file gets: as recorded from llama.cpp's quantizer (tests/reference/record_types.py)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from jaxllama.quant.mixtures import FILE_TYPES, Choices, Given, ModelFacts, choose, file_type, needs_importance, order

REFERENCE = Path(__file__).parent.parent / "reference"
sys.path.insert(0, str(REFERENCE))
from record_types import LETTERS, MODELS, tensors  # noqa: E402

RECORDED = dict(np.load(REFERENCE / "types.npz"))
KINDS = [str(k) for k in RECORDED.pop("kinds")]


def given(model: str) -> list[Given]:
    return [Given(name, shape, "F32") for name, shape in sorted(tensors(model).items(), key=lambda item: order(item[0]))]


def facts(model: str) -> ModelFacts:
    architecture, layers, heads, kv, experts, _, _ = MODELS[model]
    return ModelFacts(architecture, layers, heads // kv, experts)


@pytest.mark.parametrize("key", RECORDED)
def test_types_are_llama_cpps(key):
    model, kind, *importance = key.split()
    found = choose(given(model), facts(model), kind, importance=bool(importance))
    expected = dict(zip(tensors(model), (KINDS[LETTERS.index(c)] for c in str(RECORDED[key])), strict=True))
    assert found == expected


def test_every_file_type_is_recorded():
    assert {key.split()[1] for key in RECORDED} == FILE_TYPES.keys()


def test_the_users_choices_come_first():
    found = choose(given("small"), facts("small"), "Q4_K_M", Choices(output="Q8_0", token_embedding="F16", patterns=((r"blk\.1\.ffn_(up|gate)", "Q3_K"),)))
    assert found["output.weight"] == "Q8_0"
    assert found["token_embd.weight"] == "F16"
    assert found["blk.1.ffn_up.weight"] == found["blk.1.ffn_gate.weight"] == "Q3_K"
    assert found["blk.0.ffn_up.weight"] == "Q4_K"
    assert found["blk.0.attn_norm.weight"] == "F32"
    pure = choose(given("small"), facts("small"), "Q4_K_M", Choices(pure=True))
    assert set(pure.values()) == {"Q4_K", "F32"}
    assert choose(given("small"), facts("small"), "Q4_0", Choices(keep_output=True))["output.weight"] == "F32"
    for kind, pure in (("F16", False), ("Q4_0", True)):
        assert choose(given("small"), facts("small"), kind, Choices(output="Q8_0", pure=pure))["output.weight"] == "Q8_0"


def test_a_rule_for_the_embeddings_of_each_layer_comes_first():
    tables = [Given(name, (64, 256), "F32") for name in ("per_layer_token_embd.weight", "token_embd.weight")]
    for patterns, expected in (((), "F16"), ((("token_embd", "Q5_0"),), "Q5_0")):
        found = choose(tables, facts("small"), "Q4_0", Choices(token_embedding="F16", patterns=patterns))
        assert found == {"per_layer_token_embd.weight": expected, "token_embd.weight": "F16"}


@pytest.mark.parametrize("name", ["blk.9.ffn_down_exps.weight", "extra.ffn_down_exps.weight"])
def test_experts_of_no_layer(name):
    with pytest.raises(ValueError, match=f"tensor '{name}' must name a layer from 0 to 8"):
        choose([Given(name, (8, 256, 256), "F32")], facts("experts8"), "Q4_K_M")


def test_names_of_file_types():
    assert file_type("q4_k") == file_type("Q4_K_M") == file_type("15") == "Q4_K_M"
    with pytest.raises(ValueError, match="no file type 'Q4_X'; there are F32, F16"):
        file_type("Q4_X")


def test_formats_that_need_an_importance_matrix():
    assert needs_importance("blk.0.ffn_up.weight", "IQ2_XS", "IQ2_XS")
    assert needs_importance("blk.0.ffn_up.weight", "Q2_K", "Q2_K_S")
    assert not needs_importance("blk.0.ffn_up.weight", "Q2_K", "Q2_K")
    assert not needs_importance("output.weight", "IQ2_XS", "IQ2_XS")
