"""Vital signs beside what is usual in adults at rest, where nothing else came with the value.

It is no score: NEWS2 needs all seven signs of one round. It keeps a saturation of 81 % from looking
like any other number.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ehr_fhir.news2 import MIN_AGE
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_, fhir_timestamp, localizer_for
from ehr_portal.record.ages import age_in_years
from ehr_portal.record.display import Text
from ehr_portal.record.interpretations import ATTENTION, EXPECTED, STRONG, Flag
from ehr_portal.record.news2_observations import has_scale_2

# Written instead of UCUM's codes by many systems.
_UNITS = {
    "mmHg": "mm[Hg]",
    "°C": "Cel",
    "C": "Cel",
    "degC": "Cel",
    "bpm": "/min",
    "{beats}/min": "/min",
    "{breaths}/min": "/min",
    "per minute": "/min",
}

SATURATION_CODES = frozenset({"2708-6", "59408-5"})
# By whether the range is a target of one's own.
_WORDS_WITHIN = {
    False: N_("Usual for adults at rest"),
    True: N_("Within this person's own target of 88 to 92 %"),
}
# By the same, whether it is far off, and the direction: the words, and the words for a line of
# little room. Above a target is good or bad by whether oxygen is given, which the number does not
# say.
_WORDS_OUTSIDE = {
    (False, True, 1): (N_("Far above what is usual for adults"), N_("Very high for adults")),
    (False, True, -1): (N_("Far below what is usual for adults"), N_("Very low for adults")),
    (False, False, 1): (N_("Above what is usual for adults"), N_("High for adults")),
    (False, False, -1): (N_("Below what is usual for adults"), N_("Low for adults")),
    (True, True, -1): (
        N_("Far below this person's own target of 88 to 92 %"),
        N_("Far below own target"),
    ),
    (True, False, -1): (
        N_("Below this person's own target of 88 to 92 %"),
        N_("Below own target"),
    ),
}


@dataclass(frozen=True)
class UsualRanges:
    """The ranges that fit one patient, by age at the time of the measurement."""

    # A FHIR date of any precision.
    birth_date: str
    # When a clinician decided on the target of the oxygen saturation (seconds since 1970), and
    # whether for 88 to 92 % (scale 2 of NEWS2): what is usual says nothing of it then.
    scale_decisions: tuple[tuple[float, bool], ...] = ()

    def flag(self, measured: Resource, day: str, language: str) -> Flag | None:
        """Return where a vital sign lies; None where that cannot be said.

        `measured` is an Observation or one of its components, `day` the Observation's date.
        """
        quantity = measured.get("valueQuantity", {})
        value, unit = quantity.get("value"), quantity.get("code") or quantity.get("unit", "")
        limits = self._limits(measured, day)
        if limits is None or value is None or quantity.get("comparator"):
            return None
        if _UNITS.get(unit, unit) != limits["unit"]:
            return None
        (low, high), (far_low, far_high) = limits["usual"], limits["far"]
        translate = localizer_for(language).translate
        is_target = limits.get("target", False)
        if low <= value <= high:
            return Flag(EXPECTED, Text(translate(_WORDS_WITHIN[is_target]), language))
        is_far = value <= far_low or value >= far_high
        direction = 1 if value > high else -1
        words = _WORDS_OUTSIDE.get((is_target, is_far, direction))
        if words is None:
            return None
        long, short = words
        return Flag(
            STRONG if is_far else ATTENTION,
            Text(translate(long), language),
            direction=direction,
            short=Text(translate(short), language),
        )

    def _limits(self, measured: Resource, day: str) -> dict[str, Any] | None:
        if (age_in_years(self.birth_date, day) or 0) < MIN_AGE:
            return None
        known = _load_ranges()
        codes = [coding.get("code") for coding in measured.get("code", {}).get("coding", ())]
        if not SATURATION_CODES.isdisjoint(codes) and has_scale_2(
            self.scale_decisions, fhir_timestamp(day)
        ):
            return known["target"]
        return next((known[code] for code in codes if code in known), None)


@cache
def _load_ranges() -> dict[str, dict[str, Any]]:
    text = (files(__package__) / "usual_ranges.toml").read_text("utf-8")
    tables: dict[str, dict[str, dict[str, Any]]] = tomllib.loads(text)
    return {**tables["adults"], "target": tables["saturation"]["target"]}
