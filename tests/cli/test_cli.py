"""The command line, as a user types it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import types
from dataclasses import replace

import jax
import numpy as np
import pytest

import jaxllama
from jaxllama.cli import run
from jaxllama.cli.interrupt import Interrupt
from jaxllama.cli.loading import load_model, rope_overrides
from jaxllama.cli.log import Log
from jaxllama.cli.main import main
from jaxllama.cli.options import parse
from jaxllama.environment import available_memory, quiet_interrupt
from jaxllama.formats.gguf import open_gguf
from jaxllama.formats.importance import Entry, ImportanceMatrix, write_importance
from jaxllama.hub import choose_file, download, embedded_model, find_model
from jaxllama.layers.rope import Rope
from jaxllama.models import read_config

FAST = ["--no-compile-cache", "--temp", "0", "-c", "512"]  # the sizes of `default_model`, so programs are compiled once


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in list(os.environ):
        if name.startswith("LLAMA_ARG_"):
            monkeypatch.delenv(name)


@pytest.mark.exhaustive
def test_llama_cpps_continuation(shared_data, capsys):
    path = shared_data / "models" / "stories260K.gguf"
    assert main(["run", "-m", str(path), "-p", "Once upon a time", "--temp", "0", "-n", "60", "--no-compile-cache"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. "
        "She wanted to play with it, but it was too high.\nLily"
    )


def test_embedded_model_runs_without_arguments_and_reports(capsys):
    assert main(["run", "-n", "12", *FAST]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Once upon a time")
    for line in ("load time", "compile time", "prompt eval time", "eval time", "tokens per second", "total time"):
        assert line in captured.err


def test_prompt_options(tmp_path, capsys):
    (tmp_path / "prompt.txt").write_text("Ben was a bear.\n")
    assert main(["run", "-f", str(tmp_path / "prompt.txt"), "-n", "3", "--no-perf", *FAST]) == 0
    assert capsys.readouterr().out.startswith("Ben was a bear.")
    assert main(["run", "-p", r"Ben\nwas", "-n", "2", "--no-display-prompt", "--verbose-prompt", *FAST]) == 0
    captured = capsys.readouterr()
    assert not captured.out.startswith("Ben")
    assert "number of tokens in prompt = " in captured.err
    assert r"'\n'" in captured.err


def test_the_same_seed_tells_the_same_story(capsys):
    texts = []
    for seed in ("7", "7", "8"):
        main(["run", "-n", "20", "-s", seed, "--temp", "1", "--no-compile-cache", "-c", "512"])
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]


def test_a_prompt_alone_is_read(capsys):
    assert main(["run", "-p", "Once upon a time", "-n", "0", *FAST]) == 0
    assert capsys.readouterr().out.strip() == "Once upon a time"


@pytest.mark.exhaustive
def test_a_full_context_says_so(capsys):
    assert main(["run", "-n", "-1", "--ignore-eos", "--no-compile-cache", "--exact", "-c", "256"]) == 0  # the sizes of `story_model`
    assert "the context of 256 tokens is full; -c sets a larger one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "-m", "nowhere.gguf"], "nowhere.gguf: no such file"),
        (["run", "--override-kv", "nonsense"], "--override-kv"),
        (["run", "--override-kv", "general.architecture=str:marsian"], "mamba2, openelm, qwen2"),
        (["run", "-p", "a " * 500, "-c", "16"], "the context holds 16"),
        (["run", "-n", "1", "-l", "99999+1"], "jaxllama: -l: there is no token 99999; tokens are from 0 to 2047"),
        (["run", "-n", "1", "-o", "/nowhere/x"], "jaxllama: -o: /nowhere/x: No such file or directory"),
        (["inspect", "nowhere.gguf"], "nowhere.gguf"),
        (["inspect", __file__], "expected GGUF"),
    ],
)
def test_errors_are_one_line(arguments, message, capsys):
    assert main([*arguments, *(["--no-compile-cache"] if arguments[0] == "run" else [])]) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_inspect_of_a_file_that_is_not_complete(tmp_path, capsys):
    whole = embedded_model().read_bytes()
    (tmp_path / "part.gguf").write_bytes(whole[: len(whole) // 2])
    assert main(["inspect", str(tmp_path / "part.gguf")]) == 0
    assert f"not complete: part.gguf has {len(whole) // 2} of " in capsys.readouterr().out
    assert main(["run", "-m", str(tmp_path / "part.gguf")]) == 1
    assert "bytes of data in the file" in capsys.readouterr().err


def test_python_runs_the_package():
    done = subprocess.run([sys.executable, "-m", "jaxllama", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout == f"jaxllama {jaxllama.__version__}\n"


def test_inspect(capsys):
    assert main(["inspect", str(embedded_model())]) == 0
    out = capsys.readouterr().out
    for text in ("GGUF version 3, little endian", "llama.block_count", "token_embd.weight", "Q8_0", "bytes per weight (8.500 bits)", "STRING[2048]"):
        assert text in out


@pytest.mark.exhaustive
def test_control_c_stops_cleanly():
    heard = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    command = ["-m", "jaxllama.cli.main", "run", "-n", "-1", "--ignore-eos", "-c", "60000", "--no-compile-cache"]
    process = subprocess.Popen([sys.executable, "-c", heard, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.read(60)  # the prompt and some of the text
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "total time" in err


def test_files_of_a_repository():
    names = ["README.md", "m-Q4_K_M.gguf", "m-Q8_0.gguf", "mmproj-f16.gguf", "b-Q5_K_M-00001-of-00002.gguf", "b-Q5_K_M-00002-of-00002.gguf"]
    assert choose_file("a/b", names, None) == "m-Q4_K_M.gguf"
    assert choose_file("a/b", names, "q8_0") == "m-Q8_0.gguf"
    assert choose_file("a/b", names, "Q5_K_M") == "b-Q5_K_M-00001-of-00002.gguf"
    with pytest.raises(FileNotFoundError, match="no GGUF file with Q4_K in its name"):
        choose_file("a/b", names, "Q4_K")


def test_download_fetches_all_shards(monkeypatch, tmp_path):
    fetched = []

    def fetch(repo: str, name: str, **_: object) -> str:
        fetched.append((repo, name))
        return str(tmp_path / name)

    siblings = [types.SimpleNamespace(rfilename=f"m-0000{n}-of-00002.gguf") for n in (1, 2)]
    fake = types.SimpleNamespace(model_info=lambda repo, **_: types.SimpleNamespace(siblings=siblings), hf_hub_download=fetch)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    assert find_model("a/b") == tmp_path / "m-00001-of-00002.gguf"
    assert fetched == [("a/b", "m-00001-of-00002.gguf"), ("a/b", "m-00002-of-00002.gguf")]
    with pytest.raises(FileNotFoundError, match=r"has no file x\.gguf"):
        download("a/b", file="x.gguf")


class Hub:
    """A hub that answers as it is told, with a cache of its own."""

    class CacheNotFound(Exception):
        pass

    def __init__(self, cache: dict[str, list[str]], error: Exception | None = None):
        self.cache, self.error, self.asked = cache, error, []

    def model_info(self, repo, *, token, timeout):
        self.asked.append((repo, token, timeout))
        if self.error:
            raise self.error
        return types.SimpleNamespace(siblings=[types.SimpleNamespace(rfilename="m-Q8_0.gguf")])

    def snapshot_download(self, repo, *, local_files_only):
        assert local_files_only
        if repo not in self.cache:
            raise FileNotFoundError("no snapshot")
        return self.cache[repo]

    def hf_hub_download(self, repo, name, *, token, local_files_only):
        return f"{self.cache.get(repo, '/fetched')}/{name}"


def refused(status: int) -> Exception:
    error = OSError(f"{status} of the hub\nand more")
    error.response = types.SimpleNamespace(status_code=status)  # type: ignore[attr-defined]
    return error


def test_without_a_network(monkeypatch, tmp_path):
    """One request, one line; what was downloaded before serves."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "m-Q4_K_M.gguf").touch()
    hub = Hub({"a/known": str(tmp_path)}, RuntimeError("[Errno -2] Name or service not known"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert find_model("a/known") == tmp_path / "sub" / "m-Q4_K_M.gguf"
    with pytest.raises(ConnectionError, match=r"^a/b: the hub cannot be reached \(\[Errno -2\] Name or service not known\), and the file is not in the cache$"):
        jaxllama.load("a/b")
    assert len(hub.asked) == 2
    assert 0 < hub.asked[0][2] <= 10
    assert find_model("a/known", offline=True) == tmp_path / "sub" / "m-Q4_K_M.gguf"
    with pytest.raises(ConnectionError, match=r"nobody was asked \(offline\)"):
        find_model("a/b", offline=True)
    assert len(hub.asked) == 2


def test_what_the_hub_refuses(monkeypatch, capsys):
    for status, message in ((401, "no such repository, or it needs a token (-hft, HF_TOKEN)"), (500, "cannot be reached (500 of the hub)")):
        monkeypatch.setitem(sys.modules, "huggingface_hub", Hub({}, refused(status)))
        assert main(["run", "-hf", "a/b", "-hft", "secret"]) == 1
        assert message in capsys.readouterr().err
    hub = Hub({})
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert str(download("a/b", token="secret")) == "/fetched/m-Q8_0.gguf"
    assert hub.asked[0][1] == "secret"
    assert main(["run", "-hff", "x.gguf"]) == 1
    assert "-hff: names a file in a repository, which -hf names" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("Unable to initialize backend 'cuda': no GPU\nand more"), "Unable to initialize backend 'cuda': no GPU"),
        (AssertionError(), "is JAX's package for it installed?"),
    ],
)
def test_no_device(error, reason, monkeypatch, capsys):
    def none():
        raise error

    monkeypatch.setattr(jax, "devices", none)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr("jaxllama.cli.run.sampling_of", lambda _: pytest.fail("an array was made before the device was found"))
    for arguments in (["run", "--no-compile-cache"], ["--list-devices"]):
        assert main(arguments) == 1
        assert capsys.readouterr().err == f"jaxllama: JAX finds no device for JAX_PLATFORMS=cuda: {reason}\n"


def test_positions_are_set_from_the_command_line():
    def rope(*arguments: str) -> Rope:
        args = parse(run.VERB, arguments, {})
        return read_config(open_gguf(embedded_model(), overrides=rope_overrides(args, embedded_model(), []))).layers[0].mixer.rope

    own = rope()
    assert rope("--rope-scaling", "linear", "--rope-scale", "4") == replace(own, scaling="linear", factor=4.0)
    assert rope("--rope-freq-scale", "0.25").factor == 4.0
    assert rope("--rope-scaling", "none", "--rope-scale", "4") == own
    yarn = "--rope-scaling yarn --rope-scale 4 --rope-freq-base 500000 --yarn-orig-ctx 256 --yarn-ext-factor 0.5 --yarn-attn-factor 2 --yarn-beta-slow 3"
    expected = replace(own, scaling="yarn", factor=4.0, base=500000.0, original_context=256, extrapolation=0.5, attention_factor=2.0, beta_slow=3.0)
    assert rope(*yarn.split(), "--yarn-beta-fast", "40") == replace(expected, beta_fast=40.0)
    assert rope("--rope-scale", "4", "--rope-freq-scale", "0.5").factor == 2.0


def test_what_load_is_asked_for(monkeypatch):
    """Chunks of a prompt, modes of loading, types of the cache and threads."""
    asked = []
    monkeypatch.setattr(jaxllama, "load", lambda path, **options: asked.append(options) or (_ for _ in ()).throw(ValueError("enough")))

    def load(*arguments: str) -> dict[str, object]:
        with pytest.raises(ValueError, match="enough"):
            load_model(parse(run.VERB, ["--no-compile-cache", *arguments], {}), Log(), n_ctx=None)
        return asked[-1]

    assert load()["n_batch"] == 512
    assert load("-ub", "64")["n_batch"] == 64
    assert load("-b", "32")["n_batch"] == 32
    assert load("-b", "1000", "-ub", "1024")["n_batch"] == 1000
    modes = {
        "--no-mmap": "none",
        "--mmap": "mmap",
        "-lm mlock": "none",
        "-lm mmap+mlock": "mmap",
        "-lm dio": "none",
        "-lm none --mmap": "mmap",
        "--mmap -lm none": "none",
        "": "auto",
    }
    for arguments, mode in modes.items():
        assert load(*arguments.split())["load_mode"] == mode, arguments
    assert load("-ctv", "bf16")["cache_type"] == load("-ctk", "bf16", "-ctv", "bf16")["cache_type"] == "bf16"
    with pytest.raises(ValueError, match="-ctk f16 -ctv f32: K and V of different types are not supported yet"):
        load_model(parse(run.VERB, ["-ctk", "f16", "-ctv", "f32"], {}), Log(), n_ctx=None)


def test_threads_of_the_pool():
    """`-t` is the number of XLA's threads, on which the kernels run too."""
    code = """
import os
from jaxllama.cli.main import main
from jaxllama.environment import set_threads, thread_count
assert main(["run", "-t", "3", "--no-compile-cache", "-m", "nowhere.gguf"]) == 1
set_threads(7)  # too late
names = [open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task")]
print(names.count("tf_XLAEigen"), thread_count())
"""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("only Linux shows the threads of a process")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "3 3\n"


@pytest.mark.parametrize(("program", "traceback"), [("bin/jaxllama", False), ("other.py", True)])
def test_control_c_during_the_imports(program, traceback):
    """The command ends by the signal; programs that import jaxllama keep Python's handler."""
    code = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs tests in the background has it ignored
sys.argv = [{program!r}]
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "jaxllama.api":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
import jaxllama
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT or traceback
    assert ("KeyboardInterrupt" in done.stderr) == traceback


def test_control_c_that_is_ignored_stays_ignored(monkeypatch, capsys):
    """As under `nohup`, and in background jobs of scripts."""
    monkeypatch.setattr(sys, "argv", ["bin/jaxllama", "--version"])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        quiet_interrupt()
        assert main(["--version"]) == 0
        with Interrupt() as interrupt:
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGINT)
        assert not interrupt.asked
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with Interrupt():
            assert callable(signal.getsignal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)


def test_downloading_needs_the_hub_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxllama\[hub\]'"):
        download("a/b")


def test_quantize_and_what_it_prints(tmp_path, capsys):
    source, out = str(embedded_model()), tmp_path / "small.gguf"
    assert main(["quantize", "--allow-requantize", source, str(out), "--dry-run", "q4_k"]) == 0
    shown = capsys.readouterr().err
    assert "output_norm.weight" in shown
    assert "(q4_k)" in shown
    assert "quant size" in shown
    assert not out.exists()
    assert main(["quantize", source, str(out), "Q4_0"]) == 1
    assert "--allow-requantize allows requantizing" in capsys.readouterr().err
    arguments = [
        "quantize",
        "--allow-requantize",
        "--tensor-type",
        r"blk\.0\.ffn_up=q8_0",
        "--override-kv",
        "general.name=str:small",
        source,
        str(out),
        "Q4_0",
        "1",
    ]
    assert main(arguments) == 0
    assert "[  35/" in capsys.readouterr().err
    assert main(["inspect", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "'small'" in shown
    assert re.search(r"blk.0.ffn_up.weight +Q8_0", shown)
    assert re.search(r"blk.1.ffn_up.weight +Q4_0", shown)
    assert main(arguments) == 1
    assert "expected a file name that does not exist yet" in capsys.readouterr().err
    assert np.isfinite(jaxllama.load(out, n_ctx=64).logits("Once")).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in.gguf", "out.gguf", "Q4_9"], "no file type 'Q4_9'"),
        (["--allow-requantize", "--tensor-type", "ffn_up=iq2_xxs", "in.gguf", "Q4_0"], "an importance matrix (--imatrix) for IQ2_XXS (in a file of type Q4_0)"),
        (["in.gguf"], "expected IN [OUT] TYPE"),
        (["in.gguf", "Q4_0", "many"], "NTHREADS: expected a whole number from 1 to 4096, found 'many'"),
        (["--output-tensor-type", "q9", "in.gguf", "Q4_0"], "there is no tensor type 'q9'"),
        (["--tensor-type", "attn_q", "in.gguf", "Q4_0"], "expected REGEX=TYPE, found 'attn_q'"),
        (["--tensor-type", "(=q8_0", "in.gguf", "Q4_0"], "is not a valid regular expression"),
        (["--prune-layers", "1,x", "in.gguf", "Q4_0"], "expected numbers separated by commas"),
        (["--include-weights", "a", "--exclude-weights", "b", "in.gguf", "Q4_0"], "cannot be used together"),
        (["missing.gguf", "Q4_0"], "missing.gguf"),
    ],
)
def test_wrong_ways_to_quantize(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if "missing.gguf" not in arguments:
        (tmp_path / "in.gguf").write_bytes(embedded_model().read_bytes())
    assert main(["quantize", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_quantize_tells_of_what_has_no_effect(tmp_path, capsys):
    source, plan = str(embedded_model()), ["quantize", "--dry-run", "--allow-requantize"]
    rules = [r"blk\.99=q8_0", "attn_norm=q8_0", "ffn=q8_0", "ffn_up=q5_0", "token_embd=q6_k"]
    assert main([*plan, *(part for rule in rules for part in ("--tensor-type", rule)), "--override-kv", "llama.contxt=int:7", source, "Q4_0"]) == 0
    shown = capsys.readouterr().err
    assert r"warning: --tensor-type blk\.99=Q8_0 has no effect: no tensor has such a name" in shown
    for rule in ("attn_norm=Q8_0", "ffn_up=Q5_0"):
        assert f"warning: --tensor-type {rule} has no effect: the tensors that it names stay as they are, or follow a rule before it" in shown
    assert "warning: --override-kv: the file has no 'llama.contxt'; it is added" in shown
    assert shown.count("warning") == 4
    assert main([*plan, "--pure", "--output-tensor-type", "q8_0", "--tensor-type", "ffn=q8_0", source, "COPY"]) == 0
    assert capsys.readouterr().err.count("has no effect: COPY changes no format") == 3
    assert main([*plan, "--include-weights", "ffn", source, "Q4_0"]) == 1
    assert "they need --imatrix" in capsys.readouterr().err
    write_importance(ImportanceMatrix({"blk.0.strange.weight": Entry(np.ones((1, 4), np.float32), np.ones(1, np.int64))}), tmp_path / "strange.gguf")
    assert main([*plan, "--imatrix", str(tmp_path / "strange.gguf"), "--exclude-weights", "attn", source, "Q4_0"]) == 0
    shown = capsys.readouterr().err
    assert "the importance matrix has 1 entries for tensors that the model lacks: blk.0.strange.weight" in shown
    assert "--exclude-weights attn has no effect" in shown


def test_metadata_that_replaces_nothing_is_told(capsys):
    """And verbs that need no weights heed it too."""
    command = ["tokenize", "-p", "a dog", "--ids", "--override-kv"]
    assert main([*command, "tokenizer.ggml.add_bos_token=bool:true,tokenizer.gglm.typo=int:1"]) == 0
    captured = capsys.readouterr()
    assert "warning: --override-kv: the file has no 'tokenizer.gglm.typo'" in captured.err
    assert main([*command, "tokenizer.ggml.add_bos_token=bool:false"]) == 0
    without = capsys.readouterr()
    assert "tokenizer.gglm" not in without.err
    assert json.loads(captured.out)[1:] == json.loads(without.out)


def test_a_context_beyond_the_training_is_told(capsys):
    args = parse(run.VERB, ["--no-compile-cache"], {})
    for n_ctx, told in ((512, False), (513, True)):
        load_model(args, Log(args), n_ctx=n_ctx)
        assert ("the model was trained with at most 512 tokens" in capsys.readouterr().err) == told


@pytest.mark.exhaustive
def test_importance_matrix_from_text_to_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("Once upon a time there was a bear. The bear liked honey and berries. " * 20)
    common = ["-f", "text.txt", "-c", "32", "--no-compile-cache"]
    assert main(["imatrix", *common, "--chunks", "4", "-o", "a.gguf"]) == 0
    assert re.fullmatch(r"(\[\d\][\d.]+,){4}\n", capsys.readouterr().out)
    assert main(["imatrix", *common, "--chunks", "2", "-o", "b.dat", "--output-format", "dat", "--no-ppl", "--save-frequency", "1"]) == 0
    assert (tmp_path / "b.dat.at_1").exists()
    assert main(["imatrix", "--in-file", "a.gguf", "--in-file", "b.dat", "-c", "32", "-o", "c.gguf"]) == 0
    assert main(["imatrix", "--in-file", "c.gguf", "--show-statistics"]) == 0
    assert "ffn_down" in capsys.readouterr().out
    assert main(["quantize", "--allow-requantize", "--imatrix", "c.gguf", str(embedded_model()), "out.gguf", "IQ2_XS"]) == 0
    assert "importance of 35 tensors" in capsys.readouterr().err
    assert main(["quantize", "--allow-requantize", str(embedded_model()), "other.gguf", "IQ2_XS"]) == 1
    assert "expected an importance matrix (--imatrix) for IQ2_XS" in capsys.readouterr().err
    assert main(["imatrix", "-c", "32"]) == 1
    assert "imatrix: expected a text (-f FILE), or importance matrices to merge" in capsys.readouterr().err


def test_perplexity_and_divergence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("Once upon a time there was a bear. The bear liked honey and berries. " * 30)
    common = ["-f", "text.txt", "-c", "64", "--chunks", "4", "--no-compile-cache"]
    assert main(["perplexity", *common, "--kl-divergence-base", "base.kld"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^\[1\][\d.]+,\[2\]", out)
    value = float(re.findall(r"Final estimate: PPL = ([\d.]+)", out)[0])
    assert main(["perplexity", "--kl-divergence", "--kl-divergence-base", "base.kld", "-c", "64", "--no-compile-cache"]) == 0
    out = capsys.readouterr().out
    assert abs(float(re.findall(r"Mean PPL\(Q\) +: +([\d.]+)", out)[0]) - value) < 1e-2
    assert "Same top p: 100.000" in out
    assert main(["perplexity", "--kl-divergence"]) == 1
    assert "--kl-divergence needs --kl-divergence-base FILE" in capsys.readouterr().err
    assert main(["perplexity", "-f", "base.kld", "--winogrande", "--hellaswag"]) == 1
    assert "--kl-divergence cannot be used together" in capsys.readouterr().err


def test_a_context_that_no_memory_holds(capsys):
    if available_memory() is None:
        pytest.skip("the system does not say how much memory is free")
    assert main(["run", "-c", "2000000000", "-n", "1", "-p", "a"]) == 1
    assert re.search(r"^jaxllama: the KV cache of 1 slots .* lower n_ctx$", capsys.readouterr().err, re.M)
