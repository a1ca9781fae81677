"""`_include`, `_revinclude`, `*`, `:iterate`: what comes along, how far, and for whom."""

from __future__ import annotations

import pytest

from ehr_fhir.errors import Invalid
from ehr_gateway.access import Access
from ehr_gateway.search.page import SearchPage, search
from ehr_gateway.search.statements import SearchLimits
from ehr_gateway.store.store import Store
from tests.lib.store import doctor, put
from tests.lib.ward import TOP, closed, observation, shared, system, ward

__all__ = ["ward"]


def page(
    ward: Store, kind: str, query: str, limits: SearchLimits | None = None, access: Access = TOP
) -> SearchPage:
    pairs = [(name, value) for name, _, value in (one.partition("=") for one in query.split("&"))]
    return search(ward, access, kind, pairs, limits=limits)


def along(ward: Store, kind: str, query: str, access: Access = TOP) -> str:
    return " ".join(one.id for one in page(ward, kind, query, access=access).included)


@pytest.mark.parametrize(
    ("kind", "query", "ids"),
    [
        ("Observation", "_include=Observation:subject", "ann bob"),
        ("Observation", "_include=Observation:subject:Device", ""),
        ("Observation", "_id=a1&_include=Observation:*", "stay ann"),
        ("Observation", "_id=a1&_include=*", "stay ann"),
        ("Observation", "_id=a1&_include=Observation:*:Patient", "ann"),
        ("Observation", "_id=b1&_include=*&_include:iterate=Patient:organization", "bob west"),
        (
            "Observation",
            "_id=b1&_include=*&_include:iterate=Patient:organization"
            "&_include:iterate=Organization:partof",
            "bob west top",
        ),
        ("Observation", "_id=b1&_include:iterate=Patient:organization", ""),
        ("Organization", "_id=east&_include:iterate=Organization:partof", "top"),
        ("Patient", "_id=ann&_revinclude=Observation:patient", "a1 a2"),
        ("Patient", "_id=ann&_revinclude=Observation:subject:Patient", "a1 a2"),
        ("Patient", "_id=ann&_revinclude=Observation:*", "a1 a2"),
        (
            "Patient",
            "_revinclude=Encounter:subject&_include=Patient:organization",
            "stay east west",
        ),
        ("Encounter", "_revinclude=Observation:encounter", "a1"),
        ("Organization", "_id=top&_revinclude=Organization:partof", "east west"),
        (
            "Organization",
            "_id=top&_revinclude:iterate=Organization:partof"
            "&_revinclude:iterate=Patient:organization",
            "east west ann bob",
        ),
        ("Patient", "_count=1&_revinclude=Observation:patient", "a1 a2"),
    ],
)
def test_these_come_along(ward: Store, kind: str, query: str, ids: str) -> None:
    assert along(ward, kind, query) == ids


def test_a_match_does_not_come_along_again(ward: Store) -> None:
    found = page(ward, "Organization", "_include=*&_revinclude=Organization:partof")

    assert [one.id for one in found.matches] == ["east", "top", "west"]
    assert found.included == ()


def test_what_is_hidden_neither_comes_along_nor_leads_on(ward: Store) -> None:
    put(ward, shared("ann", "west"))
    west = doctor("west")
    onward = "_id=a2&_include=*&_revinclude:iterate=Encounter:patient&_include:iterate=Encounter:*"
    before = along(ward, "Observation", onward, west)

    put(ward, closed("ann", "encounter"))

    assert before == "ann stay east"
    assert along(ward, "Observation", onward, west) == "ann"
    assert along(ward, "Observation", "_id=a1&_include=*", west) == "ann"
    assert along(ward, "Patient", "_revinclude=Encounter:patient", west) == ""
    assert along(ward, "Patient", "_revinclude=Encounter:patient", TOP) == "stay"


def test_a_deleted_or_superseded_reference_brings_nothing(ward: Store) -> None:
    put(ward, observation("a1", "bob", "1"), system("east"))

    assert along(ward, "Encounter", "_revinclude=Observation:encounter") == ""
    assert along(ward, "Patient", "_id=ann&_revinclude=Observation:patient") == "a2"


def test_a_circle_ends(ward: Store) -> None:
    circle = "_id=ann&_revinclude:iterate=Observation:patient&_include:iterate=Observation:*"

    found = page(ward, "Patient", circle)

    assert sorted(one.id for one in found.included) == ["a1", "a2", "stay"]
    assert found.issues == ()


def test_the_number_is_limited_and_the_answer_says_so(ward: Store) -> None:
    limits = SearchLimits(max_included=2)

    found = page(ward, "Patient", "_revinclude=Observation:patient", limits)
    enough = page(ward, "Patient", "_id=ann&_revinclude=Observation:patient", limits)

    assert [one.id for one in found.included] == ["a1", "a2"]
    assert [one.code for one in found.issues] == ["too-costly"]
    assert (len(enough.included), enough.issues) == (2, ())


def test_the_rounds_are_limited_and_the_answer_says_so(ward: Store) -> None:
    asked = "_id=top&_revinclude:iterate=Organization:partof"

    found = page(ward, "Organization", asked, SearchLimits(max_include_rounds=1))

    assert [one.id for one in found.included] == ["east", "west"]
    assert [one.code for one in found.issues] == ["too-costly"]


def test_the_audit_log_does_not_come_along(ward: Store) -> None:
    with pytest.raises(Invalid, match="audit log"):
        page(ward, "Patient", "_revinclude=AuditEvent:patient")
