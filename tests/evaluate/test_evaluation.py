"""Perplexity, divergence, importance and multiple choice: llama.cpp's recorded figures (tests/reference/record_evaluation.py), and definitions written out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxllama
from jaxllama.evaluate import compare, hellaswag, importance_matrix, multiple_choice, perplexity, save_base, score_choices, winogrande
from jaxllama.evaluate.choices import Question, pick, wilson
from jaxllama.evaluate.importance_statistics import rows, statistics
from jaxllama.evaluate.windows import split_windows

REFERENCE = Path(__file__).parent.parent / "reference"
sys.path.insert(0, str(REFERENCE))
from record_evaluation import WATCHED, make_models  # noqa: E402

RECORDED = json.loads((REFERENCE / "evaluation.json").read_text())
TEXT = (REFERENCE / "stories.txt").read_text().removesuffix("\n")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> jaxllama.Model:
    path, _ = make_models(tmp_path_factory.mktemp("models"))
    return jaxllama.load(path, n_ctx=512)


@pytest.fixture(scope="module")
def tokens(model) -> list[int]:
    return model.tokenizer.encode(TEXT)


def test_perplexity_is_llama_cpps(model, tokens):
    so_far = []
    found = perplexity(model, tokens, n_ctx=128, progress=lambda window, estimate: so_far.append(estimate.value))
    np.testing.assert_allclose(so_far, RECORDED["windows"], rtol=2e-3)
    value, error = RECORDED["final"]
    np.testing.assert_allclose(found.value, value, rtol=2e-3)
    np.testing.assert_allclose(found.value_error, error, rtol=2e-2)


def test_strided_perplexity_is_llama_cpps(model, tokens):
    so_far = []
    perplexity(model, tokens, n_ctx=512, stride=100, chunks=5, progress=lambda window, estimate: so_far.append(estimate.value))
    np.testing.assert_allclose(so_far, RECORDED["strided"], rtol=2e-3)


def test_perplexity_by_definition(model, tokens):
    """From the logits of whole windows, in float64."""
    nll = []
    for window in split_windows(tokens, 96, limit=3):
        begun = [model.tokenizer.bos, *window[1:].tolist()] if model.tokenizer.vocabulary.add_bos else window.tolist()
        logits = model.logits(begun).astype(np.float64)
        log_probs = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True)) - logits.max(-1, keepdims=True)
        nll += [-log_probs[i, window[i + 1]] for i in range(48, 95)]
    found = perplexity(model, tokens, n_ctx=96, chunks=3)
    assert found.count == len(nll)
    np.testing.assert_allclose(found.nll, np.mean(nll), rtol=1e-4)


def test_pieces_and_batches_do_not_matter(model, tokens):
    one = perplexity(model, tokens, n_ctx=64, chunks=4)
    batch, model.n_batch = model.n_batch, 32
    try:
        other = perplexity(model, tokens, n_ctx=64, chunks=4)
    finally:
        model.n_batch = batch
    np.testing.assert_allclose(other.nll, one.nll, rtol=1e-3)


def test_divergence_is_llama_cpps(model, tokens, tmp_path):
    found = save_base(model, tokens, tmp_path / "base.kld", n_ctx=128)
    np.testing.assert_allclose(found.value, RECORDED["final"][0], rtol=2e-3)
    quantized = jaxllama.load(n_ctx=512)
    report = compare(quantized, tmp_path / "base.kld").report()
    recorded = {key.strip(): float(value) for key, value in RECORDED["divergence"].items()}
    np.testing.assert_allclose(report.ppl[0], recorded["Mean PPL(Q)"], rtol=1e-3)
    np.testing.assert_allclose(report.ppl_base[0], recorded["Mean PPL(base)"], rtol=1e-3)
    np.testing.assert_allclose(report.divergence[0], recorded["Mean    KLD"], atol=6e-6)
    np.testing.assert_allclose(100 * report.rms[0], recorded["RMS Δp"], atol=0.06)
    assert 100 * report.same_top[0] >= 99
    labels = {line.partition(":")[0].strip() for line in report.text().splitlines() if ":" in line}
    assert labels >= {key for key in recorded if "kl_divergence" not in key}


def test_a_model_does_not_differ_from_itself(model, tokens, tmp_path):
    save_base(model, tokens, tmp_path / "base.kld", n_ctx=64, chunks=4)
    report = compare(model, tmp_path / "base.kld").report()
    assert abs(report.divergence[0]) < 1e-5
    assert report.same_top[0] == 1
    assert abs(report.log_ratio[0]) < 1e-4


def test_damaged_bases(model, tokens, tmp_path):
    path = tmp_path / "base.kld"
    save_base(model, tokens, path, n_ctx=32, chunks=2)
    whole = path.read_bytes()
    for broken, message in (
        (b"something else entirely, long enough", "another kind of file"),
        (whole[:-1], "expected 2 chunks of 32 tokens"),
        (whole[:12] + b"\x01\0\0\0" + whole[16:], "a model with a vocabulary of 1 tokens"),
        (whole[:20] + b"\xff\xff\xff\x7f" + whole[24:], "outside the vocabulary"),
    ):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=message):
            compare(model, path)


def test_short_texts(model):
    with pytest.raises(ValueError, match="needs a text of at least 1024 tokens; this one has 3"):
        perplexity(model, [1, 2, 3], n_ctx=512)
    with pytest.raises(ValueError, match="a stride of 64 tokens needs chunks \\(n_ctx\\) of more"):
        perplexity(model, [1] * 200, n_ctx=64, stride=64)


def test_importance_is_llama_cpps(model, tokens):
    found = importance_matrix(model, tokens, n_ctx=128, dataset="stories")
    assert (found.chunks, found.chunk_size, found.datasets) == (18, 128, ["stories"])
    for name in WATCHED:
        counts, sums = RECORDED["importance"][name]
        assert found.entries[name].counts.tolist() == counts
        np.testing.assert_allclose(found.entries[name].sums[0, ::16], sums, rtol=2e-3)
    assert len(found.entries) == 7 * model.config.n_layer
    assert "output.weight" not in found.entries


def test_importance_counts_no_padding(model, tokens):
    """Windows that do not fill their bucket, and several in a batch: the sums of one alone."""
    whole = importance_matrix(model, tokens, n_ctx=72, chunks=3, score=False)
    parts = [importance_matrix(model, tokens[72 * i :], n_ctx=72, chunks=1, score=False) for i in range(3)]
    for name, entry in whole.entries.items():
        np.testing.assert_allclose(entry.sums, sum(p.entries[name].sums for p in parts), rtol=5e-3, atol=1e-5)
        assert entry.counts.tolist() == [3 * 72]


def test_importance_of_experts(tmp_path):
    """Each expert is counted for the rows that chose it."""
    from models import MODELS, write_model

    name = next(n for n in MODELS if "expert" in n)
    write_model(name, tmp_path / "model.gguf")
    model = jaxllama.load(tmp_path / "model.gguf", n_ctx=128)
    tokens = np.random.default_rng(0).integers(0, model.config.n_vocab, 128).tolist()
    found = importance_matrix(model, tokens, n_ctx=32, score=False)
    entry = found.entries["blk.0.ffn_down_exps.weight"]
    mixture = model.config.layers[0].feed_forward
    assert entry.counts.shape == (mixture.n_expert,)
    assert entry.counts.sum() == 128 * mixture.n_expert_used
    gate = found.entries["blk.0.ffn_gate_exps.weight"]
    router = found.entries["blk.0.ffn_gate_inp.weight"]
    np.testing.assert_allclose(gate.sums.sum(0), mixture.n_expert_used * router.sums[0], rtol=1e-4)


def test_statistics_of_importance(model, tokens):
    found = importance_matrix(model, tokens, n_ctx=64, chunks=2, score=False)
    table = {(r.layer, r.tensor): r for r in rows(found)}
    assert len(table) == len(found.entries)
    mean = found.entries["blk.1.ffn_up.weight"].mean()
    row = table[1, "ffn_up"]
    np.testing.assert_allclose([row.total, row.mean, row.high, row.low], [mean.sum(), mean.mean(), mean.max(), mean.min()], rtol=1e-5)
    assert table[0, "ffn_up"].similarity == 0 < row.similarity <= 1
    assert "ffn_down" in statistics(found, "name")


def test_hellaswag_is_llama_cpps(model):
    correct, shares = 0, []
    questions = pick(hellaswag((REFERENCE / "hellaswag.txt").read_text()), 400, uniform=True)
    for done, scored in enumerate(score_choices(model, questions), 1):
        correct += scored.correct
        shares.append(100 * correct / done)
    np.testing.assert_allclose(shares, RECORDED["hellaswag"], atol=1e-6)


def test_winogrande_is_llama_cpps(model):
    """llama.cpp does not read the last line of a file; and where little follows the word, its second score begins with the logits of the first (its FIXME)."""
    found = [s.scores for s in score_choices(model, winogrande((REFERENCE / "winogrande.csv").read_text()))]
    found, recorded = np.asarray(found[: len(RECORDED["winogrande"])]), np.asarray(RECORDED["winogrande"])
    wrong = np.zeros(found.shape, bool)
    wrong[7, 1] = True
    np.testing.assert_allclose(found[~wrong], recorded[~wrong], rtol=5e-3, atol=2e-4)


def test_multiple_choice_data():
    def text(t: str) -> bytes:
        return len(t).to_bytes(4, "little") + t.encode()

    def number(n: int) -> bytes:
        return n.to_bytes(4, "little")

    task = text("Who?") + number(2) + text("She") + text("He") + number(0) + number(1) + number(0)
    data = number(1) + number(8) + task
    assert multiple_choice(data) == [Question(("Who? She", "Who? He"), (1,))]
    for cut in range(len(data)):
        with pytest.raises(ValueError, match=r"end|empty|no tasks"):
            multiple_choice(data[:cut])
    with pytest.raises(ValueError, match="200 answers"):
        multiple_choice(number(1) + number(8) + text("Who?") + number(200))


def test_tasks_that_are_wrong(model):
    with pytest.raises(ValueError, match="has 5 lines"):
        hellaswag("a\n1\nb\nc\nd")
    with pytest.raises(ValueError, match="line 2: expected the number of an ending"):
        hellaswag("a\nx\nb\nc\nd\ne")
    with pytest.raises(ValueError, match="line 1: expected number"):
        winogrande("0,no blank here,a,b,1")
    with pytest.raises(ValueError, match="do not differ"):
        list(score_choices(model, [Question(("same", "same"), (0,))]))


def test_wilson_interval():
    low, high = wilson(8, 10)
    np.testing.assert_allclose([low, high], [0.4902, 0.9433], atol=1e-4)
