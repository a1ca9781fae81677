"""A reader of the feed's changed decisions knows the rules and facts of the tables, always."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ehr_fhir.errors import EhrError
from ehr_gateway.accounts.memberships import add_membership
from ehr_gateway.interactions.delete import delete
from ehr_gateway.store.decision_changes import list_decision_changes
from ehr_gateway.store.store import Store
from ehr_privacy.consent import TABLES, record_to_json
from ehr_privacy.consent.research import RESEARCH_TABLES
from tests.lib.store import consent, platform, put, rows

PATIENTS = ("p0", "p1", "p2")
LABEL = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}
Rules = dict[str, list[dict[str, Any]]]
Facts = dict[tuple[str, str], dict[str, Any]]


class Follower:
    """Keeps what the feed said last of each patient and each record."""

    def __init__(self) -> None:
        self.position = self.number = 0
        self.rules: Rules = {}
        self.facts: Facts = {}

    def read(self, store: Store, limit: int) -> None:
        while True:
            page = store.read_feed(self.position, limit, decisions_after=self.number)
            for entry in page.entries:
                key = (entry.version.type, entry.version.id)
                self.facts[key] = record_to_json(entry.record)
                self.position = entry.position
            for change in page.decisions:
                self.number = change.number
                if change.record is None:
                    self.rules[change.id] = [dict(row) for row in change.rules or ()]
                else:
                    self.facts[change.type, change.id] = record_to_json(change.record)
            if not page.entries and not page.decisions:
                return


def rules_in_force(store: Store) -> Rules:
    """Read the rules of every patient from the tables, without the feed."""
    found: Rules = {}
    for table in RESEARCH_TABLES:
        columns = [column.name for column in TABLES[table]]
        for row in rows(store, f"SELECT {', '.join(columns)} FROM {table}"):
            values = dict(zip(columns, row, strict=True))
            found.setdefault(values["patient"], []).append({"table": table, **values})
    members = [column.name for column in TABLES["consent_membership"]]
    for patient, listed in found.items():
        people = {row.get("author_person") for row in listed} - {None}
        for row in rows(store, f"SELECT DISTINCT {', '.join(members)} FROM consent_membership"):
            values = dict(zip(members, row, strict=True))
            if values["practitioner"] in people:
                found[patient] = [*found[patient], {"table": "consent_membership", **values}]
    return found


def facts_in_force(store: Store) -> Facts:
    found: Facts = {}
    # Each is told once more when it is marked as changed.
    marks = [
        ("facts", *key) for key in rows(store, "SELECT type, id FROM resource WHERE current = 1")
    ]
    with store.write_transaction() as connection:
        connection.execute("DELETE FROM decision_change")
        connection.executemany(
            "INSERT INTO decision_change (kind, type, id, number) VALUES (?, ?, ?, ?)",
            [(*mark, number) for number, mark in enumerate(marks, 1)],
        )
        for change in list_decision_changes(connection, 0, len(marks)):
            assert change.record is not None
            found[change.type, change.id] = record_to_json(change.record)
    return found


def normal(rules: Rules) -> dict[str, list[str]]:
    return {
        patient: sorted(str(sorted(row.items(), key=str)) for row in listed)
        for patient, listed in rules.items()
        if listed
    }


def random_step(chance: random.Random, store: Store) -> Callable[[], object]:
    """Choose one act on the store."""
    patient = chance.choice(PATIENTS)
    links = [{"type": "seealso", "other": {"reference": f"Patient/{chance.choice(PATIENTS)}"}}]
    provisions: tuple[dict[str, Any], ...] = (
        {"type": "deny"},
        {"type": "deny", "securityLabel": [LABEL]},
        {"type": "deny", "actor": [], "data": []},
        {"type": "permit"},
    )
    category = chance.choice(("joining", "research", "restriction"))
    rule = {
        **consent(patient, category, **chance.choice(provisions)),
        "id": chance.choice(("c0", "c1", "c2")),
        "status": chance.choice(("active", "active", "inactive")),
    }
    security = {"meta": {"security": [LABEL]}} if chance.random() < 0.5 else {}
    stay = {
        "resourceType": "Encounter", "id": "stay", "status": "finished", **security,
        "class": {"code": "IMP"}, "subject": {"reference": f"Patient/{patient}"},
    }  # fmt: skip
    role = {
        "resourceType": "PractitionerRole", "id": "role",
        "practitioner": {"reference": "Practitioner/dr"},
        "organization": {"reference": f"Organization/{chance.choice(('a', 'b'))}"},
    }  # fmt: skip

    def join_clinic() -> None:
        with store.write_transaction() as connection:
            add_membership(connection, "dr", "dr", chance.choice(("a", "b")))

    def close_author() -> None:
        # No Consent of this store names an author; the table may hold such a row all the same.
        put(store, {**consent(patient, "restriction", type="deny"), "id": "of-author"})
        with store.write_transaction() as connection:
            connection.execute(
                "UPDATE consent_restriction SET author_person = 'dr' WHERE consent = 'of-author'"
            )

    return chance.choice(
        (
            lambda: put(store, rule),
            lambda: put(store, rule),
            lambda: delete(store, platform(), "Consent", str(rule["id"])),
            lambda: put(store, {"resourceType": "Patient", "id": patient, "link": links}),
            lambda: put(store, {"resourceType": "Patient", "id": patient}),
            lambda: put(store, stay),
            lambda: put(store, role),
            lambda: delete(store, platform(), "PractitionerRole", "role"),
            join_clinic,
            close_author,
        )
    )


def furnish(store: Store) -> None:
    for identity in ("a", "b"):
        put(store, {"resourceType": "Organization", "id": identity, "name": identity})
    put(store, {"resourceType": "Practitioner", "id": "dr"})
    for identity in PATIENTS:
        put(store, {"resourceType": "Patient", "id": identity})
    stay = {
        "resourceType": "Encounter", "id": "stay", "status": "finished", "class": {"code": "IMP"},
        "subject": {"reference": "Patient/p0"},
    }  # fmt: skip
    put(store, stay)
    result = {
        "resourceType": "Observation", "id": "result", "status": "final", "code": {"text": "x"},
        "subject": {"reference": "Patient/p0"}, "encounter": {"reference": "Encounter/stay"},
    }  # fmt: skip
    put(store, result)


def test_a_follower_knows_what_the_tables_say_after_any_acts(store: Store) -> None:
    furnish(store)
    chance = random.Random(20261129)
    follower = Follower()
    acts = 0
    for number in range(120):
        try:
            random_step(chance, store)()
            acts += 1
        except EhrError:
            continue  # Not all acts fit the state they meet.
        if number % 3 == 0:
            follower.read(store, limit=chance.choice((1, 2, 50)))
            assert normal(follower.rules) == normal(rules_in_force(store)), number
    follower.read(store, limit=1)

    assert acts > 60
    assert normal(follower.rules) == normal(rules_in_force(store))
    assert follower.facts == facts_in_force(store)


def test_facts_that_a_record_inherits_are_told_without_a_version_of_it(store: Store) -> None:
    furnish(store)
    follower = Follower()
    follower.read(store, 50)
    stay = {
        "resourceType": "Encounter", "id": "stay", "status": "finished", "class": {"code": "IMP"},
        "subject": {"reference": "Patient/p0"}, "meta": {"security": [LABEL]},
    }  # fmt: skip

    put(store, stay)
    page = store.read_feed(follower.position, 50, decisions_after=follower.number)

    assert [entry.version.id for entry in page.entries] == ["stay"]
    told = {change.id: change.record for change in page.decisions}
    assert told["result"] is not None
    assert told["result"].labels == {"HIV"}


def test_decisions_come_once_the_versions_are_read(store: Store) -> None:
    furnish(store)
    put(store, {**consent("p0", "joining"), "id": "joins"})

    first = store.read_feed(0, 3, decisions_after=0)
    last = store.read_feed(3, 50, decisions_after=0)

    assert (len(first.entries), first.decisions) == (3, ())
    assert [change.id for change in last.decisions if change.rules] == ["p0"]
