"""JSON schemas, types and ranges of numbers as grammars, against what they describe."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import enum
import itertools
import json
import random
import re
import typing
from decimal import Decimal
from typing import Any, Literal, TypedDict

import jsonschema
import pytest
from grammars import SCHEMAS
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import telling

from jaxllama.grammar import Grammar, GrammarError, SchemaError, json_schema_to_gbnf, schema_of
from jaxllama.grammar.automaton import Automaton
from jaxllama.grammar.matcher import Matcher, first_error
from jaxllama.grammar.number_range import integers, numbers
from jaxllama.grammar.reader import read_gbnf
from jaxllama.grammar.schema_types import KNOWN
from jaxllama.grammar.walk import advanced, may_end, start_of

KEYWORDS = sorted(
    {
        *set().union(*KNOWN.values()),
        *"$ref $id $anchor $defs allOf anyOf oneOf not if then else type enum const nullable dependentRequired dependentSchemas".split(),
    }
)


def texts(grammar: Grammar, count: int, seed: int = 0) -> list[str]:
    """Random texts of a grammar; what ends the strings, lists and objects of these tests is likelier."""
    automaton, draw, found = Automaton(grammar.rules), random.Random(seed), []
    for _ in range(count):
        place, text = start_of(automaton), b""
        while len(text) < 1500:
            for tried in ({*b'"]},:bc\\', *draw.sample(range(256), 40)}, range(256)):
                following = [(b, p) for b in tried if (p := advanced(automaton.states, place, bytes([b]))) is not None]
                if following:
                    break
            if may_end(automaton.states, place) and (not following or draw.random() < 0.4):
                found.append(text.decode())
                break
            weights = [20 if b in b'"]},bc\\' and len(text) > 40 else 3 if b in b'"]}' else 0.05 if b in b" \n\t\\" or b > 127 else 1 for b, _ in following]
            byte, place = draw.choices(following, weights)[0]
            text += bytes([byte])
    return found


def valid(text: str, schema: Any) -> None:
    jsonschema.validate(json.loads(text), schema, cls=jsonschema.Draft202012Validator, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


MORE = {
    "sub-schemas": {
        "allOf": [{"$ref": "#/$defs/a"}, {"properties": {"y": {"type": "integer"}}}],
        "$defs": {"a": {"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"]}},
    },
    "typed enum": {"type": "string", "enum": ["a", "bb", 3], "maxLength": 1},
    "either": {"anyOf": [{"type": "integer", "maximum": 5}, {"type": "string", "maxLength": 2}]},
    "required beyond properties": {"properties": {"a": {"type": "integer"}}, "required": ["a", "zz"], "additionalProperties": {"type": "boolean"}},
    "integers": {"type": "integer", "minimum": -12, "maximum": 1034},
    "escapes in patterns": {"type": "string", "pattern": '^\\d{3}-"\\w+\\\\$'},
    "half anchored": {"type": "string", "pattern": "a|b$"},
    "circle": {"$ref": "#/definitions/x", "definitions": {"x": {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#"}}]}}},
    "all formats": {
        "type": "object",
        "properties": {n: {"format": n} for n in ("date", "time", "uuid", "ipv4", "duration")},
        "required": ["date"],
    },
    "not a type": {"not": {"type": ["object", "array", "number", "string"]}},
    "closed and merged": {"allOf": [{"properties": {"a": {"type": "null"}}, "additionalProperties": False}, {"properties": {"a": {}, "b": {}}}]},
}


@pytest.mark.parametrize("any_order", telling([False, True], [False]))
@pytest.mark.parametrize("name", [*SCHEMAS, *MORE])
def test_what_a_grammar_writes_is_valid(name, any_order):
    schema = SCHEMAS.get(name) or MORE[name]
    if any_order and name in ("thirty", "all formats"):
        pytest.skip("too many properties for any order, or for a short test")
    made = texts(Grammar.from_json_schema(schema, any_order=any_order), 12)
    for text in made:
        valid(text, schema)
    assert made


def test_any_order_takes_any_order():
    schema = {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}, "c": {"type": "null"}}, "required": ["b"]}
    grammar = Grammar.from_json_schema(schema, any_order=True)
    for accepted in ('{"b":null}', '{"c":null,"b":null}', '{"b":null,"a":null,"c":null}'):
        assert grammar.accepts(accepted)
    for refused in ("{}", '{"a":null}', '{"b":null,"b":null}', '{"b":null,}'):
        assert not grammar.accepts(refused)
    assert not Grammar.from_json_schema(schema).accepts('{"c":null,"b":null}')


@pytest.mark.parametrize("name", ["a", "a]^-[", "a\u00a0b", "é\u200b", "\u2028", "\x85", "\U000e0001", 'a"b', "a\\", "\n", "\x7f", ""])
def test_other_members_are_none_that_is_named(name):
    grammar = Grammar.from_json_schema({"properties": {name: {"type": "integer"}}, "additionalProperties": {"type": "null"}})

    def accepts(key, value):
        return grammar.accepts(json.dumps({key: value}, ensure_ascii=False))

    assert accepts(name, 1)
    assert not accepts(name, None)
    for other in ("b", "ab", f"b{name}" if name.isprintable() and not {'"', "\\"} & set(name) else "aab"):
        assert accepts(other, None)
        assert not accepts(other, 1)


def test_members_whose_rules_would_have_one_name():
    of = {"type": "object", "properties": {"a b": {"enum": [1]}, "a-b": {"enum": [2]}, "a.b": {"enum": [3]}}, "required": ["a b", "a-b", "a.b"]}
    grammar = Grammar.from_json_schema({**of, "additionalProperties": False})
    values = itertools.product((1, 2, 3), repeat=3)
    assert [v for v in values if grammar.accepts(json.dumps(dict(zip(("a b", "a-b", "a.b"), v, strict=True))))] == [(1, 2, 3)]


def test_keys_may_be_escaped_where_none_is_named():
    assert Grammar.from_json_schema({"additionalProperties": {"type": "integer"}}).accepts('{"\\n\\u0061": 1}')


ERRORS = [
    ({"allOf": [{"type": "string", "pattern": "a"}, {"pattern": "b"}]}, r"\$\.pattern: these two values of the keyword cannot be combined"),
    ({"type": ["number", "string"], "not": {"type": "integer"}}, r"\$\.not: numbers that are not integers are not supported"),
    ({"type": "object", "not": {"required": ["a", "b"]}}, r"\$\.not: the negation of several required properties"),
    ({"type": "string", "not": {"type": "string"}}, r"no value is valid"),
    ({"properties": {"a": {"type": "integer", "minimum": 5, "maximum": 4}}, "required": ["a"]}, r"^\$\.properties\.a: no value is valid"),
    ({"type": "integer", "items": {}, "unheard-of": 3}, r"\$\.unheard-of: this keyword is not supported"),
    ({"minimum": 3, "unheard-of": 3}, r"\$\.unheard-of: this keyword is not supported"),
    ({"type": "string", "pattern": "a", "format": "date"}, "no value is valid"),
    ({"additionalProperties": {"type": "integer"}, "minProperties": 2}, r"\$\.minProperties: requiring more than one unnamed"),
    ({"patternProperties": {"(?=a)": {}}}, r"\$\.patternProperties: lookaround"),
    (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/c"}]}, "c": {"$ref": "#/$defs/c"}}},
        "the references go in a circle",
    ),
    ({"type": ["integer", "array"], "minimum": 5, "maximum": 4, "items": False, "minItems": 1}, r"^\$: no value is valid"),
    ({"type": "array", "contains": {}, "minContains": 2}, r"\$\.contains"),
    ({"type": "integer", "multipleOf": 3}, r"\$\.multipleOf"),
    ({"properties": {"p": {"type": "string", "pattern": "(?=a)b"}}}, r"\$\.properties\.p\.pattern: lookaround"),
    ({"type": "string", "pattern": "a", "maxLength": 9999}, r"^\$: expressions together, or with a length, need more than 2000 rules"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, r"\$\.oneOf: what option 0 allows"),
    ({"$ref": "http://x"}, r"\$\.\$ref: expected a reference within"),
    ({"$ref": "#/no"}, r"the schema has no #/no"),
    ({"type": "integer", "minimum": 5, "maximum": 4}, "no value is valid here"),
    ({"type": "wrong"}, r"\$\.type: expected one of"),
    ({"enum": 3}, r"\$\.enum: expected a list"),
    ({"enum": []}, "no value is valid"),
    ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "no value is valid"),
    ({"type": "array", "uniqueItems": True}, r"\$\.uniqueItems"),
    ({"not": {"pattern": "x"}}, r"\$\.not"),
    ({"type": "object", "required": ["a"], "properties": {"a": False}}, "no value is valid"),
    ({"type": "string", "maxLength": "x"}, r"\$\.maxLength: expected a whole number"),
    ({"anyOf": []}, r"\$\.anyOf: expected a list"),
    ({"properties": []}, r"\$\.properties: expected an object of schemas"),
    ({"type": "number", "minimum": "3"}, r"\$\.minimum: expected a number"),
    ({"type": "string", "format": "iri"}, r"\$\.format"),
    ({"type": "object", "properties": {"a": {}}, "minProperties": 2}, r"\$\.minProperties"),
    (3, "there is no JSON schema for 3"),
]


@pytest.mark.parametrize(("schema", "message"), ERRORS, ids=str)
def test_what_cannot_be_said_is_an_error(schema, message):
    with pytest.raises(ValueError, match=message):
        Grammar.from_json_schema(schema)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["a", "^a", "#", "#/$defs/a", "string", "object", "date", "(?P<a>b", 1.5]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", *KEYWORDS]), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every value within another one, as what it is in and its key."""
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [found for key, inner in items for found in ((value, key), *places(inner))]


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(KEYWORDS), JSON_VALUES, max_size=3) | st.sampled_from(sorted(SCHEMAS)), st.randoms(use_true_random=False), JSON_VALUES)
def test_any_json_is_a_schema_or_an_error(schema, draw, damage):
    """And so is a schema in which something is exchanged."""
    if isinstance(schema, str):
        schema = copy.deepcopy(SCHEMAS[schema])
        within, key = draw.choice(places(schema))
        within[key] = damage
    with contextlib.suppress(SchemaError):
        Grammar.from_json_schema(schema)


def test_expressions_and_lengths_hold_together():
    """Every short text, against Python's own."""
    for pattern, low, high in (("a*b", 2, 4), ("^(ab|c)+$", 0, 3), ("^[^b]", 1, 2), ('"|\\n', 2, None), ("^a{2,}$", 3, None), ("é", 0, 1), ("^a?$", 0, 5)):
        schema = {"type": "string", "pattern": pattern, "minLength": low, **({} if high is None else {"maxLength": high})}
        grammar, python = Grammar.from_json_schema(schema), re.compile(pattern.replace("$", r"\Z"))
        for text in ["".join(chars) for n in range(5) for chars in itertools.product('abcé"\n' if n < 4 else "abc", repeat=n)]:
            fits = python.search(text) is not None and low <= len(text) <= (len(text) if high is None else high)
            assert grammar.accepts(json.dumps(text, ensure_ascii=False)) == fits, (pattern, text)
    dates = Grammar.from_json_schema({"format": "date", "pattern": "^20", "maxLength": 10})
    assert dates.accepts('"2024-02-29"')
    assert not dates.accepts('"1999-02-28"')


def test_what_may_be_ignored_is():
    assert Grammar.from_json_schema({"type": "integer", "multipleOf": 3}, ignore=["multipleOf"]).accepts("4")
    assert Grammar.from_json_schema({"oneOf": [{"type": "integer"}, {"type": "number"}]}, ignore=["oneOf"]).accepts("4")
    assert Grammar.from_json_schema({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, ignore=["uniqueItems"]).accepts("[1,1]")
    assert Grammar.from_json_schema({"type": "string", "pattern": "(?=a)b"}, ignore=["pattern"]).accepts('"c"')
    assert Grammar.from_json_schema({"unheard-of": 1}, ignore=["unheard-of"]).accepts("[null]")
    named = Grammar.from_json_schema({"properties": {"a": {}}, "patternProperties": {"^a": {"type": "integer"}}}, ignore=["patternProperties"])
    assert named.accepts('{"a":1}')
    assert not named.accepts('{"a":"x"}')


def test_numbers_without_limits_have_exponents():
    for text in ("-1e5", "1.5E+20", "0e-7"):
        assert Grammar.from_json_schema({"type": "number"}).accepts(text)
    assert json_schema_to_gbnf({"type": ["number", "integer", "null"]}) == json_schema_to_gbnf({"type": ["number", "null"]})  # not read in two ways


def test_a_format_is_about_strings():
    grammar = Grammar.from_json_schema({"format": "date"})
    assert grammar.accepts('"2024-02-28"')
    assert not grammar.accepts("1")


def test_deep_and_wide_schemas():
    deep: Any = True
    for _ in range(2000):
        deep = {"items": deep}
    with pytest.raises(SchemaError, match="the schema is nested too deeply"):
        Grammar.from_json_schema(deep)
    wide = {"properties": {f"p{n}": {"items": {}} for n in range(250)}}
    assert Grammar.from_json_schema(wide).accepts('{"p7":[],"p249":[1]}')


@given(st.one_of(st.none(), st.integers(-3000, 3000)), st.one_of(st.none(), st.integers(-3000, 3000)), st.lists(st.integers(-5000, 5000), min_size=5))
def test_ranges_of_whole_numbers(low, high, values):
    body = integers(low, high)
    if not body:
        assert low is not None
        assert high is not None
        assert low > high
        return
    matcher = Matcher(read_gbnf(f"root ::= {body}"))
    for value in [*values, low or 0, high or 0, (low or 0) - 1, (high or 0) + 1]:
        inside = (low is None or value >= low) and (high is None or value <= high)
        assert (first_error(matcher, str(value)) is None) == inside


decimals = st.builds(lambda n, places: Decimal(n) / 10**places, st.integers(-3000, 3000), st.integers(0, 2))
LIMITS = [None, *map(Decimal, ("-0.75", "0", "0.25", "0.5", "0.75", "1", "2.05"))]


def check_range(low, high, above, below, values):
    above, below = above and low is not None, below and high is not None
    body = numbers(low, high, above=above, below=below)
    if not body:
        assert low is not None
        assert high is not None
        assert low > high or (low == high and (above or below))
        return
    matcher = Matcher(read_gbnf(f"root ::= {body}"))
    near = [x + d for x in (low, high) if x is not None for d in (Decimal(0), Decimal("0.001"), Decimal("-0.001"))]
    for value in [*values, *near]:
        text = format(value.normalize() if value else Decimal(0), "f")
        inside = (low is None or (value > low if above else value >= low)) and (high is None or (value < high if below else value <= high))
        assert (first_error(matcher, text) is None) == inside, (low, high, above, below, text)


@given(st.one_of(st.none(), decimals), st.one_of(st.none(), decimals), st.booleans(), st.booleans(), st.lists(decimals, min_size=5))
def test_ranges_of_numbers(low, high, above, below, values):
    check_range(low, high, above, below, values)


@pytest.mark.parametrize("low", LIMITS)
def test_ranges_with_limits_of_several_places(low):
    values = list(map(Decimal, ("-0.8", "-0.3", "0.1", "0.2", "0.3", "0.9", "1.5", "2.1")))
    for high, above, below in itertools.product(LIMITS, (False, True), (False, True)):
        check_range(low, high, above, below, values)


def test_a_number_of_any_size_and_one_keyword_to_ignore():
    assert Grammar.from_json_schema({"const": 10**400}).accepts(f"1{'0' * 400}")
    assert Grammar.from_json_schema({"type": "integer", "frob": 1}, ignore="frob").accepts("5")


def test_choices():
    assert Grammar.from_choices(['a "quoted"', "b\nc"]).accepts("b\nc")
    assert Grammar.from_choices("abc").accepts("abc")
    with pytest.raises(TypeError, match="expected several texts"):
        Grammar.from_choices(5)
    with pytest.raises(GrammarError, match="expected a list of at least one string"):
        Grammar.from_choices([])


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(TypedDict):
    x: float
    y: float


@dataclasses.dataclass
class Node:
    colour: Colour
    at: Point
    sizes: tuple[int, int]
    kind: Literal["a", 1, None]
    names: dict[str, bool]
    children: list[Node]
    note: str | None = None


def test_types_are_schemas():
    schema = schema_of(Node)
    good = {"colour": "red", "at": {"x": 1.5, "y": 2}, "sizes": [1, 2], "kind": None, "names": {"z": True}, "children": []}
    good["children"] = [dict(good)]
    jsonschema.validate(good, schema)
    grammar = Grammar.from_json_schema(Node)
    assert grammar.accepts(json.dumps(good))
    assert not grammar.accepts(json.dumps({**good, "colour": "green"}))
    assert not grammar.accepts(json.dumps({k: v for k, v in good.items() if k != "sizes"}))
    with pytest.raises(SchemaError, match="no JSON schema for"):
        schema_of(complex)


class Marked(Point, total=False):
    mark: str


@dataclasses.dataclass
class Computed:
    given: int
    made: list = dataclasses.field(default_factory=list)
    area: float = dataclasses.field(init=False, default=0.0)


class Adapter:
    """What a TypeAdapter of pydantic looks like from here."""

    validate_python = None

    def json_schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "integer"}}

    def __str__(self) -> str:
        return "Adapter"  # in the test's name, the same in every process


def named(name: str, **schema: Any) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}", "$defs": {name: {"type": "object", **schema}}}


STRING, INTEGER = {"type": "string"}, {"type": "integer"}


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (str, STRING),
        (int, INTEGER),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (Any, {}),
        (dict, {"type": "object"}),
        (list, {"type": "array"}),
        (typing.Annotated[int, "said beside it"], INTEGER),
        (int | str, {"anyOf": [INTEGER, STRING]}),
        (typing.Optional[int], {"anyOf": [INTEGER, {"type": "null"}]}),  # noqa: UP045  its own kind of type
        (Literal["a", 1, None], {"enum": ["a", 1, None]}),
        (list[int], {"type": "array", "items": INTEGER}),
        (set[str], {"type": "array", "items": STRING}),
        (typing.List, {"type": "array", "items": {}}),  # noqa: UP006
        (tuple[int, ...], {"type": "array", "items": INTEGER}),
        (tuple[int, str], {"type": "array", "prefixItems": [INTEGER, STRING], "minItems": 2, "maxItems": 2}),
        (dict[str, int], {"type": "object", "additionalProperties": INTEGER}),
        (typing.Dict, {"type": "object", "additionalProperties": {}}),  # noqa: UP006
        (Colour, {"enum": ["red", "blue"]}),
        (Point, named("Point", properties={"x": {"type": "number"}, "y": {"type": "number"}}, required=["x", "y"])),
        (Marked, named("Marked", properties={"x": {"type": "number"}, "y": {"type": "number"}, "mark": STRING}, required=["x", "y"])),
        (Computed, named("Computed", properties={"given": INTEGER, "made": {"type": "array"}}, required=["given"])),
        (Adapter(), {"type": "array", "items": INTEGER}),
        (True, True),
        ({"type": "integer"}, INTEGER),
    ],
    ids=str,
)
def test_the_schema_of_a_type(kind, schema):
    assert schema_of(kind) == schema


def test_fields_of_one_name_and_another():
    other = dataclasses.make_dataclass("Point", [("z", int)])
    made = schema_of(tuple[Point, other, Point])
    assert [s["$ref"] for s in made["prefixItems"]] == ["#/$defs/Point", "#/$defs/Point_1", "#/$defs/Point"]
    assert list(made["$defs"]["Point_1"]["properties"]) == ["z"]
    missing = dataclasses.make_dataclass("Missing", [("z", "NoSuchType")])
    for kind, message in (
        (missing, "the types of Missing's fields cannot be found"),
        (dict[int, str], "keys of a JSON object must be strings, not <class 'int'>"),
    ):
        with pytest.raises(SchemaError, match=message):
            schema_of(kind)


class Pydantic:
    """What a pydantic model looks like from here."""

    @staticmethod
    def model_json_schema() -> dict[str, Any]:
        return {
            "$defs": {"In": {"properties": {"v": {"type": "integer"}}, "required": ["v"], "title": "In", "type": "object"}},
            "properties": {"i": {"$ref": "#/$defs/In"}},
            "required": ["i"],
            "title": "Out",
            "type": "object",
        }


def test_pydantic_models():
    assert schema_of(Pydantic) == Pydantic.model_json_schema()
    assert schema_of(list[Pydantic])["$defs"] == Pydantic.model_json_schema()["$defs"]
    assert Grammar.from_json_schema(list[Pydantic]).accepts('[{"i": {"v": 3}}]')
    assert Grammar.from_json_schema(Pydantic).accepts('{"i": {"v": 3}}')
