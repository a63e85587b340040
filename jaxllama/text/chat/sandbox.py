"""Templates of strangers: Jinja in its immutable sandbox, with the functions that chat templates expect, bounded in time and output.

Jinja's sandbox keeps a template from attributes and from changes of what it was given, but not from loops without end, recursion or strings that double.
So every step of a loop, every call and everything that makes longer text is counted here.
"""

from __future__ import annotations

import functools
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS = 0.8
MOST_TEXT = 2**24  # characters of any value
MOST_STEPS = 300_000
MOST_SOURCE = 2**18  # characters of a template; compiling takes time too
_WIDE = 10_000  # the widest field that a template may ask for
_WIDTH = re.compile(r"\d{5}")
_STAR, _NESTED = re.compile(r"%(?:\([^)]*\))?[-+ #0-9.]*\*"), re.compile(r"(?<!\{)\{[^{}]+\{")  # widths that are values, in the two notations
_PADDING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})


class TemplateError(ValueError):
    """A chat template is wrong, raised an error, or would not end."""


class _Generation(Extension):
    """`{% generation %}`, by which training marks answers: what is inside is written."""

    tags = {"generation"}  # noqa: RUF012  Jinja's own form

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Bounded(ImmutableSandboxedEnvironment):
    """Counts what one rendering does. An environment serves one rendering at a time."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def begin(self) -> None:
        self._steps, self._deadline = 0, time.monotonic() + SECONDS

    def step(self, count: int = 1) -> None:
        self._steps += count
        if self._steps > MOST_STEPS or time.monotonic() > self._deadline:
            raise TemplateError(f"the chat template was stopped after {self._steps} steps: at most {MOST_STEPS} steps and {SECONDS} s are allowed")

    def sized(self, length: int) -> None:
        if length > MOST_TEXT:
            raise TemplateError(f"the chat template makes a text of {length} characters: at most {MOST_TEXT} are allowed")

    def measured(self, value: Any) -> int:
        """Characters of all texts in a value, once it is known that writing it out ends: lists can hold each other in ways that double."""
        waiting, count, size = [value], 0, 0
        while waiting:
            item = waiting.pop()
            if isinstance(item, Mapping):
                waiting += [*item.keys(), *item.values()]
            elif isinstance(item, (list, tuple)):
                waiting += item
            elif isinstance(item, str):
                size += len(item)
            count += 1
            if count > MOST_STEPS:
                raise TemplateError(f"the chat template prints a value of more than {MOST_STEPS} elements")
        return size

    def walked(self, value: Any) -> Any:
        """The value, once it is known that writing it out ends, and is not too long."""
        self.sized(self.measured(value))
        return value

    def formatted(self, pattern: str, mark: str, computed: re.Pattern[str], values: Any) -> None:
        """Look at what a pattern makes of values: at its widths, and at texts that it writes several times."""
        if computed.search(pattern):
            raise TemplateError("the chat template formats a value to a width that it computes")
        if _WIDTH.search(pattern):
            raise TemplateError(f"the chat template formats a value to more than {_WIDE} characters")
        self.sized(pattern.count(mark) * self.measured(values))

    def text_made(self, name: str, text: str, options: Iterable[Any]) -> None:
        """Look at the length of what a method or a filter of this name makes of a text."""
        texts = [o for o in options if isinstance(o, str)]
        if name == "replace" and len(texts) > 1:
            self.sized(len(text) + text.count(texts[0]) * len(texts[1]))
        if name == "wordwrap" and texts:
            self.sized(len(text) * len(texts[0]))
        if name == "expandtabs":
            self.sized(text.count("\t") * max((o for o in options if isinstance(o, int)), default=8))
        if name == "format":
            self.formatted(text, "%", _STAR, options)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Jinja puts its own function in the place of a text's `format`; the pattern is known here."""
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        @functools.wraps(wrapped)
        def run(*args: Any, **kwargs: Any) -> str:
            self.formatted(value.__self__, "{", _NESTED, (args, kwargs))
            return wrapped(*args, **kwargs)

        return run

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, "_counted", [], [], None, None, lineno=loop.lineno)
        _replace_concatenations(tree)
        return tree

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Lists may gain and lose single elements, as Kimi-K2's queue of ids does: each takes a step, and the lists are the rendering's own."""
        return (type(obj) is list and attr in ("append", "pop")) or super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        self.step()
        if operator == "*":
            text, times = (left, right) if isinstance(left, (str, list, tuple)) else (right, left)
            if isinstance(text, (str, list, tuple)) and isinstance(times, int):
                self.sized(len(text) * max(times, 0))
        elif operator == "+" and isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
            self.sized(len(left) + len(right))
        elif operator == "**":
            raise TemplateError("chat templates may not use the operator **")
        elif operator == "%" and isinstance(left, str):
            self.formatted(left, "%", _STAR, right)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        self.step()
        name, owner = getattr(obj, "__name__", ""), getattr(obj, "__self__", None)
        if isinstance(owner, str):
            if name == "join" and args:
                args = (list(args[0]), *args[1:])
                self.sized(sum(len(part) + len(owner) for part in args[0] if isinstance(part, str)))
            if name in _PADDING:
                _check_numbers(name, (*args, *kwargs.values()))
            self.text_made(name, owner, (*args, *kwargs.values()))
        return super().call(context, obj, *args, **kwargs)


def _replace_concatenations(node: nodes.Node) -> None:
    """`a ~ b` becomes a filter, which can look at the lengths."""

    def looked_at(value: Any) -> Any:
        if not isinstance(value, nodes.Concat):
            return value
        items = nodes.Tuple(value.nodes, "load", lineno=value.lineno)
        return nodes.Filter(items, "_joined", [], [], None, None, lineno=value.lineno)

    for field, value in node.iter_fields():
        setattr(node, field, [looked_at(item) for item in value] if isinstance(value, list) else looked_at(value))
    for child in node.iter_child_nodes():
        _replace_concatenations(child)


def _check_numbers(name: str, options: Iterable[Any]) -> None:
    most = _WIDE if name != "tojson" else 100  # on every line
    if name != "format" and any(isinstance(o, int) and o > most for o in options):
        raise TemplateError(f"the chat template calls {name} for more than {most} characters")


def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:
    """Hugging Face's `tojson`: no HTML escapes, and letters as they are."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=tuple(separators) if separators else None, sort_keys=sort_keys)


def _raise(message: object) -> NoReturn:
    raise TemplateError(str(message))


def _environment(now: Callable[[], datetime]) -> _Bounded:
    env = _Bounded(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation])

    def counted(items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            env.step()
            yield item

    def counted_or_list(items: Any) -> Any:
        if hasattr(items, "__len__"):  # which Jinja's loop object asks for
            env.step(len(items))
            return items
        return counted(items)

    def joined(parts: tuple[Any, ...]) -> str:
        env.step()
        env.walked(parts)
        texts = [str(part) for part in parts]
        env.sized(sum(map(len, texts)))
        return "".join(texts)

    def guarded(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        takes_first = 1 if hasattr(original, "jinja_pass_arg") else 0  # the environment or the context

        @functools.wraps(original)
        def run(*args: Any, **kwargs: Any) -> Any:
            env.step()
            value, options = args[takes_first], (*args[takes_first + 1 :], *kwargs.values())
            if isinstance(value, Iterator):
                value = list(value)
            env.walked(value)
            _check_numbers(name, options)
            texts = [o for o in options if isinstance(o, str)]
            if isinstance(value, str):
                env.text_made(name, value, options)
            if isinstance(value, str) and name == "indent":
                env.sized(len(value) + (value.count("\n") + 1) * (_WIDE if not texts else len(texts[0])) if value.count("\n") > 1000 else 0)
            if name == "join" and texts and hasattr(value, "__len__"):
                env.sized(len(value) * len(texts[0]))
            return original(*args[:takes_first], value, *args[takes_first + 1 :], **kwargs)

        return run

    env.filters |= {"tojson": to_json}
    env.filters |= {name: guarded(name, f) for name, f in env.filters.items()} | {"_counted": counted_or_list, "_joined": joined}
    env.finalize = env.walked
    env.globals |= {"raise_exception": _raise, "strftime_now": lambda form: now().strftime(form)}
    env.globals.pop("lipsum", None)
    return env


def _own(value: Any) -> Any:
    """The value, with lists that a template may change."""
    if isinstance(value, Mapping):
        return {key: _own(item) for key, item in value.items()}
    return [_own(item) for item in value] if isinstance(value, (list, tuple)) else value


class Template:
    """A Jinja template, compiled when it is first used. Threads may share it; one renders at a time.

    Args:
        source: its text.
        now: the time that templates write into prompts; the clock by default.
    """

    def __init__(self, source: str, now: Callable[[], datetime] | None = None):
        self.source, self._now = source, now or datetime.now
        self._compiled: jinja2.Template | None = None
        self._lock = threading.Lock()

    def render(self, **variables: Any) -> str:
        """The text.

        Raises:
            TemplateError: the template is wrong, refuses the variables, or would take too long.
        """
        found: list[str] = []
        size = 0
        try:
            if len(self.source) > MOST_SOURCE:
                raise TemplateError(f"the chat template has {len(self.source)} characters: at most {MOST_SOURCE} are allowed")
            with self._lock:
                if self._compiled is None:
                    self._env = _environment(self._now)
                    self._compiled = self._env.from_string(self.source)
                self._env.begin()
                for piece in self._compiled.generate(**_own(variables)):
                    size += len(piece)
                    self._env.step()
                    self._env.sized(size)
                    found.append(piece)
        except TemplateError:
            raise
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"the chat template has a syntax error in line {error.lineno}: {error.message}") from None
        except RecursionError:
            raise TemplateError("the chat template recurses without end") from None
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError, IndexError, ArithmeticError, MemoryError) as error:
            raise TemplateError(f"the chat template failed: {type(error).__name__}: {error}") from None
        return "".join(found)
