"""Identifiers by their form, with their check digits: the patterns of rules/text.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_privacy.text.alternatives import join_alternatives
from ehr_privacy.text.entities import Entity
from ehr_privacy.text.folding import narrow_text

__all__ = ["TextPattern", "find_patterns", "load_patterns"]

# How far before a number its cue may stand: "Tel. no. (home): ". Chosen.
_CUE_REACH = 24


@dataclass(frozen=True)
class TextPattern:
    """A form of identifiers, the check they pass, and the words that tell of them."""

    type: str
    form: re.Pattern[str]
    is_valid: Callable[[str], bool] | None = None
    cue: re.Pattern[str] | None = None
    least_digits: int = 0


@cache
def load_patterns() -> tuple[TextPattern, ...]:
    """Read the patterns that ship with the package."""
    text = files("ehr_privacy").joinpath("rules/text.toml").read_text(encoding="utf-8")
    return tuple(
        TextPattern(
            type=rule["type"],
            form=re.compile(narrow_text(rule["form"])),
            is_valid=_CHECKS[rule["check"]] if "check" in rule else None,
            cue=_compile_cues(rule["cues"]) if "cues" in rule else None,
            least_digits=rule.get("least_digits", 0),
        )
        for rule in tomllib.loads(text)["pattern"]
    )


def find_patterns(narrow: str) -> Iterator[Entity]:
    """Yield the identifiers of a narrow text (`narrow_text`) that have the form of one."""
    for pattern in load_patterns():
        for match in pattern.form.finditer(narrow):
            score = _score(pattern, narrow, match)
            if score:
                group = "entity" if match.groupdict().get("entity") else 0
                start, end = match.span(group)
                text = match.group(group)
                start += len(text) - len(text.lstrip())
                yield Entity(start, end - (len(text) - len(text.rstrip())), pattern.type, score)


def _score(pattern: TextPattern, narrow: str, match: re.Match[str]) -> float:
    text = match.groupdict().get("number") or match.group()
    if sum(character.isdigit() for character in text) < pattern.least_digits:
        return 0.0
    if pattern.is_valid is None and pattern.cue is None:
        return 0.9
    if pattern.is_valid is not None and pattern.is_valid(text):
        return 1.0
    before = narrow[max(0, match.start() - _CUE_REACH) : match.start()]
    return 0.7 if pattern.cue is not None and pattern.cue.search(before) else 0.0


def _compile_cues(cues: list[str]) -> re.Pattern[str]:
    """Compile words that may stand before a number, with what may be between."""
    words = join_alternatives(map(narrow_text, cues))
    return re.compile(
        rf"(?i:(?<![a-z])(?:{words})(?:s|'s)?(?:[ .]{{0,2}}(?:no|number|num|号码|号|is))?"
        r"[\s.:#(=\-]{0,6})$"
    )


def _digits(text: str) -> list[int]:
    return [int(character) for character in text if character.isdigit()]


def _passes_luhn(text: str) -> bool:
    """Say whether a card number passes the check of ISO/IEC 7812-1.

    >>> _passes_luhn("4556 1568 2160 9393"), _passes_luhn("4556 1568 2160 9394")
    (True, False)
    """
    digits = _digits(text)[::-1]
    doubled = (digit * 2 - 9 * (digit > 4) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0 and any(digits)


def _passes_mod_11_2(text: str) -> bool:
    """Say whether a number passes the check of ISO 7064, MOD 11-2.

    >>> _passes_mod_11_2("11010519491231002X")
    True
    """
    values = [10 if character in "Xx" else int(character) for character in text]
    remainder = 0
    for value in values:
        remainder = (remainder * 2 + value) % 11
    return remainder == 1


def _is_phone(text: str) -> bool:
    digits = "".join(map(str, _digits(text)))
    digits = digits.removeprefix("852") if len(digits) == 11 else digits
    # Eight digits that are a date are none of a telephone.
    is_date = re.fullmatch(r"20[0-3]\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", digits)
    return len(digits) == 8 and is_date is None


_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "person-identifier": JURISDICTION.person_identifier.is_valid,
    "luhn": _passes_luhn,
    "mod-11-2": _passes_mod_11_2,
    "phone": _is_phone,
}
