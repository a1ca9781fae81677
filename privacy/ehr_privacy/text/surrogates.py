"""Surrogates: what stands in a text for an identifier, the same for one person in one project.

The lake keeps tokens under its own key; a project reads tags made of them under its key, so that
two projects cannot compare. Tags look like nothing that people write: nobody takes one for a name,
and none can be the number of somebody who exists.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable

__all__ = ["TOKEN", "make_token", "render_tags", "strip_token_marks"]

_OPEN, _CLOSE = "⟦", "⟧"
TOKEN = re.compile(rf"{_OPEN}([A-Z_]+)(?::([0-9A-F]{{16}}|\d{{4}}-\d\d-\d\d))?{_CLOSE}")
# Hex digits of a tag: one patient's notes name some dozens of people. Chosen.
_TAG_DIGITS = 6


def make_token(key: bytes, entity_type: str, patient: str, identity: str) -> str:
    """Return the lake's token of an identity in a patient's notes.

    >>> make_token(b"k" * 32, "PERSON", "p1", "Patient/p1") == make_token(
    ...     b"k" * 32, "PERSON", "p1", "Patient/p1")
    True
    """
    text = "\0".join(("note", entity_type, patient, identity))
    digest = hmac.digest(key, text.encode(), "sha256").hex()[:16].upper()
    return f"{_OPEN}{entity_type}:{digest}{_CLOSE}"


def make_plain_token(entity_type: str) -> str:
    """Return a token that tells the type alone, such as of a date that cannot be moved."""
    return f"{_OPEN}{entity_type}{_CLOSE}"


def make_date_token(day: str) -> str:
    """Return the token of a day of the lake, moved by its shift, as an ISO date."""
    return f"{_OPEN}DATE:{day}{_CLOSE}"


def strip_token_marks(text: str) -> str:
    """Take out of an author's text what only tokens may have."""
    return text.replace(_OPEN, "[").replace(_CLOSE, "]")


def render_tags(text: str, project_key: str, show_day: Callable[[str], str | None]) -> str:
    """Return a text of the lake as a project reads it; `show_day` gives a day in its form.

    >>> render_tags("by ⟦STAFF:00000000000000FF⟧ on ⟦DATE:2020-05-17⟧", "k", lambda day: day[:7])
    'by [STAFF 63ead7] on 2020-05'
    """

    def render(match: re.Match[str]) -> str:
        if match[2] is None:
            return f"[{match[1]}]"
        if match[1] == "DATE":
            return show_day(match[2]) or "[DATE]"
        digest = hashlib.sha256(f"{project_key}:{match[2]}".encode()).hexdigest()
        return f"[{match[1]} {digest[:_TAG_DIGITS]}]"

    return TOKEN.sub(render, text)
