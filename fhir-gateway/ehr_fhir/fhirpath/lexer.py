"""Lexer: the text of an expression to tokens (FHIRPath N1 §8, and the lexer rules of §12)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ehr_fhir.errors import Invalid

__all__ = ["Token", "syntax_error", "tokenize"]

_DATE = r"\d{4}(?:-\d\d(?:-\d\d)?)?"
_CLOCK = r"\d\d(?::\d\d(?::\d\d(?:\.\d+)?)?)?"
_TOKEN = re.compile(
    rf"""
      (?P<space> \s+ | //[^\r\n]* | /\*.*?\*/ )
    | (?P<time> @T{_CLOCK} )
    | (?P<datetime> @{_DATE}T(?:{_CLOCK}(?:Z|[+-]\d\d:\d\d)?)? )
    | (?P<date> @{_DATE} )
    | (?P<number> \d+(?:\.\d+)? )
    | (?P<word> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<quoted> `(?:[^`\\]|\\.)*` )
    | (?P<string> '(?:[^'\\]|\\.)*' )
    | (?P<special> \$(?:this|index|total)\b )
    | (?P<mark> !=|!~|<=|>=|[-+*/&|=~<>.,()\[\]{{}}%] )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"'": "'", '"': '"', "`": "`", "\\": "\\", "/": "/"}
_ESCAPES |= {"r": "\r", "n": "\n", "t": "\t", "f": "\f"}
# Chosen: R4's longest search expression has 1,386.
_MAX_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Token:
    """A token: kind, text and start; strings and delimited identifiers are without escapes."""

    kind: str
    text: str
    position: int


def tokenize(expression: str) -> list[Token]:
    """Split an expression into tokens, the last of kind `end`; raise Invalid for other text.

    >>> [token.text for token in tokenize("a.`b` + 'c' // d")]
    ['a', '.', 'b', '+', 'c', '']
    """
    if len(expression) > _MAX_CHARACTERS:
        raise Invalid(f"The FHIRPath expression is longer than {_MAX_CHARACTERS} characters.")
    tokens, position = [], 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if not match or not match.lastgroup:
            raise syntax_error(expression, position, "there is no such symbol, or it has no end")
        kind, text = match.lastgroup, match[0]
        if kind in ("string", "quoted"):
            text = _unescape(expression, text[1:-1], position)
        if kind != "space":
            tokens.append(Token(kind, text, position))
        position = match.end()
    return [*tokens, Token("end", "", position)]


def syntax_error(expression: str, position: int, reason: str) -> Invalid:
    """Build the error for a position in an expression, which it names by line and column."""
    line = expression.count("\n", 0, position) + 1
    column = position - expression.rfind("\n", 0, position)
    return Invalid(f"The FHIRPath is wrong at line {line}, column {column}: {reason}.")


def _unescape(expression: str, text: str, position: int) -> str:
    def replace_escape(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) == 5:
            return chr(int(code[1:], 16))
        if code not in _ESCAPES:
            raise syntax_error(
                expression, position, "the text has an escape that FHIRPath does not know"
            )
        return _ESCAPES[code]

    return _ESCAPE.sub(replace_escape, text) if "\\" in text else text
