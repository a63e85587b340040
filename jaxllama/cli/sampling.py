"""The options about sampling and grammars, checked before a large file is read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .named import named
from .options import GRAMMAR, SAMPLING
from .prompt import unescape


def sampling_of(args: SimpleNamespace) -> dict[str, Any]:
    """The parameters of SAMPLING that were given.

    Raises:
        ValueError: they make no sense.
    """
    from jaxllama.decode import chain_of_letters, make_sampling

    given = {o.to: getattr(args, o.to) for o in SAMPLING if getattr(args, o.to) not in (None, [])}
    if "sampler_seq" in given:
        with named("--sampler-seq"):
            given["samplers"] = chain_of_letters(given.pop("sampler_seq"))
    if "logit_bias" in given:
        given["logit_bias"] = [_bias(text) for text in given["logit_bias"]]
    if "dry_sequence_breakers" in given:
        texts = given["dry_sequence_breakers"]
        given["dry_sequence_breakers"] = [] if "none" in texts else [unescape(text) if args.escape else text for text in texts]
    apart = ("seed", "ignore_eos", "logit_bias", "dry_sequence_breakers")
    make_sampling(1, **{name: value for name, value in given.items() if name not in apart})
    return given


def _bias(text: str) -> tuple[int, float]:
    found = re.fullmatch(r"([0-9]+)([+-](?:[0-9]+\.?[0-9]*|\.[0-9]+|inf))", text.strip())
    if found is None:
        raise ValueError(f"-l: expected a token id, + or -, and a bias, such as 15043+1 or 15043-inf, found {text!r}")
    return int(found[1]), float(found[2])


def constraints_of(args: SimpleNamespace) -> dict[str, Any]:
    """What GRAMMAR ask for.

    Raises:
        GrammarError, SchemaError: it is malformed.
    """
    from jaxllama.grammar import Grammar, GrammarError, json_schema_to_gbnf

    given = next((o for o in GRAMMAR if getattr(args, o.to)), None)
    if given is None:
        return {}
    text = source = getattr(args, given.to)
    if given.to.endswith("_file"):
        with named(given.names[-1]):
            text = Path(text).read_text(encoding="utf-8")
    else:
        source = given.names[-1]
    if given.to.startswith("grammar"):
        try:
            Grammar.from_gbnf(text, lambda name: [0])  # what tokens it names can only be known with a vocabulary
        except GrammarError as error:
            raise ValueError(f"{source}: {error}") from None
        return {"grammar": text}
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{source}: expected a JSON schema: {error}") from None
    json_schema_to_gbnf(schema)
    return {"json_schema": schema}
