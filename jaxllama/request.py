"""What a request asks for, in the words of llama.cpp's server and OpenAI's, as what decoding takes."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import inf
from typing import Any

import numpy as np

from .decode import Breakers, Sampling, make_breakers, make_sampling
from .decode.sampling import DEFAULT_BREAKERS, FLOATS, INTEGERS, SAMPLERS
from .grammar import Grammar, GrammarError, SchemaError, gbnf_of_choices, gbnf_of_regex, json_schema_to_gbnf, schema_of
from .grammar.compose import after_thought, from_triggers
from .numeric import real, whole, whole_of
from .text import Tokenizer
from .text.chat.tool_grammar import ToolGrammar

# A file's own recommendations, and what they are called here.
_RECOMMENDED = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold",
    "penalty_last_n": "repeat_last_n",
    "penalty_repeat": "repeat_penalty",
    "mirostat": "mirostat",
    "mirostat_tau": "mirostat_tau",
    "mirostat_eta": "mirostat_eta",
    "sequence": "samplers",
}
SAMPLING = ("seed", "ignore_eos", "logit_bias", "dry_sequence_breakers", "samplers", *FLOATS, *INTEGERS)
CONSTRAINTS = ("grammar", "json_schema", "regex", "choice", "response_format", "schema_ignore", "any_order", "grammar_lazy", "grammar_triggers")


def texts_of(name: str, given: str | Iterable[str] | None) -> list[str]:
    """A request's texts: one text alone is a list of one, not of its characters.

    Args:
        name: what the request calls them, for the error.

    Raises:
        TypeError: they are no texts.
    """
    alone = isinstance(given, (str, bytes, bytearray)) or not isinstance(given, Iterable)
    found: list[Any] = [] if given is None else [given] if alone else list(given)
    if strange := [text for text in found if not isinstance(text, str)]:
        raise TypeError(f"{name}: expected a text or several, found {strange[0]!r}")
    return found


def limit_of(options: dict[str, Any], limit: int, names: Sequence[str]) -> int:
    """How many tokens a request wants at most: under whichever name it says so (they are taken out of its options); -1 for no limit.

    Args:
        limit: under the function's own name.
        names: other names; the last that is given counts.

    Raises:
        ValueError: it is no number of tokens.
    """
    for name in names:
        given = options.pop(name, None)
        limit = limit if given is None else given
    return whole_of("n_predict (max_tokens)", limit, -1, note=" (0 reads the prompt only, -1 is no limit)")


def seconds_of(timeout: Any) -> float:
    """A request's time limit; infinity for none.

    Raises:
        ValueError: it is no number of seconds.
    """
    if timeout is None:
        return inf
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float, np.number)) or not timeout > 0:
        raise ValueError(f"timeout: expected a number of seconds above 0, or None, found {timeout!r}")
    return float(timeout)


def recommended(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling parameters that a file recommends (`general.sampling.*`), under the names they have here."""
    found = {name: metadata[f"general.sampling.{key}"] for key, name in _RECOMMENDED.items() if f"general.sampling.{key}" in metadata}
    if "samplers" in found:  # what is unknown is left out, as llama.cpp does
        known = {s.replace("_", "") for name, (_, others) in SAMPLERS.items() for s in (name, *others)}
        found["samplers"] = [s for s in str(found["samplers"]).split(";") if s.strip().lower().replace("-", "").replace("_", "") in known]
    return found


def sampling_for(
    tokenizer: Tokenizer,
    metadata: Mapping[str, Any],
    slots: int,
    *,
    seed: int | Sequence[int] | None = -1,
    ignore_eos: bool | Sequence[bool] = False,
    logit_bias: Any = None,
    dry_sequence_breakers: str | Sequence[str] = DEFAULT_BREAKERS,
    **parameters: Any,
) -> Sampling:
    """Sampling parameters for a number of slots.

    Args:
        metadata: of the file, whose recommendations count where the request says nothing.
        seed: a random one for each slot where it is None or negative.
        logit_bias: a mapping from ids or texts to numbers, or pairs of them; False forbids. A text's tokens all get its bias.
        dry_sequence_breakers: texts that end a repetition for DRY.
        **parameters: see `Sampling`; and `samplers`.
    """
    if seed is None or (isinstance(seed, int) and seed < 0):
        seed = [secrets.randbits(32) for _ in range(slots)]
    given = recommended(metadata) | {name: value for name, value in parameters.items() if value is not None}
    multiplier = given.get("dry_multiplier", 0.0)
    wanted = bool(np.any(np.asarray(multiplier)))
    return make_sampling(
        slots,
        seed=seed,
        ignore_end=False if ignore_eos is None else ignore_eos,
        logit_bias=bias_of(tokenizer, logit_bias),
        breakers=_breakers(tokenizer, tuple(texts_of("dry_sequence_breakers", dry_sequence_breakers))) if wanted else None,
        **(parameters | given),
    )


@lru_cache(16)
def _breakers(tokenizer: Tokenizer, texts: tuple[str, ...]) -> Breakers:
    pieces = [tokenizer.piece(t, special=True) for t in range(len(tokenizer))]
    return make_breakers(texts, pieces, lambda text: tokenizer.encode(text, add_special=False))


def bias_of(tokenizer: Tokenizer, given: Any) -> dict[int, float]:
    """A request's logit_bias by token."""
    found: dict[int, float] = {}
    pairs = given.items() if isinstance(given, Mapping) else () if given is None else given
    if not isinstance(pairs, Iterable):
        raise ValueError(f"logit_bias: expected a mapping from tokens to biases, or pairs of them, found {given!r}")
    for pair in pairs:
        if not isinstance(pair, Iterable) or isinstance(pair, str) or len(both := tuple(pair)) != 2:
            raise ValueError(f"logit_bias: expected pairs of a token (an id or text) and a bias, found {pair!r}")
        key, value = both
        if value is False:
            value = float("-inf")
        number = real(value)
        if number is None:
            raise ValueError(f"logit_bias: expected a number or false for {key!r}, found {value!r}")
        if isinstance(key, str):
            ids = [int(key)] if key.isascii() and key.lstrip("-").isdigit() else tokenizer.encode(key, add_special=False)
        elif (token := whole(key)) is None:
            raise ValueError(f"logit_bias: expected the id of a token or a text, found {key!r}")
        else:
            ids = [token]
        for token in ids:
            if not 0 <= token < len(tokenizer):
                raise ValueError(f"logit_bias: there is no token {token}; tokens are from 0 to {len(tokenizer) - 1}")
            found[token] = found.get(token, 0.0) + number
    return found


def grammar_for(
    tokenizer: Tokenizer,
    *,
    grammar: Grammar | str | None = None,
    json_schema: Any = None,
    regex: str | None = None,
    choice: Sequence[str] | None = None,
    response_format: Mapping[str, Any] | type | None = None,
    schema_ignore: str | Sequence[str] = (),
    any_order: bool = False,
    grammar_lazy: bool = False,
    grammar_triggers: str | Mapping[str, Any] | Sequence[Any] = (),
) -> Grammar | None:
    """What an answer is constrained to; None where it is free. The same request gets the same object, for which everything is prepared already.

    Args:
        grammar: GBNF, or a grammar.
        json_schema: a schema as a dictionary; or a pydantic model, a dataclass or another type whose values are described.
        regex: a regular expression that the whole answer matches.
        choice: the answer is one of these.
        response_format: as OpenAI has it: type "text", "json_object" or "json_schema"; or a type, as for `json_schema`.
        schema_ignore: keywords that may be left out where a grammar cannot say them.
        any_order: members of objects come in any order.
        grammar_lazy: the grammar holds only from the first trigger on.
        grammar_triggers: texts; or dictionaries as llama.cpp's server has them, of type word or token.

    Raises:
        GrammarError, SchemaError: what is asked for is malformed, or is not what a grammar can say.
        ValueError: several of these are given.
    """
    if response_format is not None:
        json_schema_of_format = _schema_of_format(response_format)
        if json_schema_of_format is not None:
            if json_schema is not None:
                raise ValueError("json_schema and response_format cannot be used together")
            json_schema = json_schema_of_format
    grammar = None if isinstance(grammar, str) and not grammar else grammar  # as in llama.cpp, an empty text is none
    given = [n for n, v in (("grammar", grammar), ("json_schema", json_schema), ("regex", regex), ("choice", choice)) if v is not None]
    if len(given) > 1:
        raise ValueError(f"{given[0]} and {given[1]} cannot be used together")
    triggers: list[Any] = [grammar_triggers] if isinstance(grammar_triggers, (str, Mapping)) else list(grammar_triggers or ())
    if triggers and not grammar_lazy:
        raise ValueError("grammar_triggers: they need grammar_lazy=True; without it a grammar holds from the beginning")
    if not given:
        return None
    if grammar is not None and not isinstance(grammar, (str, Grammar)):
        raise GrammarError(f"grammar: expected GBNF or a Grammar, found {type(grammar).__name__}")
    if regex is not None and not (isinstance(regex, str) and regex):
        raise ValueError(f"regex: expected a regular expression, found {regex!r}")
    if isinstance(choice, str) and choice:
        choice = [choice]
    if choice is not None and (isinstance(choice, str) or not isinstance(choice, Iterable)):
        raise ValueError(f"choice: expected a list of texts, found {choice!r}")
    if isinstance(json_schema, str):
        raise SchemaError(f"json_schema: expected a schema as a dictionary, or a type, found {json_schema!r}")
    if isinstance(grammar, Grammar):
        found = grammar
    elif json_schema is not None:
        found = _read(tokenizer, json_schema_to_gbnf(schema_of(json_schema), any_order=any_order, ignore=texts_of("schema_ignore", schema_ignore)))
    else:
        found = _read(tokenizer, grammar or (gbnf_of_regex(regex) if regex is not None else gbnf_of_choices(list(choice or ()))))
    return _from_triggers(found, tuple(_trigger(tokenizer, t) for t in triggers)) if grammar_lazy else found


def _trigger(tokenizer: Tokenizer, given: Any) -> str:
    """A trigger as a text."""
    if isinstance(given, str):
        return given
    if isinstance(given, Mapping) and given.get("type") in (0, "token") and isinstance(given.get("token"), int):
        return tokenizer.piece(given["token"], special=True).decode("utf-8", "replace")
    if isinstance(given, Mapping) and given.get("type") in (1, "word") and isinstance(given.get("value"), str):
        return given["value"]
    raise ValueError(f"grammar_triggers: expected strings, or objects of type word or token, found {given!r}; patterns are not supported")


@lru_cache(64)
def _from_triggers(grammar: Grammar, triggers: tuple[str, ...]) -> Grammar:
    return from_triggers(grammar, triggers)


def answer_grammar(
    tokenizer: Tokenizer, grammar: Grammar | None, tools: ToolGrammar | None, thought: tuple[str, str] = ("", ""), *, opened: bool = False
) -> Grammar | None:
    """The grammar of a chat's answer: of what the request asks for, or of calls of its tools; it does not hold while the model thinks.

    Args:
        thought: the marks around a thought; empty for models that have none.
        opened: the prompt has opened the thought.

    Raises:
        ValueError: the request asks for both.
    """
    if grammar is not None and tools is not None:
        raise ValueError("tools cannot be used together with grammar, json_schema, regex, choice or response_format; set tool_choice to none")
    if tools is not None:
        return _answer(_read(tokenizer, tools.text), tools.triggers, thought if thought[1] else None, opened)
    return None if grammar is None else _answer(grammar, (), thought if thought[1] else None, opened)


@lru_cache(64)
def _answer(grammar: Grammar, triggers: tuple[str, ...], thought: tuple[str, str] | None, opened: bool) -> Grammar:
    found = from_triggers(grammar, triggers) if triggers else grammar
    return after_thought(found, *thought, opened=opened) if thought else found


@lru_cache(64)
def _read(tokenizer: Tokenizer, text: str) -> Grammar:
    return Grammar.from_gbnf(text, lambda name: tokenizer.encode(name, add_special=False, parse_special=True))


def _schema_of_format(form: Mapping[str, Any] | type) -> Any:
    if isinstance(form, type):
        return form
    kind = form.get("type") if isinstance(form, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return form.get("schema", {"type": "object"})
    if kind == "json_schema":
        inner = form.get("json_schema", form)
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
        if schema is None:
            raise SchemaError("response_format: expected a schema at json_schema.schema")
        return schema
    found = form if kind is None else kind
    raise ValueError(f"response_format: expected a type of text, json_object or json_schema, or a class whose values are described, found {found!r}")
