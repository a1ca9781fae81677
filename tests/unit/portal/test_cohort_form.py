"""A cohort's form and its text: what the form says, the text says, and comes back as it was."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_analytics.cohorts import parse_cohort as parse_definition
from ehr_portal.research.cohort_form import BEFORE_ROWS, build_cohort, parse_cohort
from ehr_portal.research.data_offer import DataOffer, EventSource
from ehr_portal.research.toml_text import format_toml

VISITS = EventSource("encounter_flat", "Encounter", "start", "class")
ANY_VISIT = EventSource("encounter_flat", "Encounter", "start")
OFFER = DataOffer(has_age=True, has_sex=True, regions=("East", "West"), sources=(VISITS, ANY_VISIT))
SOURCES = [VISITS.key, ANY_VISIT.key]
NAMES = st.text("abc 跌倒-'\"\\\x7f", max_size=12)
CODES = st.lists(st.sampled_from(["IMP", "I63*", "E10", "44054006"]), min_size=1, max_size=4)
DAYS = st.sampled_from(["", "1", "365"])


@st.composite
def forms(draw: st.DrawFn) -> dict[str, str]:
    """Draw the fields of a form that says a cohort."""

    def events(source: str, codes: str) -> dict[str, str]:
        return {source: draw(st.sampled_from(SOURCES)), codes: " ".join(draw(CODES))}

    fields = {
        "title": "a" + draw(NAMES),
        "age_from": draw(st.sampled_from(["", "18"])),
        "age_to": draw(st.sampled_from(["", "64"])),
        "sex": draw(st.sampled_from(["", "female"])),
        "region": draw(st.sampled_from(["", "West"])),
        "pick": draw(st.sampled_from(["", "last"])),
        "since": draw(st.sampled_from(["", "2024-01-01"])),
        "until": draw(st.sampled_from(["", "2024-12-31"])),
        "washout_days": draw(DAYS),
        "follow_up_days": draw(DAYS),
        **events("index_source", "index_codes"),
    }
    if draw(st.booleans()):
        fields |= {"lookback_days": "90", "lookback_source": ANY_VISIT.key}
    if fields["follow_up_days"] and draw(st.booleans()):
        whole = draw(st.sampled_from([{}, {"whole": "1", "data_until": "2025-06-30"}]))
        fields |= {"outcome_name": draw(NAMES), **whole}
        fields |= events("outcome_source", "outcome_codes")
    for row in range(1, draw(st.integers(0, BEFORE_ROWS)) + 1):
        fields |= events(f"{row}.source", f"{row}.codes")
        # Names are told apart by their number.
        fields |= {f"{row}.name": f"{draw(NAMES)}{row}", f"{row}.days": draw(DAYS)}
        fields[f"{row}.use"] = draw(st.sampled_from(["include", "exclude", "note"]))
    return fields


@given(forms())
def test_a_form_comes_back_from_its_text(fields: dict[str, str]) -> None:
    document, faults = build_cohort(fields, OFFER)
    read = tomllib.loads(format_toml(document))

    assert faults == []
    assert read == document
    again = parse_cohort(read, OFFER)
    assert again is not None
    assert build_cohort(again, OFFER) == (document, [])


@given(forms())
def test_the_cohort_language_takes_what_a_form_says(fields: dict[str, str]) -> None:
    document, _ = build_cohort(fields, OFFER)

    cohort = parse_definition(tomllib.loads(format_toml(document)))

    assert cohort.index.events == "index_events"
    results = [column.name for column in cohort.columns]
    assert len(set(results)) == len(results)


def test_codes_that_end_in_a_star_are_beginnings() -> None:
    fields = {"title": "Strokes", "index_source": VISITS.key, "index_codes": "I63*, 422504002"}

    document, _ = build_cohort(fields, OFFER)

    assert document["events"]["index_events"]["where"] == [
        {"any": [{"column": "class", "in": ["422504002"]},
                 {"column": "class", "starts_with": ["I63"]}]}
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"model": "omop"},
        {"name": "other"},
        {"population": [{"column": "deceased", "in": [False]}]},
        {"events": {"index_events": {"table": "encounter_flat", "date": "end"}}},
        {"include": [{"name": "old", "kind": "age", "from": 18, "not": True}]},
        {"follow_up": {"days": 30, "data_until": "latest", "censor": ["index_events"]}},
        {"column": []},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_the_form_cannot_say_is_not_turned_into_a_form(change: dict[str, object]) -> None:
    fields = {"title": "Stays", "index_source": VISITS.key, "index_codes": "IMP"}
    document, _ = build_cohort(fields, OFFER)

    assert parse_cohort(document, OFFER) is not None
    assert parse_cohort({**document, **change}, OFFER) is None
