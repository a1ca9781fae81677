"""Strings (N1 §5.6) and the trial-use ones beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ehr_fhir.fhirpath.linear_regex import compile_pattern
from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import to_integer, to_string

__all__: list[str] = []


def _with_text(name: str, run: Callable[[str, str], object]) -> None:
    """Register a function of a string and a string."""

    @register_function(name, 1)
    def call(scope: Scope, items: list[Any], other: list[Any]) -> list[Any]:
        value, argument = to_string(items, f"`{name}()`"), to_string(other, f"`{name}()`")
        return [] if value is None or argument is None else [run(value, argument)]


_with_text("indexOf", lambda value, other: value.find(other))
_with_text("lastIndexOf", lambda value, other: value.rfind(other))
_with_text("startsWith", lambda value, other: value.startswith(other))
_with_text("endsWith", lambda value, other: value.endswith(other))
_with_text("contains", lambda value, other: other in value)


@register_function("matches", 1)
def _matches(scope: Scope, items: list[Any], pattern: list[Any]) -> list[Any]:
    value, wanted = to_string(items, "`matches()`"), to_string(pattern, "`matches()`")
    if value is None or wanted is None:
        return []
    return [compile_pattern(wanted).is_in(value, scope.evaluation.count_steps)]


@register_function("matchesFull", 1)
def _matches_full(scope: Scope, items: list[Any], pattern: list[Any]) -> list[Any]:
    value, wanted = to_string(items, "`matchesFull()`"), to_string(pattern, "`matchesFull()`")
    if value is None or wanted is None:
        return []
    return [compile_pattern(wanted).is_whole(value, scope.evaluation.count_steps)]


def _of_text(name: str, run: Callable[[str], list[Any]]) -> None:
    """Register a function of a string alone."""

    @register_function(name)
    def call(scope: Scope, items: list[Any]) -> list[Any]:
        value = to_string(items, f"`{name}()`")
        return [] if value is None else run(value)


_of_text("upper", lambda value: [value.upper()])
_of_text("lower", lambda value: [value.lower()])
_of_text("length", lambda value: [len(value)])
_of_text("trim", lambda value: [value.strip()])


@register_function("toChars")
def _to_chars(scope: Scope, items: list[Any]) -> list[Any]:
    value = to_string(items, "`toChars()`")
    scope.evaluation.count_steps(len(value or ""))
    return list(value or "")


@register_function("substring", 1, 2)
def _substring(
    scope: Scope, items: list[Any], start: list[Any], length: list[Any] | None = None
) -> list[Any]:
    value, first = to_string(items, "`substring()`"), to_integer(start, "`substring()`")
    count = to_integer(length, "`substring()`") if length else None
    if value is None or first is None or not 0 <= first < len(value):
        return []
    return [value[first:] if count is None else value[first : first + max(count, 0)]]


@register_function("replace", 2)
def _replace(scope: Scope, items: list[Any], old: list[Any], new: list[Any]) -> list[Any]:
    value, before, after = (to_string(part, "`replace()`") for part in (items, old, new))
    if value is None or before is None or after is None:
        return []
    scope.evaluation.count_string(len(value) + (value.count(before) * (len(after) - len(before))))
    if before == "":
        # Around every character (N1 §5.6.9), but not after the last.
        return [
            scope.evaluation.check_string("".join(after + character for character in value) + after)
        ]
    return [scope.evaluation.check_string(value.replace(before, after))]


@register_function("replaceMatches", 2)
def _replace_matches(
    scope: Scope, items: list[Any], pattern: list[Any], new: list[Any]
) -> list[Any]:
    value, before, after = (to_string(part, "`replaceMatches()`") for part in (items, pattern, new))
    if value is None or before is None or after is None:
        return []
    if before == "":
        return [value]
    pieces: list[str] = []
    length = 0
    for piece in compile_pattern(before).replace(value, after, scope.evaluation.count_steps):
        length += len(piece)
        scope.evaluation.check_string_length(length)
        pieces.append(piece)
    return [scope.evaluation.check_string("".join(pieces))]


@register_function("split", 1)
def _split(scope: Scope, items: list[Any], separator: list[Any]) -> list[Any]:
    value, mark = to_string(items, "`split()`"), to_string(separator, "`split()`")
    if value is None or mark is None:
        return []
    return list(value) if mark == "" else list(value.split(mark))


@register_function("join", 0, 1)
def _join(scope: Scope, items: list[Any], separator: list[Any] | None = None) -> list[Any]:
    mark = to_string(separator or [], "`join()`") or ""
    texts = [to_string([item], "`join()`") for item in items]
    found = [piece for piece in texts if piece is not None]
    return [scope.evaluation.check_string(mark.join(found))] if found else []
