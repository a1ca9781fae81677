"""The newest round of vital signs in a record, read for NEWS2.

What makes a round: the newest of the seven parameters and what was measured in the thirty minutes
before it. Nothing older is carried forward. A value in another unit, with a comparator, or beyond
what can be true is not used, and is named as missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ehr_fhir.news2 import (
    CONSCIOUSNESS,
    MIN_AGE,
    PARAMETERS,
    ROUND_WINDOW,
    SCALE_CODE,
    SCALE_SYSTEM,
    News2,
    Reading,
    Signs,
    list_codes,
    read_consciousness,
    read_quantity,
    read_scale_decision,
    work_out,
)
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import fhir_timestamp, has_time_of_day
from ehr_portal.record.ages import age_in_years, day_of
from ehr_portal.record.interpretations import NEUTRAL
from ehr_portal.record.news2 import find_level
from ehr_portal.record.providers import written_by_patient
from ehr_portal.record.special_codes import states_pregnancy

# A score of more than this ago says nothing of now: even a score of 0 asks for the next round
# within 12 hours (RCP 2017). Chosen: twice that.
MAX_AGE = timedelta(hours=24)
# Rounds before the newest that show how the score goes. Chosen: a day on an ordinary ward.
_EARLIER_ROUNDS = 4
# What the score has to know besides the vital signs, however long ago it was recorded, as a value
# of the search parameter `code`: the decision for a scale, and pregnancy status (LOINC).
CONTEXT_CODES = f"{SCALE_SYSTEM}|{SCALE_CODE},http://loinc.org|82810-3"
# How long an observed pregnancy may last.
_PREGNANCY = timedelta(days=300)
# Observations of these states do not count.
_VOID_STATUSES = frozenset({"entered-in-error", "cancelled", "registered", "unknown"})

# Why there is no score.
CHILD, AGE_UNKNOWN, PREGNANT = "child", "age-unknown", "pregnant"


@dataclass(frozen=True)
class Measurement:
    """One parameter as it was measured."""

    # A number; of the consciousness one letter of ACVPU; of the oxygen whether it is given.
    value: float | str | bool | None
    observation: Resource
    at: str

    @property
    def is_unusable(self) -> bool:
        """Return whether something was recorded that cannot be used."""
        return self.value is None


@dataclass(frozen=True)
class News2Assessment:
    """The score of the newest round, or why there is none."""

    # CHILD, AGE_UNKNOWN or PREGNANT; empty where the score may be used.
    not_applicable: str = ""
    # None where nothing was measured.
    score: News2 | None = None
    # The time of the newest measurement, as FHIR has it.
    at: str = ""
    # By parameter; what was not measured is left out.
    measurements: Mapping[str, Measurement] | None = None
    uses_scale_2: bool = False
    # The round is older than MAX_AGE.
    is_old: bool = False

    @property
    def level(self) -> str:
        """Return how much it asks for attention, as one of the levels of `interpretations`."""
        return find_level(self.score) if self.score else NEUTRAL


def assess_news2(
    observations: Iterable[Resource],
    birth_date: str,
    now: datetime,
    conditions: Iterable[Resource] = (),
) -> News2Assessment:
    """Return NEWS2 of the newest round among some observations.

    `conditions` are the current ones: a pregnancy among them makes the score not applicable.
    """
    # What a patient measured at home is no sign of a round, however new.
    usable = [
        o
        for o in observations
        if o.get("status") not in _VOID_STATUSES and not written_by_patient(o)
    ]
    measured = [pair for o in usable for pair in _parse_measurements(o)]
    times = [fhir_timestamp(m.at) for _, m in measured if fhir_timestamp(m.at) <= now.timestamp()]
    if not times:
        return News2Assessment()
    newest = max(times)
    age = age_in_years(birth_date, day_of(datetime.fromtimestamp(newest, UTC)))
    if age is None or age < MIN_AGE:
        return News2Assessment(AGE_UNKNOWN if age is None else CHILD)
    if any(states_pregnancy(c) for c in conditions) or _is_pregnant(usable, newest):
        return News2Assessment(PREGNANT)
    in_round = _select_round(measured, newest)
    uses_scale_2 = has_scale_2(list_scale_decisions(usable), newest)
    values = {name: m.value for name, m in in_round.items()}
    score = work_out(Signs(**values, uses_scale_2=uses_scale_2))  # type: ignore[arg-type]
    return News2Assessment(
        score=score,
        at=max((m.at for m in in_round.values()), key=fhir_timestamp),
        measurements=in_round,
        uses_scale_2=uses_scale_2,
        is_old=newest < (now - MAX_AGE).timestamp(),
    )


def list_earlier_rounds(
    newest: News2Assessment,
    observations: Sequence[Resource],
    birth_date: str,
    conditions: Sequence[Resource] = (),
) -> tuple[News2Assessment, ...]:
    """Return the scores of the rounds in the day before the newest one, the latest first."""
    found: list[News2Assessment] = []
    end = fhir_timestamp(newest.at) if newest.score else 0.0
    last = newest
    while last.score and len(found) < _EARLIER_ROUNDS:
        before = fhir_timestamp(last.at) - ROUND_WINDOW.total_seconds() - 1
        last = assess_news2(
            observations, birth_date, datetime.fromtimestamp(before, UTC), conditions
        )
        if not last.score or fhir_timestamp(last.at) < end - MAX_AGE.total_seconds():
            break
        found.append(last)
    return tuple(found)


def list_scale_decisions(observations: Iterable[Resource]) -> tuple[tuple[float, bool], ...]:
    """Return when persons decided on the scale of the saturation, and whether for scale 2."""
    decisions = [
        (fhir_timestamp(str(o.get("effectiveDateTime", ""))), uses_scale_2)
        for o in observations
        if (uses_scale_2 := read_scale_decision(o)) is not None
    ]
    return tuple(decision for decision in decisions if decision[0] > 0)


def has_scale_2(decisions: Iterable[tuple[float, bool]], at: float) -> bool:
    """Return whether the newest decision up to an instant is for scale 2.

    >>> has_scale_2([(1.0, True), (2.0, False)], at=1.5)
    True
    """
    earlier = [decision for decision in decisions if decision[0] <= at]
    return max(earlier, key=lambda decision: decision[0])[1] if earlier else False


def _select_round(
    measured: Iterable[tuple[str, Measurement]], newest: float
) -> dict[str, Measurement]:
    """Return the newest measurement of each parameter within the window, in the chart's order."""
    start = newest - ROUND_WINDOW.total_seconds()
    found: dict[str, Measurement] = {}
    for name, measurement in sorted(measured, key=lambda pair: fhir_timestamp(pair[1].at)):
        if start <= fhir_timestamp(measurement.at) <= newest:
            found[name] = measurement
    return {name: found[name] for name in PARAMETERS if name in found}


def _parse_measurements(observation: Resource) -> Iterator[tuple[str, Measurement]]:
    """Yield the parameters of an Observation and of its components."""
    at = str(observation.get("effectiveDateTime") or observation.get("effectiveInstant") or "")
    at = at or str(observation.get("effectivePeriod", {}).get("start", ""))
    # A day alone cannot be put into a window of minutes.
    if not has_time_of_day(at):
        return
    for part in (observation, *observation.get("component", ())):
        codes = _loinc_codes(part)
        if not codes or not _has_value(part):
            continue
        for code in sorted(codes & list_codes().keys()):
            name = list_codes()[code]
            yield name, Measurement(_read_value(name, part).value, observation, at)


def _has_value(part: Resource) -> bool:
    return any(key.startswith("value") for key in part)


def _read_value(name: str, part: Resource) -> Reading:
    if name == CONSCIOUSNESS:
        return read_consciousness(part)
    quantity = part.get("valueQuantity", {})
    unit = quantity.get("code") or quantity.get("unit", "")
    return read_quantity(name, quantity.get("value"), unit, quantity.get("comparator"))


def _is_pregnant(observations: Iterable[Resource], newest: float) -> bool:
    """Return whether the newest Observation of whether somebody is pregnant says so."""
    stated: dict[frozenset[tuple[str, str]], tuple[float, bool]] = {}
    for observation in observations:
        at = fhir_timestamp(str(observation.get("effectiveDateTime", "")))
        if not newest - _PREGNANCY.total_seconds() <= at <= newest:
            continue
        code = frozenset(_coding_pairs(observation.get("code", {})))
        stated[code] = max(stated.get(code, (0.0, False)), (at, states_pregnancy(observation)))
    return any(is_pregnant for _, is_pregnant in stated.values())


def _loinc_codes(part: Resource) -> set[str]:
    # LOINC alone: another system's number may be the same.
    return {code for system, code in _coding_pairs(part.get("code", {})) if "loinc.org" in system}


def _coding_pairs(concept: Resource) -> set[tuple[str, str]]:
    return {(str(c.get("system", "")), str(c.get("code", ""))) for c in concept.get("coding", ())}
