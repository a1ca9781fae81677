"""Search on the store: clauses, pages, totals, includes."""

from __future__ import annotations

import pytest

from ehr_fhir.errors import Invalid
from ehr_gateway.search.cursor import open_cursor, seal_cursor
from ehr_gateway.search.page import search
from ehr_gateway.store.store import Store
from tests.lib.store import NOW, doctor, found, platform, put

SOURCE = "https://ehr-commons.hk/organization/ehr-commons"


@pytest.fixture
def cohort(store: Store) -> Store:
    put(store, {"resourceType": "Organization", "id": "o1", "name": "Harbour"})
    put(
        store,
        {
            "resourceType": "Patient",
            "id": "a",
            "name": [{"family": "Müller", "given": ["Ann Lee"]}, {"text": "陳大文"}],
            "gender": "female",
            "birthDate": "1970-02-03",
            "identifier": [{"system": "hkid", "value": "A1"}],
            "managingOrganization": {"reference": "Organization/o1"},
            "meta": {"profile": ["http://x/fhir/p|1"], "source": "http://x/a/b"},
        },
    )
    put(store, {"resourceType": "Patient", "id": "b", "gender": "male", "birthDate": "1970-02"})
    put(store, {"resourceType": "Patient", "id": "c", "deceasedDateTime": "2020-01-01"})
    for identity, value in (("q1", 5.4), ("q2", 5.44), ("q3", 6)):
        put(
            store,
            {
                "resourceType": "Observation",
                "id": identity,
                "status": "final",
                "code": {"coding": [{"system": "http://loinc.org", "code": "1"}]},
                "subject": {"reference": "Patient/a"},
                "effectivePeriod": {"start": "2020-01-10", "end": "2020-01-20"},
                "valueQuantity": {
                    "value": value,
                    "unit": "milligram",
                    "system": "http://unitsofmeasure.org",
                    "code": "mg",
                },
            },
        )
    return store


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("name=muller", "a"),
        ("name=MÜLL", "a"),
        ("name=uller", ""),
        ("name:contains=uller", "a"),
        ("name:exact=Müller", "a"),
        ("name:exact=muller", ""),
        ("name=陳", "a"),
        ("given=ann,zoe", "a"),
        ("name:missing=true", "bc"),
        ("name:missing=false", "a"),
        ("gender=male,female", "ab"),
        ("gender:not=male", "ac"),
        ("gender=http://hl7.org/fhir/administrative-gender|male", "b"),
        ("identifier=A1", "a"),
        ("identifier=hkid|A1", "a"),
        ("identifier=hkid|", "a"),
        ("identifier=|A1", ""),
        ("identifier=hkid|A2", ""),
        ("birthdate=1970", "ab"),
        ("birthdate=1970-02-03", "a"),
        ("birthdate=ne1970-02-03", "b"),
        ("birthdate=gt1970-02-03", "b"),
        ("birthdate=lt1970-02-03", "b"),
        ("birthdate=ge1970-02-03&birthdate=le1970-02-03", "ab"),
        ("birthdate=sa1970-01", "ab"),
        ("birthdate=eb1970-02", ""),
        ("birthdate=ap1970", "ab"),
        ("deceased=true", "c"),
        ("deceased=false", "ab"),
        ("organization=o1", "a"),
        ("organization=Organization/o1", "a"),
        ("organization=http://elsewhere/Organization/o1", ""),
        ("organization:missing=true", "bc"),
        ("_id=a,c", "ac"),
        ("_profile=http://x/fhir/p|1", "a"),
        ("_profile:below=http://x/fhir", "a"),
        # What the sender calls its source is the fragment.
        (f"_source:above={SOURCE}#http://x/a/b/c", "abc"),
        (f"_source:below={SOURCE}#http://x/a", "a"),
        (f"_source={SOURCE}", "bc"),
        ("_lastUpdated=gt2020", "abc"),
        ("_lastUpdated=lt2020", ""),
        ("_lastUpdated=2026-09-21", "abc"),
        ("gender=male&birthdate=1970", "b"),
    ],
)
def test_a_search_finds_these_patients(cohort: Store, query: str, ids: str) -> None:
    assert found(cohort, "Patient", query) == list(ids)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("value-quantity=5.4", "12"),
        ("value-quantity=5.40", "1"),
        ("value-quantity=ne5.4", "3"),
        ("value-quantity=gt5.4", "23"),
        ("value-quantity=ge5.4", "123"),
        ("value-quantity=lt5.44", "1"),
        ("value-quantity=le5.44", "12"),
        ("value-quantity=sa5.44", "3"),
        ("value-quantity=eb5.44", "1"),
        ("value-quantity=ap5.8", "123"),
        ("value-quantity=6|http://unitsofmeasure.org|mg", "3"),
        ("value-quantity=6||mg", "3"),
        ("value-quantity=6||milligram", "3"),
        ("value-quantity=6|http://unitsofmeasure.org|g", ""),
        ("date=2020-01", "123"),
        ("date=2020-01-15", ""),
        ("date=gt2020-01-15", "123"),
        ("date=lt2020-01-10", ""),
        ("date=eb2020-01-21", "123"),
        ("patient=a", "123"),
        ("subject:Patient=a", "123"),
        ("subject:Group=a", ""),
        ("patient=b", ""),
        ("code-value-quantity=http://loinc.org|1$5.4", "12"),
        ("code-value-quantity=1$gt5.4", "23"),
        ("code-value-quantity=2$gt5.4", ""),
        ("code-value-quantity=2$gt5.4,1$5.40", "1"),
        ("code-value-string=1$x", ""),
        ("subject:Patient._has:Observation:patient:code-value-quantity=1$6", "123"),
    ],
)
def test_a_search_finds_these_observations(cohort: Store, query: str, numbers: str) -> None:
    assert found(cohort, "Observation", query) == [f"q{one}" for one in numbers]


def test_pages_hold_each_match_once_while_data_changes(cohort: Store) -> None:
    seen: list[str] = []
    cursor = None
    while True:
        pairs = [("_count", "1")] + ([("_cursor", cursor)] if cursor else [])
        page = search(cohort, platform(), "Patient", pairs)
        seen += [one.id for one in page.matches]
        put(cohort, {"resourceType": "Patient", "id": seen[-1], "gender": "other"})
        put(cohort, {"resourceType": "Patient", "id": "0"})
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("sort", "ids"),
    [("_id", "abc"), ("-_id", "cba"), ("_lastUpdated", "bca"), ("-_lastUpdated", "acb")],
)
def test_pages_keep_the_order_asked_for(cohort: Store, sort: str, ids: str) -> None:
    put(cohort, {"resourceType": "Patient", "id": "a"}, platform(NOW + 1))

    seen, cursor = [], None
    for _ in range(3):
        pairs = [("_sort", sort), ("_count", "1")] + ([("_cursor", cursor)] if cursor else [])
        page = search(cohort, platform(), "Patient", pairs)
        seen += [one.id for one in page.matches]
        cursor = page.next_cursor

    assert "".join(seen) == ids
    assert cursor is None


def test_a_total_is_counted_when_asked_for(cohort: Store) -> None:
    assert search(cohort, platform(), "Patient", [("_count", "1")]).total is None
    page = search(cohort, platform(), "Patient", [("_count", "1"), ("_total", "accurate")])
    assert (page.total, len(page.matches)) == (3, 1)
    for pair in (("_summary", "count"), ("_count", "0")):
        page = search(cohort, platform(), "Patient", [pair])
        assert (page.total, page.matches, page.next_cursor) == (3, (), None)


def test_an_include_brings_each_target_once(cohort: Store) -> None:
    page = search(cohort, platform(), "Observation", [("_include", "Observation:subject:Patient")])

    assert [one.id for one in page.included] == ["a"]
    page = search(cohort, platform(), "Observation", [("_include", "Observation:subject:Group")])
    assert page.included == ()


@pytest.mark.parametrize("cursor", ["x", "", "AAAA", "é", "a" * 400])
def test_a_forged_cursor_is_refused(cohort: Store, cursor: str) -> None:
    with pytest.raises(Invalid, match="page link"):
        search(cohort, platform(), "Patient", [("_cursor", cursor or "-")])


def test_a_cursor_is_good_for_its_own_query_alone(cohort: Store) -> None:
    page = search(cohort, platform(), "Patient", [("_count", "1")])
    assert page.next_cursor is not None

    with pytest.raises(Invalid):
        search(
            cohort,
            platform(),
            "Patient",
            [("_count", "1"), ("gender", "male"), ("_cursor", page.next_cursor)],
        )
    assert open_cursor(b"k", ["q"], seal_cursor(b"k", ["q"], [7])) == [7]


def test_lenient_search_tells_what_it_passed_over(cohort: Store) -> None:
    page = search(cohort, platform(), "Patient", [("shoe", "9"), ("_id", "a")], lenient=True)

    assert [one.id for one in page.matches] == ["a"]
    assert page.self_pairs == (("_id", "a"),)
    assert len(page.issues) == 1


def test_totals_and_includes_show_nothing_hidden(shared_record: Store) -> None:
    pairs = [("_total", "accurate"), ("_include", "Observation:subject")]
    shown = search(shared_record, doctor("st-gabriel"), "Observation", pairs)
    hidden = search(shared_record, doctor("kwun-fong"), "Observation", pairs)

    assert (shown.total, [one.id for one in shown.included]) == (2, ["p1"])
    assert (hidden.total, hidden.matches, hidden.included, hidden.next_cursor) == (0, (), (), None)
    assert found(shared_record, "Patient", "name=chan", doctor("kwun-fong")) == []


def test_a_search_says_which_part_of_each_resource_was_asked_for(cohort: Store) -> None:
    whole = search(cohort, platform(), "Patient", [("_summary", "false")])
    some = search(cohort, platform(), "Patient", [("_elements", "name,gender")])

    assert whole.subset is None
    assert some.subset is not None
    assert b"birthDate" not in some.subset.cut(some.matches[0].body)
