"""Tokens to a tree, by precedence climbing (FHIRPath N1 §12: the grammar; §6.8: precedence)."""

from __future__ import annotations

from decimal import Decimal

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath import syntax, temporal
from ehr_fhir.fhirpath.datatypes import TypeSpecifier, resolve_type_specifier
from ehr_fhir.fhirpath.lexer import Token, syntax_error, tokenize
from ehr_fhir.fhirpath.quantity import Quantity, calendar_unit

__all__ = ["parse"]

_PRECEDENCE = {
    "implies": 1,
    **dict.fromkeys(("or", "xor"), 2),
    "and": 3,
    **dict.fromkeys(("in", "contains"), 4),
    **dict.fromkeys(("=", "~", "!=", "!~"), 5),
    **dict.fromkeys(("<", "<=", ">", ">="), 6),
    "|": 7,
    **dict.fromkeys(("is", "as"), 8),
    **dict.fromkeys(("+", "-", "&"), 9),
    **dict.fromkeys(("*", "/", "div", "mod"), 10),
}
_UNARY = 11
_TYPED = frozenset({"is", "as", "ofType"})
_MAX_INTEGER = 2**31 - 1
# Chosen: the compiler and its closures call each other once or more for each level.
_MAX_DEPTH = 120


def parse(expression: str) -> syntax.Node:
    """Parse an expression; refuse what does not follow the grammar, naming the place."""
    parser = _Parser(expression)
    try:
        tree = parser.whole()
    except RecursionError:
        raise _too_deep() from None
    if syntax.nesting_depth(tree) > _MAX_DEPTH:
        raise _too_deep()
    return tree


def _too_deep() -> Invalid:
    text = f"The FHIRPath expression is nested more than {_MAX_DEPTH} levels deep."
    return Invalid(text, issue_code="too-costly")


class _Parser:
    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens = tokenize(expression)
        self.at = 0

    def whole(self) -> syntax.Node:
        tree = self.climb(0)
        if self.token.kind != "end":
            raise self.fault(f"`{self.token.text[:20]}` was not expected")
        return tree

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def fault(self, reason: str, token: Token | None = None) -> Invalid:
        return syntax_error(self.expression, (token or self.token).position, reason)

    def take(self) -> Token:
        token = self.token
        self.at += token.kind != "end"
        return token

    def accept(self, mark: str) -> bool:
        if self.token.kind == "mark" and self.token.text == mark:
            self.at += 1
            return True
        return False

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            raise self.fault(f"`{mark}` was expected")

    def climb(self, least: int) -> syntax.Node:
        left = self.prefix()
        while True:
            token = self.token
            power = _PRECEDENCE.get(token.text, 0) if token.kind in ("mark", "word") else 0
            if power <= least:
                return left
            self.take()
            if token.text in ("is", "as"):
                type_specifier = self.type_specifier()
                left = syntax.TypeTest(token.position, token.text, left, type_specifier)
            else:
                right = self.climb(power)
                left = syntax.Binary(token.position, token.text, left, right)

    def prefix(self) -> syntax.Node:
        token = self.token
        if token.kind == "mark" and token.text in "+-":
            self.take()
            return syntax.Unary(token.position, token.text, self.climb(_UNARY - 1))
        node = self.term()
        while True:
            token = self.token
            if self.accept("."):
                node = self.invocation(node)
            elif self.accept("["):
                node = syntax.Index(token.position, node, self.climb(0))
                self.expect("]")
            else:
                return node

    def term(self) -> syntax.Node:
        token = self.token
        if token.kind == "word" and token.text in ("true", "false"):
            self.take()
            return syntax.Literal(token.position, (token.text == "true",))
        if token.kind in ("word", "quoted", "special"):
            return self.invocation(None)
        self.take()
        if token.kind == "mark":
            return self.bracket(token)
        return self.literal(token)

    def bracket(self, token: Token) -> syntax.Node:
        if token.text == "(":
            inner = self.climb(0)
            self.expect(")")
            return inner
        if token.text == "{":
            self.expect("}")
            return syntax.Literal(token.position, ())
        if token.text == "%":
            name = self.take()
            if name.kind not in ("word", "quoted", "string"):
                raise self.fault("the name of a variable was expected", name)
            return syntax.Variable(token.position, name.text)
        raise self.fault(f"`{token.text}` was not expected", token)

    def literal(self, token: Token) -> syntax.Node:
        if token.kind == "string":
            return syntax.Literal(token.position, (token.text,))
        if token.kind == "number":
            return self.number(token)
        text = token.text[1:]
        found: object = None
        if token.kind == "date":
            found = temporal.parse_date(text)
        elif token.kind == "datetime":
            found = temporal.parse_datetime(text)
        elif token.kind == "time":
            text = text[1:]
            found = temporal.parse_time(text)
        else:
            raise self.fault("an expression was expected", token)
        if found is None:
            raise self.fault("there is no such date or time", token)
        # `@2015T` is a date-time that JSON writes without its T.
        return syntax.Literal(token.position, (found,), text.removesuffix("T"))

    def number(self, token: Token) -> syntax.Node:
        follower = self.token
        value = Decimal(token.text)
        if follower.kind == "string":
            self.take()
            return syntax.Literal(token.position, (Quantity(value, follower.text or "1"),))
        if follower.kind == "word" and calendar_unit(follower.text):
            self.take()
            return syntax.Literal(token.position, (Quantity(value, follower.text, True),))
        if "." in token.text:
            return syntax.Literal(token.position, (value,))
        if value > _MAX_INTEGER:
            raise self.fault("an integer has at most 31 bits", token)
        return syntax.Literal(token.position, (int(token.text),))

    def invocation(self, base: syntax.Node | None) -> syntax.Node:
        token = self.take()
        if token.kind == "special":
            if base is not None:
                raise self.fault(f"`{token.text}` cannot follow a dot", token)
            return syntax.Special(token.position, token.text)
        if token.kind not in ("word", "quoted"):
            raise self.fault("a name was expected", token)
        if not self.accept("("):
            return syntax.Member(token.position, base, token.text)
        if token.text in _TYPED:
            type_specifier = self.type_specifier()
            self.expect(")")
            return syntax.Call(token.position, base, token.text, (), type_specifier)
        arguments = () if self.accept(")") else self.arguments(token.text)
        return syntax.Call(token.position, base, token.text, arguments)

    def arguments(self, function: str) -> tuple[syntax.Node, ...]:
        found = []
        while True:
            node = self.climb(0)
            found.append(self.sort_key(node) if function == "sort" else node)
            if self.accept(")"):
                return tuple(found)
            self.expect(",")

    def sort_key(self, node: syntax.Node) -> syntax.Node:
        """Read the direction of a key: a minus before it (R4's suite) or a word after it."""
        if self.token.kind == "word" and self.token.text in ("asc", "desc"):
            return syntax.SortKey(node.position, node, self.take().text == "desc")
        if isinstance(node, syntax.Unary) and node.operator == "-":
            return syntax.SortKey(node.position, node.operand, True)
        return syntax.SortKey(node.position, node)

    def type_specifier(self) -> TypeSpecifier:
        first = self.token
        parts = [self.name()]
        # A dot after a type may also start the next step: `(x as Quantity.value)` is not FHIRPath.
        while self.accept("."):
            parts.append(self.name())
        found = resolve_type_specifier(tuple(parts))
        if found is None:
            raise self.fault(f"there is no type `{'.'.join(parts)[:60]}`", first)
        return found

    def name(self) -> str:
        token = self.take()
        if token.kind not in ("word", "quoted"):
            raise self.fault("a name was expected", token)
        return token.text
