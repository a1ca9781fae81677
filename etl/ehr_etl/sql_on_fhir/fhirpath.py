"""A parser of FHIRPath: text to a tree. It knows the grammar, not the meaning."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from ehr_fhir.errors import Unprocessable


@dataclass(frozen=True)
class Literal:
    """A constant: text, boolean, number, or a date as text with its type."""

    value: str | bool | int | Decimal | None
    type: str


@dataclass(frozen=True)
class Variable:
    """`%name`."""

    name: str


@dataclass(frozen=True)
class This:
    """`$this`."""


@dataclass(frozen=True)
class Member:
    """`base.name`; without a base, an element of the focus."""

    base: Node | None
    name: str


@dataclass(frozen=True)
class Call:
    """`base.name(arguments)`."""

    base: Node | None
    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Index:
    """`base[index]`."""

    base: Node
    index: Node


@dataclass(frozen=True)
class Binary:
    """`left operator right`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Negative:
    """`-operand`."""

    operand: Node


Node = Literal | Variable | This | Member | Call | Index | Binary | Negative

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<string>'(?:[^'\\]|\\.)*')
  | (?P<date>@T?\d[\d:.TZ+-]*)
  | (?P<number>\d+(?:\.\d+)?)
  | (?P<variable>%(?:[A-Za-z_][\w-]*|`[^`]+`))
  | (?P<special>\$(?:this|index))
  | (?P<name>[A-Za-z_]\w*|`[^`]+`)
  | (?P<operator><=|>=|!=|!~|[-+*/&|=~<>.,()\[\]{}])
    )""",
    re.VERBOSE,
)
# FHIRPath 2.0 §8: from loose to tight.
_PRECEDENCE = (
    ("implies",),
    ("or", "xor"),
    ("and",),
    ("in", "contains"),
    ("=", "~", "!=", "!~"),
    ("<=", "<", ">", ">="),
    ("|",),
    ("is", "as"),
    ("+", "-", "&"),
    ("*", "/", "div", "mod"),
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}


def parse(text: str) -> Node:
    """Parse a FHIRPath expression.

    >>> parse("name.first()")
    Call(base=Member(base=None, name='name'), name='first', arguments=())
    """
    parser = _Parser(_tokens(text), text)
    node = parser.expression(0)
    parser.expect("end", "")
    return node


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    place, end = 0, len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise Unprocessable(f"The path {text!r} is not FHIRPath at character {place + 1}.")
        found.append((match.lastgroup, match.group(match.lastgroup)))
        place = match.end()
    return [*found, ("end", "")]


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]], text: str) -> None:
        self._tokens, self._text, self._at = tokens, text, 0

    def expression(self, level: int) -> Node:
        if level == len(_PRECEDENCE):
            return self._unary()
        left = self.expression(level + 1)
        while self._peek()[1] in _PRECEDENCE[level] and self._peek()[0] in ("operator", "name"):
            operator = self._take()[1]
            left = Binary(operator, left, self.expression(level + 1))
        return left

    def expect(self, kind: str, value: str) -> None:
        if self._take() != (kind, value):
            raise self._wrong()

    def _unary(self) -> Node:
        if self._peek() == ("operator", "-"):
            self._take()
            return Negative(self._unary())
        if self._peek() == ("operator", "+"):
            self._take()
        return self._postfix(self._term())

    def _postfix(self, node: Node) -> Node:
        while True:
            if self._peek() == ("operator", "."):
                self._take()
                kind, value = self._take()
                if kind != "name":
                    raise self._wrong()
                node = self._named(node, value)
            elif self._peek() == ("operator", "["):
                self._take()
                node = Index(node, self.expression(0))
                self.expect("operator", "]")
            else:
                return node

    def _term(self) -> Node:
        kind, value = self._take()
        if kind == "name":
            if value in ("true", "false"):
                return Literal(value == "true", "boolean")
            return self._named(None, value)
        if kind == "string":
            return Literal(_unescape(value[1:-1]), "string")
        if kind == "number":
            if "." in value:
                return Literal(Decimal(value), "decimal")
            return Literal(int(value), "integer")
        if kind == "date":
            return _date(value)
        if kind == "variable":
            return Variable(value[1:].strip("`"))
        if (kind, value) == ("special", "$this"):
            return This()
        if (kind, value) == ("operator", "("):
            inner = self.expression(0)
            self.expect("operator", ")")
            return inner
        if (kind, value) == ("operator", "{"):
            self.expect("operator", "}")
            return Literal(None, "string")
        raise self._wrong()

    def _named(self, base: Node | None, name: str) -> Node:
        if self._peek() != ("operator", "("):
            return Member(base, name.strip("`"))
        self._take()
        arguments: list[Node] = []
        while self._peek() != ("operator", ")"):
            arguments.append(self.expression(0))
            if self._peek() == ("operator", ","):
                self._take()
            elif self._peek() != ("operator", ")"):
                raise self._wrong()
        self._take()
        return Call(base, name, tuple(arguments))

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at]

    def _take(self) -> tuple[str, str]:
        token = self._tokens[self._at]
        self._at = min(self._at + 1, len(self._tokens) - 1)
        return token

    def _wrong(self) -> Unprocessable:
        return Unprocessable(f"The path {self._text!r} is not FHIRPath.")


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text)


def _date(text: str) -> Literal:
    if text.startswith("@T"):
        return Literal(text[2:], "time")
    return Literal(text[1:].removesuffix("T"), "dateTime" if "T" in text else "date")
