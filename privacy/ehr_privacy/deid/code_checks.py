"""Checks of a code's form by code system: check digits, partitions, ranges and shapes.

A number that is a phone's or an identity card's has the shape of many codes; a check digit tells
most of them from a code, a range others.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from ehr_privacy.deid.units import normalize_ucum

__all__ = ["CHECKS", "CodeCheck", "is_loinc", "is_ndc", "is_rxnorm", "is_sctid", "is_ucum"]

CodeCheck = Callable[[str], bool]

# Verhoeff's dihedral check digit: D5's multiplication, and the powers of its permutation.
_PRODUCTS: Final = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    (1, 2, 3, 4, 0, 6, 7, 8, 9, 5),
    (2, 3, 4, 0, 1, 7, 8, 9, 5, 6),
    (3, 4, 0, 1, 2, 8, 9, 5, 6, 7),
    (4, 0, 1, 2, 3, 9, 5, 6, 7, 8),
    (5, 9, 8, 7, 6, 0, 4, 3, 2, 1),
    (6, 5, 9, 8, 7, 1, 0, 4, 3, 2),
    (7, 6, 5, 9, 8, 2, 1, 0, 4, 3),
    (8, 7, 6, 5, 9, 3, 2, 1, 0, 4),
    (9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
)
_PERMUTATION: Final = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
_SCTID = re.compile(r"[1-9]\d{5,17}", re.ASCII)
# Concepts of the international release, and those of an extension, which name its namespace.
_SHORT, _LONG = "00", "10"
_NAMESPACE_DIGITS = 7
_LOINC = re.compile(r"([1-9]\d{0,5})-(\d)", re.ASCII)
# Parts, answers and answer lists: their check digit follows no published rule.
_LOINC_PART = re.compile(r"L[APL][1-9]\d{0,5}-\d", re.ASCII)
_RXNORM = re.compile(r"[1-9]\d{0,6}", re.ASCII)
# Concept ids run up to 2.7 million in 2026; a phone number of seven digits may not pass.
_RXNORM_MOST = 2_999_999
_NDC = re.compile(r"\d{4}-\d{4}-\d\d|\d{5}-\d{3}-\d\d|\d{5}-\d{4}-\d{1,2}|[0-7]\d{10}", re.ASCII)


def is_sctid(code: str) -> bool:
    """Say whether a code is the identifier of a SNOMED CT concept: partition and Verhoeff's digit.

    >>> is_sctid("22298006"), is_sctid("22298007"), is_sctid("91234567")
    (True, False, False)
    """
    if not _SCTID.fullmatch(code):
        return False
    partition = code[-3:-1]
    if partition == _LONG:
        if len(code) <= _NAMESPACE_DIGITS + 3:
            return False
    elif partition != _SHORT:
        return False
    check = 0
    for place, digit in enumerate(reversed(code)):
        check = _PRODUCTS[check][_permute(place % 8, int(digit))]
    return check == 0


@lru_cache(80)
def _permute(times: int, digit: int) -> int:
    for _ in range(times):
        digit = _PERMUTATION[digit]
    return digit


def is_loinc(code: str) -> bool:
    """Say whether a code is LOINC's: a number with its mod 10 check digit, or a part or answer.

    >>> is_loinc("8867-4"), is_loinc("8867-5"), is_loinc("LA6576-8"), is_loinc("91234567")
    (True, False, True, False)
    """
    match = _LOINC.fullmatch(code)
    if match is None:
        return _LOINC_PART.fullmatch(code) is not None
    total = 0
    for place, digit in enumerate(reversed(match[1])):
        value = int(digit) * (1 if place % 2 else 2)
        total += value // 10 + value % 10
    return (10 - total % 10) % 10 == int(match[2])


def is_rxnorm(code: str) -> bool:
    """Say whether a code lies in the range of RxNorm's concept ids.

    >>> is_rxnorm("861007"), is_rxnorm("91234567"), is_rxnorm("9123456")
    (True, False, False)
    """
    return _RXNORM.fullmatch(code) is not None and int(code) <= _RXNORM_MOST


def is_ndc(code: str) -> bool:
    """Say whether a code has a form of the National Drug Code: with hyphens, or eleven digits.

    >>> is_ndc("0071-0157-23"), is_ndc("00071015723"), is_ndc("85291234567")
    (True, True, False)
    """
    return _NDC.fullmatch(code) is not None


def is_ucum(code: str) -> bool:
    """Say whether a code is a unit by UCUM's grammar, without annotations of its author's own.

    >>> is_ucum("mg/dL"), is_ucum("{Chan}/min")
    (True, False)
    """
    return normalize_ucum(code) == code


# The names by which deid.toml calls them.
CHECKS: Final[dict[str, CodeCheck]] = {
    "sctid": is_sctid,
    "loinc": is_loinc,
    "rxnorm": is_rxnorm,
    "ndc": is_ndc,
    "ucum": is_ucum,
}
