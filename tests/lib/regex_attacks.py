"""Texts that make a backtracking regular expression slow, made from the expression itself.

For every part that may repeat: what leads to it, then the part many times over, then something by
which the whole fails. Python's own parser of expressions tells the parts.
"""

from __future__ import annotations

import re
import re._constants as op  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import time
from collections.abc import Iterator
from typing import Any

__all__ = ["attack_strings", "seconds_of_slowest"]

_ALPHABET = "aA0 -/.(\"'=+:é一,;<>&\t|_@#[{~!"
_SUFFIXES = ("", "\0", "!\n", " ", '"')
# A linear expression takes milliseconds for the last of them, a quadratic one seconds. An
# exponential one shows at the first and is not asked further.
_LENGTHS = (24, 200, 2000, 7000, 20_000)
# A repetition of fewer cannot be pumped.
_MANY = 50


def attack_strings(pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Yield what leads to a part of a pattern that repeats, and the part; each pair once."""
    tree = list(parser.parse(pattern.pattern, pattern.flags))
    yield from dict.fromkeys(pair for pair in _pairs(tree, "") if pair[1])


def seconds_of_slowest(pattern: re.Pattern[str], methods: set[str], enough: float) -> float:
    """Return the longest time that a method takes on an attack; stop where it is enough."""
    slowest = 0.0
    for prefix, pump in attack_strings(pattern):
        for lead in {prefix, ""}:
            for suffix in _SUFFIXES:
                for length in _LENGTHS:
                    text = lead + pump * (length // len(pump)) + suffix
                    slowest = max(slowest, *(_seconds(pattern, name, text) for name in methods))
                    if slowest > enough:
                        return slowest
    return slowest


def _seconds(pattern: re.Pattern[str], method: str, text: str) -> float:
    begin = time.perf_counter()
    if method in ("sub", "subn"):
        pattern.sub("", text)
    elif method == "finditer":
        for _ in pattern.finditer(text):
            pass
    else:
        getattr(pattern, method)(text)
    return time.perf_counter() - begin


def _pairs(tree: list[Any], lead: str) -> Iterator[tuple[str, str]]:
    for place, (kind, value) in enumerate(tree):
        before = lead + _example(tree[:place])
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            _, most, body = value
            after = _example(tree[place + 1 : place + 2])
            if most >= _MANY:
                yield from ((before, part) for part in (_example(body), _example(body) + after))
                yield before, after
            yield from _pairs(list(body), before)
        elif kind is op.SUBPATTERN:
            yield from _pairs(list(value[3]), before)
        elif kind is op.BRANCH:
            for branch in value[1]:
                yield from _pairs(list(branch), before)
        elif kind in (op.ASSERT, op.ASSERT_NOT):
            yield from _pairs(list(value[1]), before)
    yield "", _example(tree)


def _example(tree: Any) -> str:
    return "".join(_example_of(kind, value) for kind, value in tree)


def _example_of(kind: Any, value: Any) -> str:
    if kind is op.LITERAL:
        return chr(value)
    if kind is op.IN:
        return str(next((one for one in _ALPHABET if _is_in(one, value)), _first_of(value)))
    if kind in (op.NOT_LITERAL, op.ANY):
        return "a"
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        return _example(value[2]) * max(int(value[0]), 1)
    if kind is op.SUBPATTERN:
        return _example(value[3])
    return _example(value[1][0]) if kind is op.BRANCH else ""


def _is_in(letter: str, items: Any) -> bool:
    negated = bool(items[0][0] is op.NEGATE)
    return negated != any(_is_item(letter, *item) for item in items[negated:])


def _is_item(letter: str, kind: Any, value: Any) -> bool:
    if kind is op.LITERAL:
        return bool(ord(letter) == value)
    if kind is op.RANGE:
        return bool(value[0] <= ord(letter) <= value[1])
    names = {
        op.CATEGORY_DIGIT: letter.isdigit(),
        op.CATEGORY_SPACE: letter.isspace(),
        op.CATEGORY_WORD: letter.isalnum() or letter == "_",
        op.CATEGORY_NOT_DIGIT: not letter.isdigit(),
        op.CATEGORY_NOT_SPACE: not letter.isspace(),
        op.CATEGORY_NOT_WORD: not (letter.isalnum() or letter == "_"),
    }
    return names[value]


def _first_of(items: Any) -> str:
    """Return a letter of the last item of a set."""
    _, value = items[-1]
    first: Any = value[0] if isinstance(value, tuple) else value
    return chr(first) if isinstance(first, int) else "a"
