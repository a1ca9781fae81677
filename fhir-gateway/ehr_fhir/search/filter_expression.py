"""`_filter`: an expression of comparisons with `and`, `or`, `not` (R4 §3.1.3, search_filter.html).

Each comparison becomes the filter that the parameter itself would give. `and` and `or` bind alike,
from left to right, as the specification has it. A fault names the character where it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ehr_fhir.errors import Invalid, TooCostly
from ehr_fhir.search.filters import (
    AnyOf,
    Clause,
    Filter,
    Not,
    UnknownParameter,
    allowed_modifiers,
    parse_chain,
    served_parameter,
)
from ehr_fhir.search.value_parser import SearchValue, parse_value
from ehr_fhir.search_parameters import SearchParameter

__all__ = ["MAX_COMPARISONS", "parse_expression"]

# Chosen: each becomes a subquery.
MAX_COMPARISONS = 32
# Parentheses; a database reads a bounded number of open levels.
_MAX_DEPTH = 6
_TOKEN = re.compile(r'\s*(?:([()])|("(?:[^"\\]|\\.)*")|([^\s()"]+))')
_ESCAPE = re.compile(r"\\(.)")
_ORDERED = frozenset({"ap", "eb", "eq", "ge", "gt", "le", "lt", "ne", "po", "sa"})
# Operator -> modifier of the parameter, by the parameter's type.
_MODIFIERS: dict[str, dict[str, str | None]] = {
    "reference": {"eq": None, "re": None},
    "string": {"co": "contains", "eq": "equals", "ew": "ends", "sw": None},
    "token": {"eq": None, "in": "in", "ni": "not-in", "sb": "below", "ss": "above"},
    "uri": {"eq": None, "sb": "below", "ss": "above", "sw": "below"},
}
_OPERATORS = _ORDERED | {"pr"} | {name for names in _MODIFIERS.values() for name in names}


def parse_expression(resource_type: str, text: str) -> Filter:
    """Parse a `_filter` expression over the search parameters of a resource type.

    >>> parse_expression("Patient", "not (gender eq male)").filter.parameter.code
    'gender'
    """
    parser = _Parser(resource_type, _tokens(text), len(text))
    found = parser.expression(0)
    if parser.at < len(parser.tokens):
        raise parser.fault("`and`, `or` or the end")
    return found


@dataclass(frozen=True)
class _Token:
    text: str
    position: int
    kind: str  # parenthesis, string, word


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    stripped = len(text.rstrip())
    while at < stripped:
        match = _TOKEN.match(text, at)
        if match is None:
            start = len(text) - len(text[at:].lstrip())
            raise Invalid(f"`_filter`: the string that begins at character {start + 1} has no end.")
        kind = ("parenthesis", "string", "word")[(match.lastindex or 1) - 1]
        tokens.append(_Token(match[match.lastindex or 1], match.start(match.lastindex or 1), kind))
        at = match.end()
    return tokens


class _Parser:
    def __init__(self, resource_type: str, tokens: list[_Token], length: int) -> None:
        self.resource_type = resource_type
        self.tokens = tokens
        self.at = 0
        self._length = length
        self._comparisons = 0

    def expression(self, depth: int) -> Filter:
        if depth > _MAX_DEPTH:
            raise TooCostly(f"`_filter` takes at most {_MAX_DEPTH} levels of parentheses.")
        left = self._term(depth)
        while self._word() in ("and", "or"):
            operator = self._take("an operator").text
            right = self._term(depth)
            left = AnyOf(((left, right),) if operator == "and" else ((left,), (right,)))
        return left

    def fault(self, wanted: str) -> Invalid:
        place = self.tokens[self.at].position if self.at < len(self.tokens) else self._length
        return Invalid(f"`_filter`: {wanted} is missing at character {place + 1}.")

    def _term(self, depth: int) -> Filter:
        if self._word() == "not":
            self.at += 1
            self._parenthesis("(")
            inner = self.expression(depth + 1)
            self._parenthesis(")")
            return Not(inner)
        if self._word() == "(":
            self.at += 1
            inner = self.expression(depth + 1)
            self._parenthesis(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Filter:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise TooCostly(f"`_filter` takes at most {MAX_COMPARISONS} comparisons.")
        path = self._take("a parameter")
        operator = self._take("an operator", "word")
        if operator.text not in _OPERATORS:
            self.at -= 1
            raise self.fault("an operator such as `eq`")
        value = self._take("a value")
        if value.kind == "parenthesis":
            self.at -= 1
            raise self.fault("a value")
        text = value.text
        if value.kind == "string":
            text = _ESCAPE.sub(r"\1", text[1:-1])
        try:
            return _compared(self.resource_type, path.text, operator.text, text)
        except (Invalid, UnknownParameter) as error:
            where = f"`_filter`, character {path.position + 1}"
            code = error.issues[0].code if isinstance(error, Invalid) else "not-supported"
            raise Invalid(f"{where}: {error}", issue_code=code) from None

    def _word(self) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at].kind == "string":
            return ""
        return self.tokens[self.at].text

    def _take(self, wanted: str, kind: str = "") -> _Token:
        if self.at >= len(self.tokens) or (kind and self.tokens[self.at].kind != kind):
            raise self.fault(wanted)
        self.at += 1
        return self.tokens[self.at - 1]

    def _parenthesis(self, which: str) -> None:
        if self._word() != which:
            raise self.fault(f"`{which}`")
        self.at += 1


def _compared(kind: str, path: str, operator: str, text: str, depth: int = 0) -> Filter:
    """Return the filter of one comparison, inside a chain for each reference in its path."""
    if "[" in path:
        raise Invalid("a filter in brackets is not served; use `_has`.", issue_code="not-supported")
    head, dot, rest = path.partition(".")
    code, _, modifier = head.partition(":")
    parameter = served_parameter(kind, code)
    if dot:
        found = parse_chain(
            parameter,
            modifier,
            depth,
            lambda target: _compared(target, rest, operator, text, depth + 1),
        )
        assert found is not None  # noqa: S101 - a comparison is never empty
        return found
    if modifier:
        raise Invalid(f"an operator says how to compare, not `:{modifier[:64]}`.")
    if operator == "pr":
        if text not in ("true", "false"):
            raise Invalid("`pr` takes `true` or `false`.")
        absent = "false" if text == "true" else "true"
        return _clause(parameter, "missing", SearchValue(code=absent))
    return _of_type(parameter, operator, text)


def _of_type(parameter: SearchParameter, operator: str, text: str) -> Filter:
    kind = parameter.type
    if parameter.is_full_text:
        text = f"`{parameter.code}` is a parameter of its own beside `_filter`."
        raise Invalid(text, issue_code="not-supported")
    if text == "":
        raise Invalid("the value is empty.")
    if kind in ("date", "number", "quantity"):
        if operator not in _ORDERED or (operator == "po" and kind != "date"):
            raise _not_for(operator, kind)
        value = replace(parse_value(parameter, None, f"eq{text}"), prefix=operator)
        return _clause(parameter, None, value)
    known_here = _MODIFIERS.get(kind, {})
    negated = operator == "ne" and "eq" in known_here
    if not negated and operator not in known_here:
        raise _not_for(operator, kind)
    found = known_here["eq" if negated else operator]
    clause = _clause(parameter, found, parse_value(parameter, found, _escaped(text, kind)))
    return Not(clause) if negated else clause


def _clause(parameter: SearchParameter, modifier: str | None, value: SearchValue) -> Clause:
    own = {"ends", "equals"}
    if parameter.components or (modifier and modifier not in {*allowed_modifiers(parameter), *own}):
        raise Invalid(f"`{parameter.code}` is not compared like this.", issue_code="not-supported")
    return Clause(parameter, modifier, (value,))


def _not_for(operator: str, kind: str) -> Invalid:
    return Invalid(
        f"`{operator}` is not served for a parameter of type {kind}.", issue_code="not-supported"
    )


def _escaped(text: str, kind: str) -> str:
    """Escape the separators of a search value: a comparison has one value, not a list."""
    for letter in "\\,$" if kind == "token" else "\\,$|":
        text = text.replace(letter, f"\\{letter}")
    return text
