"""A code as different people and keyboards type it."""

from __future__ import annotations

from collections.abc import Callable

# From "!" to "~" a Chinese keyboard may type the full-width form (Unicode, U+FF01 to U+FF5E).
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(ord("!"), ord("~") + 1)}

TYPING_STYLES: dict[str, Callable[[str], str]] = {
    "full width": lambda code: code.translate(_FULL_WIDTH),
    "full width spaces": lambda code: "\u3000".join(code),
    "spaces": lambda code: f" {code[:3]} {code[3:]} ",
    "hyphens": lambda code: f"{code[:3]}-{code[3:]}",
}
