"""The options of every verb, without running any: what is understood, what is told, what is refused."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from jaxllama.cli import bench, chat, imatrix, perplexity, quantize, run, tokenize
from jaxllama.cli.main import VERBS, main
from jaxllama.cli.options import INFORM, Option, UsageError, Verb, parse
from jaxllama.cli.options.kinds import whole
from jaxllama.cli.prompt import unescape
from jaxllama.environment import thread_count
from jaxllama.hub import embedded_model

RECORDED = (Path(__file__).resolve().parents[1] / "reference" / "llama_options.txt").read_text().splitlines()
README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
TOOLS = {run.VERB: {"COMMON", "COMPLETION", "CLI"}, chat.VERB: {"COMMON", "COMPLETION", "CLI"}}
TOOLS |= {perplexity.VERB: {"COMMON", "PERPLEXITY"}, imatrix.VERB: {"COMMON", "IMATRIX"}, tokenize.VERB: {"COMMON", "TOKENIZE"}}
WORDS = {quantize.VERB: ["in.gguf", "Q4_0"]}


def used(verb: Verb) -> list[Option]:
    return list(dict.fromkeys(option for option, uses in verb.index.values() if uses))


def least(verb: Verb) -> list[str]:
    """Arguments that a verb needs at least."""
    return ["x"] * verb.least


def refusal(verb: Verb, *arguments: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        parse(verb, [*arguments, *least(verb)], environ or {})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("verb", TOOLS, ids=lambda verb: verb.name)
def test_all_of_llama_cpps_options_are_known(verb):
    """With their values and variables; recorded from its source."""
    own = {name: option for option in INFORM for name in option.names} | {name: option for name, (option, _) in verb.index.items()}
    count = 0
    for line in RECORDED:
        tools, names, values, *rest = line.split()
        if not TOOLS[verb] & set(tools.split(",")):
            continue
        count += 1
        off = next((word[1:].split("/") for word in rest if word[0] == "!"), [])
        variable = next((word[1:] for word in rest if word[0] == "$"), "")
        for name in names.split("/"):
            option = own[name]
            assert name in option.names, name
            assert (0 if option.is_switch else option.operands) == int(values), name
            assert set(off) <= set(option.off), name
            assert variable in ("", option.variable, "LLAMA_ARG_DRAFT_MAX", "LLAMA_ARG_DRAFT_MIN"), (name, "two old names, which llama.cpp has removed")
    assert count > 120


COPIED = ["-m", "model.gguf", "-p", "Building a website can be done in 10 simple steps:", "-n", "400"]


def test_the_commands_that_everybody_copies():
    args = parse(run.VERB, COPIED, {})
    assert (args.model, args.prompt, args.n_predict, args.told) == ("model.gguf", COPIED[3], 400, [])
    args = parse(run.VERB, [*COPIED, "-ngl", "99", "-t", "8", "-c", "4096", "-fa", "on"], {})
    assert (args.threads, args.n_ctx) == (8, 4096)
    assert [line.split(":")[0] for line in args.told] == ["-ngl", "-fa"]


def test_options_alone_are_the_verb_run(monkeypatch, capsys):
    seen = []
    monkeypatch.setattr("jaxllama.cli.run.load_model", lambda args, *_, **__: seen.append(args) or (_ for _ in ()).throw(ValueError("enough")))
    assert main(COPIED) == 1
    assert seen[0].prompt == COPIED[3]
    assert capsys.readouterr().err == "no verb: this is `jaxllama run`\njaxllama: enough\n"


@pytest.mark.parametrize("text", ["-hello", "--temp", "-1", "a b", "", "-"])
def test_a_value_may_look_like_anything(text):
    assert parse(run.VERB, ["-p", text, "-n", "3"], {}).prompt == text
    assert parse(run.VERB, ["-n", "3", f"--prompt={text}"], {}).prompt == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "gl"], "-n: expected a whole number of at least -2, found 'gl'"),
        (["--tem", "1"], "there is no option --tem; did you mean --temp?"),
        (["-ngl99"], "there is no option -ngl99; did you mean -ngl?"),
        (["-n=3"], "there is no option -n=3; write -n 3"),
        (["-e=1"], "-e: takes no value, found '1'"),
        (["-n", "99999999999"], "-n: expected a whole number from -2 to 2147483647, found '99999999999'"),
        (["-t", "5000"], "-t: expected a whole number from -1 to 4096, found '5000'"),
        (["--temp", "1e39"], "--temp: expected a finite number that float32 can hold (0, or 1.17549e-38 to 3.40282e+38 in size), found '1e39'"),
        (["--repeat-penalty", "1e-39"], "--repeat-penalty: expected a finite number that float32 can hold"),
        (["--rope-scale", "1e-30"], "--rope-scale: expected a finite number from 1e-06 to 1e+06, found '1e-30'"),
        (["-no_cnv"], "there is no option -no_cnv; did you mean -no-cnv?"),
        (["--qqqqq"], "there is no option --qqqqq"),
        (["-n"], "-n: expected a value, found none"),
        (["--ignore-eos=yes"], "--ignore-eos: takes no value"),
        (["prompt"], "unexpected argument 'prompt'"),
        (["-ctk", "q4_0"], "-ctk q4_0: a quantized KV cache is not supported yet"),
        (["-ctk", "q9"], "-ctk: expected one of f16, bf16, f32, found 'q9'"),
        (["-sm", "row"], "-sm row: using several devices is not supported yet"),
        (["--lora", "a.gguf"], "--lora: applying LoRA adapters is not supported yet"),
        (["-md", "draft.gguf"], "-md: speculative decoding is not supported yet"),
        (["--context-shift"], "--context-shift: shifting the context is not supported yet"),
        (["--control-vector-layer-range", "1"], "expected 2 values"),
    ],
)
def test_what_cannot_be_is_one_line(arguments, message):
    assert message in refusal(run.VERB, *arguments)


def test_values():
    args = parse(run.VERB, "--temp 0.5 -rea off -r a -r b -n 3 -n 4 --no-display-prompt".split(), {})
    assert (args.temperature, args.reasoning, args.stop, args.n_predict, args.display_prompt) == (0.5, "off", ["a", "b"], 4, False)
    args = parse(run.VERB, [], {})
    assert (args.temperature, args.reasoning, args.stop, args.n_predict, args.display_prompt, args.conversation) == (None, "auto", [], -1, True, None)
    assert (args.ignore_eos, args.seed, args.load_mode, args.n_batch, args.n_ubatch) == (False, -1, "auto", 2048, 512)


def test_long_names_take_underscores_and_words_may_follow():
    assert parse(run.VERB, ["--top_k", "3"], {}).top_k == 3
    assert parse(quantize.VERB, ["in", "--dry-run", "out", "Q4_K_M"], {}).words == ["in", "out", "Q4_K_M"]
    assert parse(quantize.VERB, ["in", "out", "--imatrix", "x", "Q4_K_M", "--dry-run", "2"], {}).words == ["in", "out", "Q4_K_M", "2"]
    assert parse(quantize.VERB, ["--", "-in", "--out", "Q4_K_M"], {}).words == ["-in", "--out", "Q4_K_M"]


def test_options_win_over_variables():
    environ = {"LLAMA_ARG_CTX_SIZE": "77", "LLAMA_ARG_TOP_K": "3", "LLAMA_ARG_PERF": "off", "LLAMA_ARG_MODEL": "", "HF_TOKEN": "secret"}
    args = parse(run.VERB, [], environ)
    assert (args.n_ctx, args.top_k, args.perf, args.model, args.hf_token) == (77, 3, False, None, "secret")
    args = parse(run.VERB, ["-c", "5", "--perf"], environ)
    assert (args.n_ctx, args.perf) == (5, True)
    assert not parse(run.VERB, [], {"LLAMA_ARG_NO_PERF": "anything"}).perf
    assert parse(run.VERB, [], {"LLAMA_ARG_OFFLINE": "1"}).offline
    assert not parse(run.VERB, [], {"LLAMA_ARG_OFFLINE": ""}).offline


THINGS = [
    (run.VERB, "-p a", "-f b", {"prompt": "a"}, {"file": "b"}),
    (run.VERB, "-bf a", "-p b", {"binary_file": "a"}, {"prompt": "b"}),
    (perplexity.VERB, "-p a", "-f b", {"prompt": "a"}, {"file": "b"}),
    (tokenize.VERB, "-p a", "-f b", {"prompt": "a"}, {"file": "b"}),
    (run.VERB, "-sys a", "-sysf b", {"system": "a"}, {"system_file": "b"}),
    (run.VERB, "--samplers top_k", "--sampler-seq m", {"samplers": "top_k"}, {"sampler_seq": "m"}),
    (run.VERB, "--grammar a", "-jf b", {"grammar": "a"}, {"json_schema_file": "b"}),
    (run.VERB, "-j {}", "--grammar-file b", {"json_schema": "{}"}, {"grammar_file": "b"}),
    (run.VERB, "--chat-template a", "--chat-template-file b", {"chat_template": "a"}, {"chat_template_file": "b"}),
    (run.VERB, "--rope-scale 2", "--rope-freq-scale 0.25", {"rope_scale": 2.0}, {"rope_freq_scale": 0.25}),
    (run.VERB, "-lm mmap", "--no-mmap", {"load_mode": "mmap"}, {"mmap": False}),
    (run.VERB, "-lv 1", "-v", {"verbosity": 1}, {"verbose": True}),
]


@pytest.mark.parametrize(("verb", "one", "other", "first", "second"), THINGS)
def test_of_options_that_set_one_thing_the_last_counts(verb, one, other, first, second):
    idle = vars(parse(verb, least(verb), {}))
    for given, left, taken in (([*one.split(), *other.split()], first, second), ([*other.split(), *one.split()], second, first)):
        args = parse(verb, [*given, *least(verb)], {})
        assert {name: getattr(args, name) for name in taken} == taken
        assert {name: getattr(args, name) for name in left} == {name: idle[name] for name in left}
        names = [word for word in given if word in (one.split()[0], other.split()[0])]
        assert args.told == [f"{', '.join(names)}: they set the same; the last counts"]


def test_what_is_given_twice_is_told():
    args = parse(run.VERB, "-n 3 --predict 4 -n 5 -r a -r b".split(), {})
    assert (args.n_predict, args.stop, args.told) == (5, ["a", "b"], ["-n, --predict: they set the same; the last counts"])
    assert parse(run.VERB, ["-n", "3", "-n", "4"], {}).told == ["-n: given 2 times; the last counts"]
    args = parse(run.VERB, ["--chat-template", "chatml"], {"LLAMA_ARG_CHAT_TEMPLATE_FILE": "x", "LLAMA_ARG_TOP_K": "3"})
    assert (args.chat_template, args.chat_template_file, args.top_k) == ("chatml", None, 3)
    assert args.told == ["LLAMA_ARG_CHAT_TEMPLATE_FILE: no effect; --chat-template counts"]
    args = parse(bench.VERB, ["-m", "a", "-m", "b"], {"LLAMA_ARG_MODEL": "c"})
    assert (args.models, args.told) == (["a", "b"], ["LLAMA_ARG_MODEL: no effect; -m counts"])


@pytest.mark.parametrize("text", ["١٢", "1_0", " 1", "1\n", "²", "１"])
def test_numbers_have_digits_of_ascii_and_nothing_else(text, monkeypatch, capsys):
    for verb, option in ((run.VERB, "-n"), (run.VERB, "--temp"), (run.VERB, "-ngl"), (run.VERB, "-mg"), (perplexity.VERB, "--chunks"), (bench.VERB, "-n")):
        assert refusal(verb, option, text).startswith(f"{option}: expected "), option
    assert main(["quantize", "in", "Q4_0", text]) == 1
    assert capsys.readouterr().err.startswith("jaxllama: NTHREADS: expected a whole number from 1 to 4096, found ")
    monkeypatch.setenv("NPROC", text)
    monkeypatch.delenv("PJRT_NPROC", raising=False)
    assert thread_count() != 10
    if text.strip() == text:
        for arguments in (["run", "-l", f"{text}+1"], ["inspect", str(embedded_model()), "--override-kv", f"a=int:{text}"]):
            assert main(arguments) == 1
            assert repr(text)[1:-1] in capsys.readouterr().err


IDLE_VALUES = {
    "-ngl": ("99 -1 auto all", "many 1.5 ''"),
    "-mg": ("0", "x"),
    "-ncmoe": ("0 3", "-1 x"),
    "-fa": ("on off auto 1 0", "maybe On"),
    "-fit": ("on off enabled", "auto"),
    "-fitt": ("1 1,2 1/2", "x 1,"),
    "-ot": ("a=CPU a=CPU,b=CPU", "a a=CPU,b"),
    "-C": ("ff 0xFF", "xyz"),
    "-Cr": ("0-3 0- -3", "3 a-b"),
    "--prio": ("-1 3", "-2 4 x"),
    "--prio-batch": ("0 3", "-1 4"),
    "--poll": ("0 50", "x"),
    "--numa": ("distribute isolate numactl", "x"),
    "-lzm": ("on off auto", "x"),
    "--keep": ("-1 4", "x"),
    "-cram": ("-1", "x"),
    "-dt": ("0.1 anything", ""),
}


@pytest.mark.parametrize("option", IDLE_VALUES)
def test_values_without_effect_are_what_llama_cpp_takes(option):
    good, bad = (shlex.split(values) for values in IDLE_VALUES[option])
    for value in good:
        assert [line.split(":")[0] for line in parse(run.VERB, [option, value], {}).told] == [option], value
    for value in bad:
        assert refusal(run.VERB, option, value).startswith(f"{option}: expected "), value


def test_llama_bench_takes_lists_of_them():
    told = parse(bench.VERB, "-ngl 0,99 -fa on,off -mg 0-1 --no-host 0,1".split(), {}).told
    assert [line.split(":")[0] for line in told] == ["-ngl, -mg, --no-host", "-fa"]
    assert refusal(bench.VERB, "-ngl", "0,x").startswith("-ngl: expected a whole number")
    assert refusal(bench.VERB, "-n", "5-1") == "-n: the range '5-1' has no numbers: it ends below its start"


def test_no_projector_is_what_there_is():
    for option in ("--mmproj-auto", "--no-mmproj", "--mmproj-offload", "--no-mmproj-offload"):
        assert "no effect" in parse(run.VERB, [option], {}).told[0]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"LLAMA_ARG_CTX_SIZE": "many"}, "LLAMA_ARG_CTX_SIZE: expected a whole number of at least 0, found 'many'"),
        ({"LLAMA_ARG_CTX_SIZE": ""}, "LLAMA_ARG_CTX_SIZE: expected a whole number of at least 0, found ''"),
        ({"LLAMA_ARG_PERF": ""}, "LLAMA_ARG_PERF: expected on or off, found ''"),
        ({"LLAMA_ARG_FIT": ""}, "LLAMA_ARG_FIT: expected one of on, off, found ''"),
        ({"LLAMA_ARG_PERF": "maybe"}, "LLAMA_ARG_PERF: expected on or off"),
        ({"LLAMA_ARG_RPC": "a:1"}, "LLAMA_ARG_RPC: using several machines is not supported yet"),
        ({"LLAMA_ARG_CACHE_TYPE_K": "q8_0"}, "LLAMA_ARG_CACHE_TYPE_K q8_0: a quantized KV cache is not supported yet"),
    ],
)
def test_a_variable_with_a_bad_value_is_named(environ, message):
    assert message in refusal(run.VERB, environ=environ)


def test_variables_of_options_without_effect():
    told = parse(run.VERB, [], {"LLAMA_ARG_N_GPU_LAYERS": "99", "LLAMA_ARG_CONTEXT_SHIFT": "0", "LLAMA_ARG_SWA_FULL": "0", "LLAMA_ARG_NUMA": ""}).told
    assert [line.split(":")[0] for line in told] == ["LLAMA_ARG_N_GPU_LAYERS"]
    assert parse(tokenize.VERB, ["-p", "x"], {"LLAMA_ARG_TEMPERATURE": "1", "LLAMA_ARG_THREADS": "x"}).told == []  # tokenize has no use for them


def test_each_reason_is_told_once():
    args = parse(perplexity.VERB, ["-ngl", "1", "-ngl", "2", "-mg", "0", "--temp", "1", "--top-k", "2", "--no-context-shift"], {})
    assert args.told == [
        "-ngl, -mg: no effect; the whole model is on JAX's first device (JAX_PLATFORMS=cpu takes the CPU)",
        "--temp, --top-k: no effect; `jaxllama perplexity` has no use for it",
    ]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_table(verb):
    """Every option is explained, and says one thing; what is still to come is an error, and not to want it is none."""
    for option in dict.fromkeys(option for option, _ in verb.index.values()):
        value = [] if option.is_switch else ["1"] * option.operands
        name = option.names[-1]
        assert not (option.idle and option.later), name
        assert option.idle or option.later or len(option.help) > 10, name
        assert bool(option.off) == bool(option.off_help) or option.idle or option.later, name
        if option.many:
            assert option.default is None, name
        if option.later:
            assert refusal(verb, name, *value) == f"{name}: {option.later} not supported yet"
            assert not option.off or parse(verb, [option.off[0], *least(verb)], {}).told == []
    values = [option.to for option in used(verb) if not option.idle and not option.later]
    assert len(values) == len(set(values)), "two options with one name in Python"


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_numbers_out_of_range_name_their_option(verb):
    for option in used(verb):
        if option.is_switch or "number" not in option.kind.expected or option.idle or option.later:
            continue
        for text in ("many", "", "nan", "inf", "1e400", "1,", *(() if "finite" in option.kind.expected else ("99999999999999999999", "-99999999999", "1.5"))):
            assert refusal(verb, option.names[-1], text).startswith(f"{option.names[-1]}: expected "), option.names
        assert option.default is None or option.many or option.kind.read(str(option.default)) == option.default


@pytest.mark.parametrize(
    ("verb", "option", "values"),
    [
        (perplexity.VERB, "--chunks", "0 -2 1.5"),
        (perplexity.VERB, "-c", "0 3 -1"),
        (perplexity.VERB, "--ppl-stride", "-1"),
        (perplexity.VERB, "--ppl-output-type", "2 -1"),
        (perplexity.VERB, "--hellaswag-tasks", "-1"),
        (imatrix.VERB, "--chunks", "0"),
        (imatrix.VERB, "--chunk", "-1"),
        (imatrix.VERB, "-ofreq", "-1"),
        (imatrix.VERB, "--save-frequency", "-1"),
        (imatrix.VERB, "-c", "0"),
        (bench.VERB, "-r", "0 -1"),
        (bench.VERB, "-ub", "0 1,0"),
        (bench.VERB, "-t", "0"),
        (bench.VERB, "-p", "-1 1- 2-1*1"),
        (bench.VERB, "-pg", "1 1,2,3 0,0"),
        (bench.VERB, "--delay", "-1"),
        (run.VERB, "-n", "-3"),
        (run.VERB, "-c", "-1"),
        (run.VERB, "-b", "0"),
        (run.VERB, "-ub", "0"),
        (run.VERB, "-t", "-2 5000"),
        (run.VERB, "-s", "-2 4294967296"),
        (run.VERB, "--temp", "1e39"),
        (run.VERB, "--repeat-penalty", "0 -1"),
        (run.VERB, "--repeat-last-n", "-2"),
        (run.VERB, "--dry-penalty-last-n", "-2"),
        (run.VERB, "--mirostat", "3 -1"),
        (run.VERB, "--reasoning-budget", "-2"),
        (run.VERB, "--rope-scale", "0 -1"),
        (run.VERB, "--rope-freq-base", "0"),
    ],
    ids=lambda x: x.name if isinstance(x, Verb) else None,
)
def test_limits(verb, option, values):
    for value in values.split():
        assert refusal(verb, option, value).startswith(f"{option}: "), value


def test_limits_themselves_are_allowed():
    args = parse(run.VERB, "-n -2 -c 0 -b 1 -ub 1 -t 4096 -s 4294967295 --repeat-last-n -1 --mirostat 2 --reasoning-budget -1".split(), {})
    assert (args.n_predict, args.n_ctx, args.n_batch, args.threads, args.seed, args.mirostat) == (-2, 0, 1, 4096, 2**32 - 1, 2)
    assert parse(perplexity.VERB, ["--chunks", "-1"], {}).chunks == -1
    assert whole(0, 2).expected == "a whole number from 0 to 2"


def test_help(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert main([]) == 2
    everything = capsys.readouterr().out
    assert main(["--help"]) == main(["help"]) == 0
    assert capsys.readouterr().out == everything * 2
    for verb in VERBS:
        assert verb.name in everything
        assert main([verb.name, "--help"]) == 0
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= 130
        for name in verb.index:
            assert verb.index[name][1] is False or re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown), name
    shown = " ".join(shown.split())
    main(["bench", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "prompt tokens of the prefill tests (pp); 0: none (default: 512)" in text
    main(["run", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "(default: 512) (env: LLAMA_ARG_UBATCH)" in text
    assert "not supported yet: " in text


def test_information(capsys):
    import jaxllama

    for arguments in (["--version"], ["version"], ["run", "-p", "--help", "--version"]):
        assert main(arguments) == 0
        assert capsys.readouterr().out == f"jaxllama {jaxllama.__version__}\n"
    assert main(["--list-devices"]) == 0
    assert capsys.readouterr().out.startswith("Available devices:\n  CPU0: ")
    assert main(["--cache-list"]) == 0
    assert capsys.readouterr().out.startswith("number of models in cache: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runn"], "there is no verb 'runn'; did you mean `jaxllama run`?"),
        (["xyz"], "there is no verb 'xyz'; there are run, chat"),
        (["server"], "a server is not supported yet"),
        (["run", "--nope"], "`jaxllama run --help` lists the options"),
        (["quantize"], "jaxllama quantize: expected IN [OUT] TYPE [NTHREADS]"),
        (["run", "--log-file", "/nowhere/x.log"], "--log-file: /nowhere/x.log: No such file or directory\n"),
        (["run", "-f", "/nowhere"], "jaxllama: -f: /nowhere: No such file or directory\n"),
        (["run", "-bf", "/nowhere"], "jaxllama: -bf: /nowhere: No such file or directory\n"),
        (["run", "-st", "-sysf", "/nowhere"], "jaxllama: -sysf: /nowhere: No such file or directory\n"),
        (["tokenize", "-f", "/nowhere"], "jaxllama: -f: /nowhere: No such file or directory\n"),
        (["apply-template", "-p", "hi", "--chat-template-file", "/nowhere"], "jaxllama: --chat-template-file: /nowhere: No such"),
        (["run", "--grammar-file", "/nowhere"], "jaxllama: --grammar-file: /nowhere: No such file or directory\n"),
        (["run", "-jf", "/nowhere"], "jaxllama: --json-schema-file: /nowhere: No such file or directory\n"),
        (["imatrix", "--in-file", "/nowhere"], "jaxllama: --in-file: "),
        (["grammar", "check", "/nowhere"], "jaxllama: /nowhere: No such file or directory\n"),
        (["run", "--samplers", "foo"], "jaxllama: --samplers: there is no sampler 'foo'"),
        (["run", "--sampler-seq", "Q"], "jaxllama: --sampler-seq: there is no sampler 'Q'"),
        (["run", "-l", "5"], "jaxllama: -l: expected a token id"),
        (["grammar", "chekc", "x"], "expected `jaxllama grammar check FILE [INPUT ...]`, found 'chekc'"),
    ],
)
def test_wrong_command_lines(arguments, message, capsys):
    assert main(arguments) in (1, 2)
    captured = capsys.readouterr()
    assert message in captured.err
    assert not captured.out


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_completion_for_bash(capsys, tmp_path):
    main(["--completion-bash"])
    script = capsys.readouterr().out
    (tmp_path / "a file.gguf").touch()

    def complete(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in ("jaxllama", *words))
        after = f'COMP_WORDS=({line}); COMP_CWORD={len(words)}; compopt() {{ :; }}; _jaxllama; printf "%s\\n" "${{COMPREPLY[@]}}"'
        return subprocess.run(["bash", "-c", f"{script}\n{after}"], capture_output=True, text=True, cwd=tmp_path, check=True).stdout.split("\n")[:-1]

    assert complete("tok") == ["tokenize"]
    assert complete("-m", "a") == ["a file.gguf"]
    assert complete("-m", "x", "--top-") == complete("run", "--top-")
    assert {"--version", "--verbose-prompt"} <= set(complete("--ver"))
    assert complete("run", "--top-") == ["--top-k", "--top-p", "--top-nsigma", "--top-n-sigma"]
    assert complete("run", "-m", "a") == ["a file.gguf"]
    assert complete("bench", "--cache-t") == ["--cache-type-k", "--cache-type-v"]


def test_the_commands_of_the_readme():
    blocks = "".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
    commands = [shlex.split(line, comments=True)[1:] for line in blocks.splitlines() if line.startswith("jaxllama ")]
    verbs = {verb.name: verb for verb in VERBS}
    assert len(commands) > 10
    for name, *arguments in commands:
        assert parse(verbs.get(name, run.VERB), arguments if name in verbs else [name, *arguments], {}).told == []


def test_escapes():
    assert unescape(r"a\nb\tc\\d\x41\q") == "a\nb\tc\\dA\\q"
    assert unescape(r"\xc3\xa9 \x4") == "é \\x4"  # bytes, as in llama.cpp


def test_variables_of_the_process_are_read(monkeypatch, capsys):
    for name in list(os.environ):
        if name.startswith("LLAMA_ARG_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LLAMA_ARG_CTX_SIZE", "many")
    assert main(["run"]) == 2
    assert "LLAMA_ARG_CTX_SIZE" in capsys.readouterr().err
