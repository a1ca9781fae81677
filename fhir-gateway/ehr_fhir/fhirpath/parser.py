"""Parser: tokens to a syntax tree by precedence climbing (FHIRPath N1 §12; precedence §6.8)."""

from __future__ import annotations

from decimal import Decimal

from ehr_fhir.errors import Invalid
from ehr_fhir.fhirpath import syntax, temporal
from ehr_fhir.fhirpath.datatypes import TypeSpecifier, resolve_type_specifier
from ehr_fhir.fhirpath.lexer import Token, syntax_error, tokenize
from ehr_fhir.fhirpath.quantity import Quantity, calendar_unit

__all__ = ["parse"]

# Binary operators by how tightly they bind, the loosest first (§6.8).
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
_UNARY_PRECEDENCE = 11
_TYPE_FUNCTIONS = frozenset({"is", "as", "ofType"})
_MAX_INTEGER = 2**31 - 1
# Chosen: the compiler and its closures call each other once or more for each level.
_MAX_DEPTH = 120


def parse(expression: str) -> syntax.Node:
    """Parse an expression to its syntax tree; raise Invalid with line and column.

    >>> parse("a.b")
    Member(position=2, base=Member(position=0, base=None, name='a'), name='b')
    """
    parser = _Parser(expression)
    try:
        tree = parser.parse_whole()
    except RecursionError:
        raise _nesting_error() from None
    if syntax.nesting_depth(tree) > _MAX_DEPTH:
        raise _nesting_error()
    return tree


def _nesting_error() -> Invalid:
    text = f"The FHIRPath expression is nested more than {_MAX_DEPTH} levels deep."
    return Invalid(text, issue_code="too-costly")


class _Parser:
    """Recursive-descent parser: each `parse_…` reads a rule of the grammar from the next token."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens = tokenize(expression)
        self.index = 0

    def parse_whole(self) -> syntax.Node:
        tree = self.parse_operators(0)
        if self.token.kind != "end":
            raise self.syntax_error(f"`{self.token.text[:20]}` was not expected")
        return tree

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    def syntax_error(self, reason: str, token: Token | None = None) -> Invalid:
        return syntax_error(self.expression, (token or self.token).position, reason)

    def take(self) -> Token:
        token = self.token
        self.index += token.kind != "end"
        return token

    def accept(self, mark: str) -> bool:
        if self.token.kind == "mark" and self.token.text == mark:
            self.index += 1
            return True
        return False

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            raise self.syntax_error(f"`{mark}` was expected")

    def parse_operators(self, min_precedence: int) -> syntax.Node:
        """Read operands and all operators that bind tighter than a precedence."""
        left = self.parse_unary()
        while True:
            token = self.token
            precedence = _PRECEDENCE.get(token.text, 0) if token.kind in ("mark", "word") else 0
            if precedence <= min_precedence:
                return left
            self.take()
            if token.text in ("is", "as"):
                type_specifier = self.parse_type_specifier()
                left = syntax.TypeTest(token.position, token.text, left, type_specifier)
            else:
                right = self.parse_operators(precedence)
                left = syntax.Binary(token.position, token.text, left, right)

    def parse_unary(self) -> syntax.Node:
        token = self.token
        if token.kind == "mark" and token.text in "+-":
            self.take()
            return syntax.Unary(
                token.position, token.text, self.parse_operators(_UNARY_PRECEDENCE - 1)
            )
        node = self.parse_term()
        while True:
            token = self.token
            if self.accept("."):
                node = self.parse_invocation(node)
            elif self.accept("["):
                node = syntax.Index(token.position, node, self.parse_operators(0))
                self.expect("]")
            else:
                return node

    def parse_term(self) -> syntax.Node:
        token = self.token
        if token.kind == "word" and token.text in ("true", "false"):
            self.take()
            return syntax.Literal(token.position, (token.text == "true",))
        if token.kind in ("word", "quoted", "special"):
            return self.parse_invocation(None)
        self.take()
        if token.kind == "mark":
            return self.parse_symbol(token)
        return self.parse_literal(token)

    def parse_symbol(self, token: Token) -> syntax.Node:
        if token.text == "(":
            inner = self.parse_operators(0)
            self.expect(")")
            return inner
        if token.text == "{":
            self.expect("}")
            return syntax.Literal(token.position, ())
        if token.text == "%":
            name = self.take()
            if name.kind not in ("word", "quoted", "string"):
                raise self.syntax_error("the name of a variable was expected", name)
            return syntax.Variable(token.position, name.text)
        raise self.syntax_error(f"`{token.text}` was not expected", token)

    def parse_literal(self, token: Token) -> syntax.Node:
        if token.kind == "string":
            return syntax.Literal(token.position, (token.text,))
        if token.kind == "number":
            return self.parse_number(token)
        text = token.text[1:]
        value: object = None
        if token.kind == "date":
            value = temporal.parse_date(text)
        elif token.kind == "datetime":
            value = temporal.parse_datetime(text)
        elif token.kind == "time":
            text = text[1:]
            value = temporal.parse_time(text)
        else:
            raise self.syntax_error("an expression was expected", token)
        if value is None:
            raise self.syntax_error("there is no such date or time", token)
        # `@2015T` is a DateTime, which JSON writes without the T.
        return syntax.Literal(token.position, (value,), text.removesuffix("T"))

    def parse_number(self, token: Token) -> syntax.Node:
        next_token = self.token
        value = Decimal(token.text)
        if next_token.kind == "string":
            self.take()
            return syntax.Literal(token.position, (Quantity(value, next_token.text or "1"),))
        if next_token.kind == "word" and calendar_unit(next_token.text):
            self.take()
            return syntax.Literal(token.position, (Quantity(value, next_token.text, True),))
        if "." in token.text:
            return syntax.Literal(token.position, (value,))
        if value > _MAX_INTEGER:
            raise self.syntax_error("an integer has at most 31 bits", token)
        return syntax.Literal(token.position, (int(token.text),))

    def parse_invocation(self, base: syntax.Node | None) -> syntax.Node:
        token = self.take()
        if token.kind == "special":
            if base is not None:
                raise self.syntax_error(f"`{token.text}` cannot follow a dot", token)
            return syntax.Special(token.position, token.text)
        if token.kind not in ("word", "quoted"):
            raise self.syntax_error("a name was expected", token)
        if not self.accept("("):
            return syntax.Member(token.position, base, token.text)
        if token.text in _TYPE_FUNCTIONS:
            type_specifier = self.parse_type_specifier()
            self.expect(")")
            return syntax.Call(token.position, base, token.text, (), type_specifier)
        arguments = () if self.accept(")") else self.parse_arguments(token.text)
        return syntax.Call(token.position, base, token.text, arguments)

    def parse_arguments(self, function: str) -> tuple[syntax.Node, ...]:
        arguments = []
        while True:
            node = self.parse_operators(0)
            arguments.append(self.parse_sort_key(node) if function == "sort" else node)
            if self.accept(")"):
                return tuple(arguments)
            self.expect(",")

    def parse_sort_key(self, node: syntax.Node) -> syntax.Node:
        """Read the direction of a sort key: a minus before it (R4's suite) or a word after it."""
        if self.token.kind == "word" and self.token.text in ("asc", "desc"):
            return syntax.SortKey(node.position, node, self.take().text == "desc")
        if isinstance(node, syntax.Unary) and node.operator == "-":
            return syntax.SortKey(node.position, node.operand, True)
        return syntax.SortKey(node.position, node)

    def parse_type_specifier(self) -> TypeSpecifier:
        first = self.token
        parts = [self.parse_identifier()]
        # Each dot belongs to the type: in `x as Quantity.value` there is no member `value`.
        while self.accept("."):
            parts.append(self.parse_identifier())
        type_specifier = resolve_type_specifier(tuple(parts))
        if type_specifier is None:
            raise self.syntax_error(f"there is no type `{'.'.join(parts)[:60]}`", first)
        return type_specifier

    def parse_identifier(self) -> str:
        token = self.take()
        if token.kind not in ("word", "quoted"):
            raise self.syntax_error("a name was expected", token)
        return token.text
