"""`$access-history` groups what the AuditEvents of the same reader say, page by page."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from ehr_gateway.audit_log.recorder import (
    REFUSED,
    SUCCESS,
    AuditContext,
    build_event_rows,
    record_rows,
)
from ehr_gateway.tokens.access_tokens import Subject
from tests.lib.gateway import House, Session, must
from tests.lib.visits_of_events import group_into_visits, visit_parameters
from tests.spec.audit.test_reasons_http import carer

_MINUTE = 60_000
PEOPLE = (
    Subject("doctor.a", "Dr A", "clinician", "portal", "hospital-a"),
    Subject("doctor.b", "Dr B", "clinician", "portal", "hospital-b"),
    # The same person at another hospital.
    Subject("doctor.b", "Dr B", "clinician", "portal", "hospital-a"),
    Subject("p.pat-1", "Patient One", "patient", "portal", patient="pat-1"),
    Subject("p.pat-2", "Patient Two", "patient", "portal", patient="pat-2"),
    Subject("steward", "St", "steward", "portal", "ehr-commons"),
    Subject("lake", "Lake", "system", "lake", "ehr-commons"),
)
REQUESTS = (
    ("read", None, ("Observation/lab-1",), ("laboratory",)),
    ("read", None, ("Patient/pat-1",), ("person",)),
    ("read", None, ("Patient/pat-1",), ()),
    ("search-type", "Condition?patient", ("Condition/con-1", "Encounter/enc-1"), ("diagnosis",)),
    ("search-type", "Condition?patient", (), ()),
    ("search-type", "Patient?identifier", ("Patient/pat-1",), ()),
    ("search-type", "AuditEvent?patient", (), ()),
    ("create", None, ("Observation/lab-2",), ("laboratory",)),
    ("update", None, ("Consent/joining-1",), ()),
    ("batch", None, ("Observation/lab-1", "Provenance/x"), ("laboratory",)),
    ("operation", "$declare-emergency", ("Consent/joining-1",), ()),
    ("operation", "Patient/$withheld", (), ()),
)
REASONS = (None, "shared", "own-record", "emergency", "named", "counted", "carer")


def furnish_history(house: House, seed: int, events: int) -> None:
    """Let people do this and that, at random, with pauses around the limit of a visit."""
    chance = random.Random(seed)
    at_ms = house.clock() - 40 * 24 * 60 * _MINUTE
    rows: list[Any] = []
    for number in range(events):
        # Also at the same instant, at exactly the longest pause, and a moment after it.
        at_ms += chance.choice((0, 1, 1_000, 5 * _MINUTE, 15 * _MINUTE, 15 * _MINUTE + 1, 10**7))
        interaction, query, entities, domains = chance.choice(REQUESTS)
        subject = chance.choice(PEOPLE)
        context = AuditContext(
            subject,
            chance.choice(("TREAT", "TREAT", "ETREAT")),
            # Reads come into the log later than writes.
            at_ms - chance.choice((0, 0, 2_000)),
            f"request-{number}",
            interaction,
            query,
        )
        rows += build_event_rows(
            context,
            "pat-1",
            entities=entities,
            domains=domains,
            reason=chance.choice(REASONS),
            outcome=chance.choice((SUCCESS, SUCCESS, SUCCESS, REFUSED)),
        )
    with house.gateway.store.write_transaction() as connection:
        record_rows(connection, rows)


def pages_of(reader: Session, count: int, **params: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the visits of each page."""
    cursor: dict[str, str] = {}
    while True:
        query = urlencode({"_count": str(count), **params, **cursor})
        answer = must(reader.get(f"Patient/pat-1/$access-history?{query}")).json()
        parameters = answer.get("parameter", [])
        yield [parameter for parameter in parameters if parameter["name"] == "visit"]
        following = [p["valueString"] for p in parameters if p["name"] == "next"]
        if not following:
            return
        cursor = {"_cursor": following[0]}


def reference_of(
    reader: Session, until: str, own: str = "false", **params: str
) -> list[dict[str, Any]]:
    """Return the visits that the AuditEvents of a reader make."""
    names = {"login": "altid", "organization": "agent"}
    asked = {names.get(name, name): value for name, value in params.items()}
    if "agent" in asked:
        asked["agent"] = f"Organization/{asked['agent']}"
    query = urlencode([*asked.items(), ("patient", "pat-1"), ("_count", "500"), ("date", until)])
    address: str | None = f"AuditEvent?{query}"
    events: list[Any] = []
    while address:
        bundle = must(reader.get(address)).json()
        events += [entry["resource"] for entry in bundle.get("entry", [])]
        address = next((li["url"] for li in bundle["link"] if li["relation"] == "next"), None)
    visits = [
        visit for visit in group_into_visits(events, "pat-1") if own == "true" or not visit.is_own
    ]
    found: list[dict[str, Any]] = visit_parameters(visits)["parameter"]
    return found


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("who", ["patient", "carer", "steward", "other patient"])
def test_the_visits_are_those_that_the_events_make(furnished: House, seed: int, who: str) -> None:
    furnish_history(furnished, seed, 120)
    logins = {"patient": "p.pat-1", "other patient": "p.pat-2", "steward": "steward"}
    reader = carer(furnished) if who == "carer" else furnished.login(logins[who])
    # What the reader asks now is in the log as well, so both ask for what was before.
    until = "lt2026-11-22T00:00:00+08:00"

    for params in (
        {},
        {"own": "true"},
        {"login": "doctor.b"},
        {"organization": "hospital-a", "own": "true"},
        {"domain": "laboratory", "own": "true"},
    ):
        for count in (7, 100):
            pages = list(pages_of(reader, count, date=until, **params))
            expected = reference_of(reader, until, **params)
            assert [visit for page in pages for visit in page] == expected, (params, count)
            assert all(len(page) == count for page in pages[:-1])
            assert bool(expected) == (who != "other patient")


def test_a_visit_without_end_is_told_in_several_pages(furnished: House) -> None:
    robot = Subject("robot", "Robot", "system", "robot", "hospital-a")
    start = furnished.clock() - 6_000 * _MINUTE
    rows: list[Any] = []
    for number in range(6_000):
        context = AuditContext(robot, "TREAT", start + number * _MINUTE, f"r-{number}", "read")
        rows += build_event_rows(context, "pat-1", entities=["Observation/lab-1"])
    with furnished.gateway.store.write_transaction() as connection:
        record_rows(connection, rows)

    pages = list(pages_of(furnished.login("p.pat-1"), 25, login="robot"))

    assert [len(page) for page in pages] == [1, 1]


def test_a_person_whom_nothing_links_to_the_patient_learns_nothing(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))

    answers = [
        furnished.login("p.pat-2").get(f"Patient/{patient}/$access-history")
        for patient in ("pat-1", "nobody")
    ]
    assert [answer.json() for answer in answers] == [{"resourceType": "Parameters"}] * 2
    for login in ("doctor.a", "researcher", "admin"):
        assert furnished.login(login).get("Patient/pat-1/$access-history").status_code == 403


def test_a_cursor_serves_its_own_question_alone(furnished: House) -> None:
    furnish_history(furnished, 7, 60)
    reader = furnished.login("p.pat-1")
    answer = must(reader.get("Patient/pat-1/$access-history?_count=2")).json()
    cursor = answer["parameter"][-1]["valueString"]

    for query in (f"_count=2&own=true&_cursor={cursor}", "_count=2&_cursor=x"):
        assert reader.get(f"Patient/pat-1/$access-history?{query}").status_code == 400


@pytest.mark.parametrize("query", ["own=yes", "domain=x", "_count=x", "date=soon", "colour=red"])
def test_what_is_no_parameter_is_refused(furnished: House, query: str) -> None:
    reader = furnished.login("p.pat-1")

    assert reader.get(f"Patient/pat-1/$access-history?{query}").status_code == 400


def test_who_reads_the_history_is_in_it(furnished: House) -> None:
    must(furnished.login("steward").get("Patient/pat-1/$access-history"))

    (visit,) = next(pages_of(furnished.login("p.pat-1"), 25, login="steward"))

    values = {part["name"]: part for part in visit["part"]}
    assert values["login"]["valueString"] == "steward"
    assert values["operation"]["valueCode"] == "access-history"
