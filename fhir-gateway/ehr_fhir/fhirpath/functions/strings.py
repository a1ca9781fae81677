"""String manipulation (FHIRPath N1 §5.6), and the trial-use functions of strings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ehr_fhir.fhirpath.linear_regex import compile_pattern
from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import to_integer, to_string

__all__: list[str] = []


def _register_two_string_function(name: str, compute: Callable[[str, str], object]) -> None:
    """Register a function of the input string and a string argument."""

    @register_function(name, 1)
    def apply_to_strings(scope: Scope, items: list[Any], argument: list[Any]) -> list[Any]:
        value, other = to_string(items, f"`{name}()`"), to_string(argument, f"`{name}()`")
        return [] if value is None or other is None else [compute(value, other)]


_register_two_string_function("indexOf", lambda value, other: value.find(other))
_register_two_string_function("lastIndexOf", lambda value, other: value.rfind(other))
_register_two_string_function("startsWith", lambda value, other: value.startswith(other))
_register_two_string_function("endsWith", lambda value, other: value.endswith(other))
_register_two_string_function("contains", lambda value, other: other in value)


@register_function("matches", 1)
def _matches(scope: Scope, items: list[Any], regex: list[Any]) -> list[Any]:
    value, pattern = to_string(items, "`matches()`"), to_string(regex, "`matches()`")
    if value is None or pattern is None:
        return []
    return [compile_pattern(pattern).matches_part(value, scope.evaluation.count_steps)]


@register_function("matchesFull", 1)
def _matches_full(scope: Scope, items: list[Any], regex: list[Any]) -> list[Any]:
    value, pattern = to_string(items, "`matchesFull()`"), to_string(regex, "`matchesFull()`")
    if value is None or pattern is None:
        return []
    return [compile_pattern(pattern).matches_whole(value, scope.evaluation.count_steps)]


def _register_string_function(name: str, compute: Callable[[str], list[Any]]) -> None:
    """Register a function of the input string alone."""

    @register_function(name)
    def apply_to_string(scope: Scope, items: list[Any]) -> list[Any]:
        value = to_string(items, f"`{name}()`")
        return [] if value is None else compute(value)


_register_string_function("upper", lambda value: [value.upper()])
_register_string_function("lower", lambda value: [value.lower()])
_register_string_function("length", lambda value: [len(value)])
_register_string_function("trim", lambda value: [value.strip()])


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
def _replace(
    scope: Scope, items: list[Any], pattern: list[Any], substitution: list[Any]
) -> list[Any]:
    value, old, new = (to_string(part, "`replace()`") for part in (items, pattern, substitution))
    if value is None or old is None or new is None:
        return []
    # The length of the result is known beforehand, so a string too long is never built.
    scope.evaluation.count_string(len(value) + (value.count(old) * (len(new) - len(old))))
    if old == "":
        # An empty pattern surrounds every character with the substitution (N1 §5.6).
        surrounded = "".join(new + character for character in value) + new
        return [scope.evaluation.check_string(surrounded)]
    return [scope.evaluation.check_string(value.replace(old, new))]


@register_function("replaceMatches", 2)
def _replace_matches(
    scope: Scope, items: list[Any], regex: list[Any], substitution: list[Any]
) -> list[Any]:
    name = "`replaceMatches()`"
    value, pattern, template = (to_string(part, name) for part in (items, regex, substitution))
    if value is None or pattern is None or template is None:
        return []
    if pattern == "":
        return [value]
    pieces: list[str] = []
    length = 0
    for piece in compile_pattern(pattern).replace(value, template, scope.evaluation.count_steps):
        length += len(piece)
        scope.evaluation.check_string_length(length)
        pieces.append(piece)
    return [scope.evaluation.check_string("".join(pieces))]


@register_function("split", 1)
def _split(scope: Scope, items: list[Any], separator: list[Any]) -> list[Any]:
    value, delimiter = to_string(items, "`split()`"), to_string(separator, "`split()`")
    if value is None or delimiter is None:
        return []
    return list(value) if delimiter == "" else list(value.split(delimiter))


@register_function("join", 0, 1)
def _join(scope: Scope, items: list[Any], separator: list[Any] | None = None) -> list[Any]:
    delimiter = to_string(separator or [], "`join()`") or ""
    values = [to_string([item], "`join()`") for item in items]
    strings = [value for value in values if value is not None]
    return [scope.evaluation.check_string(delimiter.join(strings))] if strings else []
