"""The marker is what its definition says of every record, whatever rules there are (generated)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ehr_gateway.access import Access
from ehr_gateway.access_requests.markers import Marker, find_marker, is_shared_with
from ehr_gateway.database import Connection
from ehr_privacy.consent import compile_predicate
from ehr_privacy.consent.model import Requester, split_bars
from ehr_privacy.consent.scopes import parse_scopes
from tests.lib.gateway import House, observation, restriction
from tests.spec.access.test_markers import SEALED

_RULES: tuple[dict[str, Any], ...] = (
    {"domain": "laboratory"},
    {"domain": "diagnosis", "against": "Organization/hospital-b"},
    {"domain": "laboratory", "against": "Organization/hospital-a"},
    {"record": "Observation/both"},
    {"record": "Observation/uncoded"},
    {},
)
_PROFESSIONS = ("doctor", "pharmacist", "nurse", None)


def defined_marker(connection: Connection, access: Access, patient: str) -> Marker:
    """Ask of every record: is it closed, and would lifting open it?"""
    if not is_shared_with(connection, access.requester, patient, access.now_ms):
        return Marker()

    def found(*lifted: str) -> dict[int, tuple[str, ...]]:
        condition = compile_predicate(
            access.requester, "search", access.now_ms, prefix="d", lifted=frozenset(lifted)
        )
        rows = connection.execute(
            "SELECT r.pk, r.domain, r.inner_domains FROM record_patient m"
            " JOIN resource r ON r.pk = m.pk"
            f" WHERE m.patient = :m AND r.current = 1 AND r.deleted = 0 AND ({condition.sql})",
            {"m": patient, **condition.params},
        )
        return {pk: (domain, *split_bars(inner)) for pk, domain, inner in rows}

    visible, opened, lifted = found(), found("step-up"), found("step-up", "hidden")
    domains = {name for pk in opened.keys() - visible.keys() for name in opened[pk]}
    return Marker(True, tuple(sorted(domains)), bool(lifted.keys() - opened.keys()))


@pytest.mark.parametrize("seed", range(5))
def test_the_marker_is_what_its_definition_says(furnished: House, seed: int) -> None:
    chance = random.Random(seed)
    for organization in chance.sample(("hospital-a", "hospital-b"), chance.choice((1, 2))):
        furnished.share(organization)
    hospital = furnished.system("hospital-a")
    uncoded = {**observation("uncoded", "laboratory"), "code": {"text": "glucose"}}
    del uncoded["category"]
    both = {**observation("both", "laboratory"), "performer": [{"reference": "Patient/pat-2"}]}
    for record in (uncoded, both, observation("other", "imaging")):
        hospital.store(record)
    for number, rule in enumerate(chance.sample(_RULES, chance.choice((0, 1, 2)))):
        sealed = {"extension": [SEALED]} if chance.random() < 0.3 else {}
        furnished.login("p.pat-1").store(restriction(f"r-{number}", **rule, **sealed))
    if chance.random() < 0.5:
        theirs = restriction("theirs", domain="laboratory")
        furnished.login("p.pat-2").store({**theirs, "patient": {"reference": "Patient/pat-2"}})

    store, now = furnished.gateway.store, furnished.clock()
    for patient in ("pat-1", "pat-2"):
        for profession in _PROFESSIONS:
            requester = Requester(
                role="clinician" if profession else "system",
                organization="hospital-b",
                profession=profession,
                person="doctor.b",
                scopes=parse_scopes("user/*.rs" if profession else "system/*.rs"),
            )
            access = Access(requester, now, "r")
            with store.read_transaction() as connection:
                assert find_marker(connection, access, patient) == defined_marker(
                    connection, access, patient
                ), (patient, profession)
