"""Fields of a form as typed: decimal numbers, and what is wrong with a field. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field

from ehr_portal.i18n import N_

__all__ = ["FormFault", "length_faults", "normalize_number", "parse_decimal", "range_fault"]


@dataclass(frozen=True)
class FormFault:
    """What is wrong with a field: marked with N_, with the values that the text takes."""

    field: str
    text: str
    values: Mapping[str, str] = dataclass_field(default_factory=dict)


_ANY_NUMBER = N_("Type a number from %(least)s to %(most)s.")


def range_fault(name: str, least: float, most: float, text: str = _ANY_NUMBER) -> FormFault:
    """Return the fault of a field whose number is none, or lies outside its limits."""
    return FormFault(name, text, {"least": f"{least:g}", "most": f"{most:g}"})


def length_faults(form: Mapping[str, str], fields: Iterable[str], most: int) -> list[FormFault]:
    """Return a fault for each field whose text is longer than may be kept: none is cut."""
    text = N_("Write %(most)s characters at most.")
    return [
        FormFault(field, text, {"most": str(most)})
        for field in fields
        if len(form.get(field, "").strip()) > most
    ]


def normalize_number(typed: str) -> str:
    """Return a typed number with the digits of ASCII; a Chinese keyboard has full-width ones.

    >>> normalize_number(" ６１．5 ")
    '61.5'
    """
    return unicodedata.normalize("NFKC", typed).strip()


def parse_decimal(text: str, max_characters: int) -> float | None:
    """Return a decimal number of digits and one point at most; None for any other notation.

    >>> parse_decimal("0.5", 6), parse_decimal("1e3", 6), parse_decimal("-1", 6)
    (0.5, None, None)
    """
    digits = text.replace(".", "", 1)
    if len(text) > max_characters or not (digits.isascii() and digits.isdigit()):
        return None
    return float(text)
