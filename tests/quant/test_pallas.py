"""The GPU kernel: what it computes, run as plain operations, and that it can be lowered for a GPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_blocks import COLUMNS, random_blocks
from tiers import telling

from jaxllama.quant import FORMATS, QTensor, from_blocks, matmul
from jaxllama.quant.kernels import pallas
from jaxllama.quant.kernels.formats import KERNEL_FORMATS


def weights(name: str) -> QTensor:
    found = from_blocks(random_blocks(name, 0, (2, 40)), name)
    if name != "MXFP4":
        return found
    parts = (jnp.full_like(a, 127) if p.name == "e" else a for p, a in zip(FORMATS[name].parts, found.parts, strict=True))
    return QTensor(tuple(parts), name, found.shape)  # scales up to 2^127 would hide everything else


@pytest.mark.parametrize("name", telling(KERNEL_FORMATS, ["Q4_0", "MXFP4"]))  # the others are long to compile as plain operations
def test_it_computes_what_the_plain_form_does(name):
    weight = weights(name)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, COLUMNS)), jnp.float32)
    expected = matmul.unpacked(jnp.dtype(jnp.float32))(x, weight, 1)
    found = pallas.pallas_rows(x, weight, 1, interpret=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6 * float(jnp.abs(expected).max()))


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")  # since jax 0.11; docs/performance.md says what follows it
@pytest.mark.parametrize("name", telling(["Q4_0", "Q8_0", "Q4_K", "Q6_K", "IQ4_NL", "MXFP4"]))
def test_it_is_lowered_for_a_gpu(name):
    gpu = jax.sharding.AbstractDevice(device_kind="NVIDIA A100", num_cores=108, platform="gpu")  # jax 0.12 wants to know which one
    arguments = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (jnp.zeros((1, COLUMNS)), weights(name)))
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((1,), ("x",), abstract_device=gpu)):
        text = jax.jit(lambda x, w: pallas.pallas_rows(x, w, 1)).trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
    assert f"jaxllama_{name.lower()}_1" in text


@pytest.mark.parametrize(("factor", "agrees"), [(1.0, True), (1.01, False)])
def test_it_runs_where_it_agrees_with_the_plain_form(monkeypatch, factor, agrees):
    run = pallas.pallas_rows
    monkeypatch.setattr(pallas.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(pallas, "pallas_rows", lambda *arguments: factor * run(*arguments, interpret=True))
    assert pallas.available.__wrapped__("Q4_0") is agrees


def test_where_it_does_not_work_the_plain_form_runs(monkeypatch, caplog):
    monkeypatch.setattr(pallas.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(pallas, "pallas_rows", lambda *_: (_ for _ in ()).throw(RuntimeError("no such instruction")))
    assert pallas.available.__wrapped__("Q4_0") is False
    assert "the GPU kernel for Q4_0 is off" in caplog.text
    monkeypatch.undo()
    assert pallas.available.__wrapped__("Q4_0") is False  # no GPU
    assert matmul.formulation("gpu", 1, "Q4_0", exact=False) is matmul.integer_rows
    monkeypatch.setattr(pallas, "available", lambda name: name == "Q4_0")
    assert matmul.formulation("gpu", 1, "Q4_0", exact=False) is pallas.pallas_rows
    assert matmul.formulation("gpu", 1, "Q4_K", exact=False) is matmul.integer_rows
