"""What NEWS2 says of a patient on a ward, as short texts for screens of others (CDS Hooks)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ehr_fhir.news2 import HIGH, LOW_MEDIUM, MEDIUM, PARAMETERS, News2
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_, localizer_for
from ehr_portal.record.display import compose, list_separator
from ehr_portal.record.news2 import PARAMETER_TITLES, RISK_TEXTS
from ehr_portal.record.news2_observations import (
    AGE_UNKNOWN,
    CHILD,
    CONTEXT_CODES,
    PREGNANT,
    News2Assessment,
    assess_news2,
    list_earlier_rounds,
)

__all__ = ["CONTEXT_CODES", "News2Notice", "describe_news2"]

# v3-ActCode: IMP and what lies below it.
_WARD_CLASSES = ("IMP", "ACUTE", "NONAC")
_GOES_ON = ("arrived", "triaged", "in-progress", "onleave")
_INDICATORS = {HIGH: "critical", MEDIUM: "warning", LOW_MEDIUM: "warning"}
_NOT_FOR = {
    CHILD: N_("NEWS2 is not for people under 16."),
    AGE_UNKNOWN: N_("NEWS2 is not worked out: the age is not known."),
    PREGNANT: N_("NEWS2 is not for pregnant people."),
}


@dataclass(frozen=True)
class News2Notice:
    """A sentence, Markdown below it, `info`, `warning` or `critical`."""

    summary: str
    detail: str
    indicator: str


def describe_news2(
    records: Iterable[Resource], now: datetime, language: str, *, is_partial: bool
) -> News2Notice | None:
    """Return what the newest round says of somebody who is on a ward now; None of others.

    Without a round of the last day that is told too: silence would look like safety. `is_partial`:
    the reader may not see all of the record, and the score did not read it either.
    """
    by_type: dict[str, list[Resource]] = {}
    for record in records:
        by_type.setdefault(record["resourceType"], []).append(record)
    people = by_type.get("Patient", ())
    if not any(map(_is_on_ward, by_type.get("Encounter", ()))) or any(map(_has_died, people)):
        return None
    birth_date = next((str(one.get("birthDate", "")) for one in people), "")
    signs, conditions = by_type.get("Observation", []), by_type.get("Condition", [])
    current = [one for one in conditions if _is_current(one)]
    found = assess_news2(signs, birth_date, now, current)
    separator = list_separator(language)

    def say(text: str, **values: str) -> str:
        return compose(language, text, **values).text

    lines = []
    indicator = "info"
    if found.not_applicable:
        summary = say(_NOT_FOR[found.not_applicable])
    elif found.score is None or found.is_old:
        summary = say(N_("NEWS2: no vital signs in the last 24 hours"))
    else:
        score = found.score
        summary = f"NEWS2 {_tell(score, language)}"
        if score.risk:
            summary = say(
                N_("%(score)s. %(risk)s"), score=summary, risk=say(RISK_TEXTS[score.risk])
            )
            indicator = _INDICATORS.get(score.risk, "info")
        lines.append(say(N_("Measured: %(when)s"), when=_clock(found, language)))
        lines.append(_name_points(score, language, separator))
        if score.missing:
            names = separator.join(say(PARAMETER_TITLES[name]) for name in score.missing)
            lines.append(say(N_("Missing, or not to be used: %(signs)s"), signs=names))
        earlier = list_earlier_rounds(found, signs, birth_date, current)
        if earlier:
            told = [
                f"{_tell(one.score, language)} ({_clock(one, language)})"
                for one in earlier
                if one.score
            ]
            lines.append(say(N_("Before: %(scores)s"), scores=separator.join(told)))
    if is_partial:
        lines.append(
            say(N_("A part of this record is not shown to you, and the score did not read it."))
        )
    lines.append(say(N_("NEWS2 supports your judgement, and does not replace it.")))
    return News2Notice(summary, "\n\n".join(lines), indicator)


def _tell(score: News2, language: str) -> str:
    """Return the total, or of an incomplete set what it comes to at least."""
    if score.total is not None:
        return str(score.total)
    return compose(language, N_("at least %(points)s"), points=str(score.lower_bound)).text


def _name_points(score: News2, language: str, separator: str) -> str:
    """Return the signs that have points, in the order of the chart."""
    names = [
        f"{compose(language, PARAMETER_TITLES[name]).text} +{score.points[name]}"
        for name in PARAMETERS
        if score.points[name]
    ]
    if not names:
        return compose(language, N_("No sign has points.")).text
    return compose(language, N_("Points: %(signs)s"), signs=separator.join(names)).text


def _clock(found: News2Assessment, language: str) -> str:
    return localizer_for(language).format_instant(found.at)


def _is_on_ward(encounter: Resource) -> bool:
    is_inpatient = encounter.get("class", {}).get("code") in _WARD_CLASSES
    return is_inpatient and encounter.get("status") in _GOES_ON


def _has_died(patient: Resource) -> bool:
    return bool(patient.get("deceasedBoolean")) or "deceasedDateTime" in patient


def _is_current(condition: Resource) -> bool:
    codings = condition.get("clinicalStatus", {}).get("coding", ())
    states = {str(coding.get("code", "")) for coding in codings}
    return (
        not states & {"inactive", "remission", "resolved"} and "abatementDateTime" not in condition
    )
