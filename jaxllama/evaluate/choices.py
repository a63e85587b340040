"""Multiple choice: which of several continuations a model finds likeliest; HellaSwag, Winogrande, and llama.cpp's binary form (ARC, MMLU, TruthfulQA)."""

from __future__ import annotations

import csv
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from .windows import log_probs, read

if TYPE_CHECKING:
    from jaxllama.api import Model

_MOST_ANSWERS = 100


@dataclass(frozen=True)
class Question:
    """Several texts of which one (or more) is right.

    Attributes:
        texts: question and answer together, one for each answer.
        right: numbers of the right answers, from 0.
        scored: for each text, where the part that decides begins: text up to there is not scored. None: where the texts begin to differ.
    """

    texts: tuple[str, ...]
    right: tuple[int, ...]
    scored: tuple[str, ...] | None = None


def pick(items: Sequence, count: int, *, uniform: bool) -> list:
    """`count` items without repetition, in the order in which llama.cpp's fixed random numbers (MT19937, seed 1) take them.

    Args:
        uniform: as C++'s uniform_int_distribution makes numbers (HellaSwag), the rest keeping their order; else as a float fraction (the others), the last
            item taking the place of the one taken.
    """
    raw = np.random.RandomState(1)._bit_generator.random_raw  # type: ignore[attr-defined]
    left, found = list(items), []
    for _ in range(min(count, len(left))):
        if uniform:
            found.append(left.pop(_below(raw, len(left))))
            continue
        place = int(np.float32(np.float32(np.float32(1 / 2**32) * np.float32(raw())) * np.float32(len(left))))
        place = min(place, len(left) - 1)
        found.append(left[place])
        left[place] = left[-1]
        left.pop()
    return found


def _below(raw: Callable[[], int], count: int) -> int:
    """A number below `count` from 32 random bits: their product's upper half, without bias (Lemire, 2019)."""
    product = int(raw()) * count
    if product % 2**32 < count:
        least = (2**32 - count) % count
        while product % 2**32 < least:
            product = int(raw()) * count
    return product >> 32


def hellaswag(text: str) -> list[Question]:
    """Tasks of six lines: context, number of the right ending, four endings.

    Raises:
        ValueError: the number of lines is wrong, or one should be a number and is not.
    """
    lines = text.split("\n")
    lines = lines[:-1] if lines and not lines[-1] else lines
    if not lines or len(lines) % 6:
        raise ValueError(f"HellaSwag tasks have 6 lines each; this file has {len(lines)} lines")
    found = []
    for i in range(0, len(lines), 6):
        if lines[i + 1].strip() not in ("0", "1", "2", "3"):
            raise ValueError(f"line {i + 2}: expected the number of an ending, 0 to 3, found {lines[i + 1]!r}")
        found.append(Question(tuple(f"{lines[i]} {ending}" for ending in lines[i + 2 : i + 6]), (int(lines[i + 1]),)))
    return found


def winogrande(text: str) -> list[Question]:
    """CSV lines: number, sentence with one `_`, two words for it, number of the right one (1 or 2).

    Raises:
        ValueError: a line is not like that.
    """
    found = []
    for i, row in enumerate(csv.reader(text.splitlines()), 1):
        if not row:
            continue
        if len(row) != 5 or "_" not in row[1] or row[4].strip() not in ("1", "2"):
            raise ValueError(f"line {i}: expected number,sentence with _,choice,choice,1 or 2; found {','.join(row)!r}")
        before, _, after = row[1].partition("_")
        texts = tuple(before + word + after for word in row[2:4])
        found.append(Question(texts, (int(row[4]) - 1,), tuple(before + word for word in row[2:4])))
    if not found:
        raise ValueError("no tasks in this file")
    return found


def multiple_choice(data: bytes) -> list[Question]:
    """llama.cpp's binary form (little endian): uint32 tasks, their positions, then each task: question, answers with one right, answers with several right.

    A string is a uint32 length and its bytes; answers are a uint32 count, strings, and an int32 for each, 1 where it is right.

    Raises:
        ValueError: the data end too early or hold impossible counts.
    """
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        if count > len(data) - at:
            raise ValueError(f"multiple-choice data end at byte {len(data)}; {count} more were expected at byte {at}")
        at += count
        return data[at - count : at]

    def number() -> int:
        return struct.unpack("<I", take(4))[0]

    def answers() -> tuple[list[str], list[int]]:
        count = number()
        if count > _MOST_ANSWERS:
            raise ValueError(f"multiple-choice data have a task with {count} answers at byte {at}; at most {_MOST_ANSWERS} are supported")
        texts = [take(number()).decode("utf-8", "replace") for _ in range(count)]
        return texts, list(struct.unpack(f"<{count}i", take(4 * count)))

    count = number()
    take(4 * count)
    found = []
    for i in range(count):
        question = take(number()).decode("utf-8", "replace")
        texts, labels = answers()
        answers()
        if not question or not texts or not all(texts):
            raise ValueError(f"multiple-choice task {i} has an empty question or answer")
        found.append(Question(tuple(f"{question} {t}" for t in texts), tuple(j for j, label in enumerate(labels) if label == 1)))
    if not found:
        raise ValueError("no tasks in this file")
    return found


@dataclass(frozen=True)
class Scored:
    """A question with the mean log probability of each answer's deciding tokens, and the answer chosen."""

    question: Question
    scores: tuple[float, ...]

    @property
    def chosen(self) -> int:
        return int(np.argmax(self.scores))

    @property
    def correct(self) -> bool:
        return self.chosen in self.question.right


def score_choices(model: Model, questions: Sequence[Question]) -> Iterator[Scored]:
    """Score questions one after the other.

    Raises:
        ValueError: a text does not fit the context, or the texts of a question are all the same.
    """
    for i, question in enumerate(questions):
        tokens = [model.tokenizer.encode(text) for text in question.texts]
        longest = max(map(len, tokens))
        if longest > model.n_ctx:
            raise ValueError(f"task {i} needs {longest} tokens, the context has {model.n_ctx}: raise n_ctx (-c)")
        prefix = next((n for n, some in enumerate(zip(*tokens, strict=False)) if len(set(some)) > 1), min(map(len, tokens)))
        if prefix == longest or prefix == 0:
            raise ValueError(f"task {i}: the answers do not differ, or their texts have no common beginning")
        spans = [(min(prefix, len(t) - 1), len(t)) for t in tokens]
        if question.scored is not None:
            spans = _after_choice(model, question.scored, tokens, prefix)
        padded = np.zeros((len(tokens), -(-longest // 32) * 32), np.int32)  # few lengths, few programs
        for row, some in zip(padded, tokens, strict=True):
            row[: len(some)] = some
        x = read(model, padded)
        scores = []
        for one, some, (start, stop) in zip(x, tokens, spans, strict=True):
            scores.append(float(np.mean(log_probs(model, one[start - 1 : stop - 1], np.asarray(some[start:stop], np.int32)))))
        yield Scored(question, tuple(scores))


def _after_choice(model: Model, scored: tuple[str, ...], tokens: list[list[int]], prefix: int) -> list[tuple[int, int]]:
    """Winogrande: what follows the word decides, but for the last token; where too little follows, the word decides too."""
    enough = all(len(t) - prefix > 3 for t in tokens)
    spans = []
    for text, some in zip(scored, tokens, strict=True):
        start = len(model.tokenizer.encode(text)) if enough else prefix
        last = 1 if len(some) - start > 1 else 0
        spans.append((start, len(some) - last))
    return spans


def wilson(correct: int, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson, 1927)."""
    share, za = correct / count, 1.95996398454
    z = za * za / count
    width = z * sqrt(count * (4 * share * (1 - share) + z)) / (za + za)
    return (share + z / 2 - width) / (1 + z), (share + z / 2 + width) / (1 + z)
