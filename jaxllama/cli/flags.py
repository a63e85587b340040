"""llama.cpp's options as a table: names, `LLAMA_ARG_*` variables, types. A flag on the command line wins over a variable."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        names: as llama.cpp spells them, the longest last; its name in Python comes from `to`.
        env: the variable, without `LLAMA_ARG_`; empty for none.
        type: of the value; bool for a switch.
        off: names that turn a switch off.
        many: it may be given several times.
    """

    names: tuple[str, ...]
    to: str
    help: str
    type: Callable[[str], Any] = str
    default: Any = None
    env: str = ""
    off: tuple[str, ...] = ()
    metavar: str = "N"
    many: bool = False


def _truth(text: str) -> bool:
    if text.lower() in ("1", "on", "true", "yes", "enabled"):
        return True
    if text.lower() in ("0", "off", "false", "no", "disabled"):
        return False
    raise ValueError(text)


MODEL = (
    Option(("-m", "--model"), "model", "GGUF file; the model in the package by default", env="MODEL", metavar="FNAME"),
    Option(("-hf", "-hfr", "--hf-repo"), "hf_repo", "model on the Hugging Face hub: user/repo[:quant]", env="HF_REPO", metavar="REPO"),
    Option(("-hff", "--hf-file"), "hf_file", "file in that repository", env="HF_FILE", metavar="FILE"),
    Option(("--override-kv",), "override_kv", "metadata instead of the file's: KEY=TYPE:VALUE,...", metavar="KEY=TYPE:VALUE"),
    Option(
        ("-lm", "--load-mode"),
        "load_mode",
        "mmap: share the weights with other processes through a packed copy in the cache folder; none: do not; auto: where it pays",
        default="auto",
        env="LOAD_MODE",
        metavar="MODE",
    ),
    Option(("--check-tensors",), "check_tensors", "look at every number of the model and stop at one that is not finite", bool, False),
)
CONTEXT = (
    Option(("-c", "--ctx-size"), "n_ctx", "context size in tokens; 0: the model's own", int, env="CTX_SIZE"),
    Option(("-b", "--batch-size"), "n_batch", "most prompt tokens at a time", int, 512, env="BATCH"),
    Option(("-ctk", "--cache-type-k"), "cache_type", "type of the key/value cache: f16, f32 or bf16", env="CACHE_TYPE_K", metavar="TYPE"),
    Option(("--exact",), "exact", "compute in float32 throughout (slow)", bool, False),
)
PROMPT = (
    Option(("-p", "--prompt"), "prompt", "text to continue", metavar="PROMPT"),
    Option(("-f", "--file"), "file", "file with the text to continue", metavar="FNAME"),
    Option(("-n", "--predict", "--n-predict"), "n_predict", "tokens to generate; -1: no limit", int, -1, env="N_PREDICT"),
    Option(("-e", "--escape"), "escape", "process \\n, \\t, \\\\ and so on in the prompt", bool, True, off=("--no-escape",)),
    Option(("-r", "--reverse-prompt"), "stop", "stop at this text", metavar="PROMPT"),
    Option(("--verbose-prompt",), "verbose_prompt", "show the prompt's tokens", bool, False),
    Option(("--display-prompt",), "display_prompt", "print the prompt before its continuation", bool, True, off=("--no-display-prompt",)),
    Option(("--perf",), "perf", "show timings at the end", bool, True, env="PERF", off=("--no-perf",)),
)
# Values that are not given leave the choice to the file's recommendations, and those missing to llama.cpp's defaults.
SAMPLING = (
    Option(("--samplers",), "samplers", "samplers in their order, with semicolons between them", metavar="SAMPLERS"),
    Option(("--sampler-seq", "--sampling-seq"), "sampler_seq", "the same in short (default: edskypmxt)", metavar="SEQUENCE"),
    Option(("-s", "--seed"), "seed", "of the random numbers; -1: a random one", int, -1, metavar="SEED"),
    Option(("--temp", "--temperature"), "temperature", "0: always the most likely token (default: 0.8)", float, env="TEMPERATURE"),
    Option(("--top-k",), "top_k", "keep the k most likely tokens; 0: all (default: 40)", int, env="TOP_K"),
    Option(("--top-p",), "top_p", "keep the most likely tokens up to this probability; 1: all (default: 0.95)", float, env="TOP_P"),
    Option(("--min-p",), "min_p", "keep tokens this likely beside the most likely one; 0: all (default: 0.05)", float, env="MIN_P"),
    Option(("--top-nsigma", "--top-n-sigma"), "top_n_sigma", "keep logits within so many standard deviations of the highest; -1: all (default: -1)", float),
    Option(("--xtc-probability",), "xtc_probability", "how often the most likely tokens are left out; 0: never (default: 0)", float),
    Option(("--xtc-threshold",), "xtc_threshold", "how likely those are at least; above 0.5: never (default: 0.1)", float),
    Option(("--typical", "--typical-p"), "typical_p", "keep tokens of typical surprise up to this probability; 1: all (default: 1)", float),
    Option(("--repeat-last-n",), "repeat_last_n", "tokens that are looked at for repetitions; 0: none, -1: all (default: 64)", int),
    Option(("--repeat-penalty",), "repeat_penalty", "divides the logits of repeated tokens; 1: off (default: 1)", float, env="REPEAT_PENALTY"),
    Option(("--presence-penalty",), "presence_penalty", "taken from the logits of tokens that were there; 0: off", float, env="PRESENCE_PENALTY"),
    Option(("--frequency-penalty",), "frequency_penalty", "the same, for each time that they were there; 0: off", float, env="FREQUENCY_PENALTY"),
    Option(("--dry-multiplier",), "dry_multiplier", "of the penalty for going on with a repetition; 0: off", float),
    Option(("--dry-base",), "dry_base", "how the penalty grows with each token (default: 1.75)", float),
    Option(("--dry-allowed-length",), "dry_allowed_length", "repetitions this long cost nothing more (default: 2)", int),
    Option(("--dry-penalty-last-n",), "dry_penalty_last_n", "tokens that are looked at; 0: none, -1: all (default: 64)", int),
    Option(
        ("--dry-sequence-breaker",),
        "dry_sequence_breakers",
        'text that ends a repetition, instead of \\n : " *; none: nothing does',
        metavar="STRING",
        many=True,
    ),
    Option(("--adaptive-target",), "adaptive_target", "probability that chosen tokens have on average (the sampler adaptive_p); -1: off", float),
    Option(("--adaptive-decay",), "adaptive_decay", "how slowly that average moves (default: 0.9)", float),
    Option(("--dynatemp-range",), "dynatemp_range", "let the temperature move by this with the entropy; 0: off", float),
    Option(("--dynatemp-exp",), "dynatemp_exponent", "how it does (default: 1)", float),
    Option(("--mirostat",), "mirostat", "0: off, 1: Mirostat, 2: Mirostat 2.0; other samplers are off then", int),
    Option(("--mirostat-lr",), "mirostat_eta", "its learning rate (default: 0.1)", float),
    Option(("--mirostat-ent",), "mirostat_tau", "its target, in bits (default: 5)", float),
    Option(("-l", "--logit-bias"), "logit_bias", "change how likely a token is: its id, + or -, a number or inf", metavar="TOKEN_ID(+/-)BIAS", many=True),
    Option(("--ignore-eos",), "ignore_eos", "never end by itself", bool, False),
)
GRAMMAR = (
    Option(("--grammar",), "grammar", "GBNF that the text follows", metavar="GRAMMAR"),
    Option(("--grammar-file",), "grammar_file", "file with GBNF", metavar="FNAME"),
    Option(("-j", "--json-schema"), "json_schema", "JSON schema that the text follows", metavar="SCHEMA"),
    Option(("-jf", "--json-schema-file"), "json_schema_file", "file with a JSON schema", metavar="FILE"),
)
CHAT = (
    Option(("-sys", "--system-prompt"), "system", "what the system says first", metavar="PROMPT"),
    Option(("--chat-template",), "chat_template", "Jinja, or the name of a built-in template", env="CHAT_TEMPLATE", metavar="JINJA|NAME"),
    Option(("--chat-template-file",), "chat_template_file", "file with a template", env="CHAT_TEMPLATE_FILE", metavar="FNAME"),
    Option(("--chat-template-kwargs",), "chat_template_kwargs", "variables for the template, as a JSON object", env="CHAT_TEMPLATE_KWARGS", metavar="JSON"),
    Option(("-rea", "--reasoning"), "reasoning", "let the model reason: on, off or auto", default="auto", env="REASONING", metavar="on|off|auto"),
    Option(("--reasoning-format",), "reasoning_format", "auto, deepseek, deepseek-legacy or none", default="auto", env="THINK", metavar="FORMAT"),
    Option(("--reasoning-budget",), "reasoning_budget", "most tokens of reasoning; -1: no limit, 0: none", int, -1, env="THINK_BUDGET"),
    Option(("--reasoning-budget-message",), "reasoning_budget_message", "ends a thought that has used up its budget", default="", metavar="MESSAGE"),
)
COMPILE = (
    Option(("--compile-cache",), "compile_cache", "folder for compiled programs; the user's cache folder by default", metavar="DIR"),
    Option(("--no-compile-cache",), "no_compile_cache", "do not keep compiled programs", bool, False),
)


def add_options(parser: argparse.ArgumentParser, *groups: tuple[Option, ...], environ: Mapping[str, str] = os.environ) -> None:
    """Add options to a parser, with defaults from the environment."""
    for option in (o for group in groups for o in group):
        default = option.default
        if option.env and (text := environ.get(f"LLAMA_ARG_{option.env}")) is not None:
            try:
                default = (_truth if option.type is bool else option.type)(text)
            except ValueError:
                parser.error(f"LLAMA_ARG_{option.env}: expected {_kind(option)}, found {text!r}")
        shown = f"{option.help} (default: {option.default})" if option.default is not None and option.type is not bool else option.help
        if option.type is bool:
            parser.add_argument(*option.names, dest=option.to, action="store_true", default=default, help=shown)
            if option.off:
                parser.add_argument(*option.off, dest=option.to, action="store_false", default=default, help=f"not: {option.help}")
        else:
            action = "append" if option.many else "store"
            parser.add_argument(*option.names, dest=option.to, type=option.type, default=default, help=shown, metavar=option.metavar, action=action)


def _kind(option: Option) -> str:
    return {bool: "on or off", int: "an integer", float: "a number"}.get(option.type, "text")  # type: ignore[call-overload]
