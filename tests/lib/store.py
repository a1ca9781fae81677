"""A store in a temporary folder, and the people who ask it for records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.json_text import parse
from ehr_gateway.access import Access
from ehr_gateway.interactions.create import create
from ehr_gateway.interactions.update import update
from ehr_gateway.search.page import SearchPage, search
from ehr_gateway.store.store import Store, Version
from ehr_privacy.consent import Requester, parse_scopes
from tests.lib.postgresql import Cluster

NOW = 1_790_000_000_000  # 2026-09-21T14:13:20Z

JOINING = {
    "resourceType": "Consent",
    "status": "active",
    "scope": {
        "coding": [
            {
                "system": "http://terminology.hl7.org/CodeSystem/consentscope",
                "code": "patient-privacy",
            }
        ]
    },
    "policyRule": {"text": "eHR Commons"},
}


def platform(now_ms: int = NOW) -> Access:
    """Return the access of the platform's own system."""
    scopes = parse_scopes("system/*.cruds")
    return Access(Requester("system", "platform", "ehr-commons", scopes=scopes), now_ms, "request")


def doctor(organization: str, person: str = "dr.chan", now_ms: int = NOW) -> Access:
    """Return the access of a doctor of one organisation."""
    scopes = parse_scopes("user/*.cruds")
    requester = Requester("clinician", person, organization, "doctor", scopes=scopes)
    return Access(requester, now_ms, "request")


def consent(patient: str, category: str, **provision: Any) -> dict[str, Any]:
    """Return a Consent of one category."""
    system = "https://ehr-commons.hk/fhir/CodeSystem/consent-category"
    return {
        **JOINING,
        "patient": {"reference": f"Patient/{patient}"},
        "category": [{"coding": [{"system": system, "code": category}]}],
        **({"provision": provision} if provision else {}),
    }


def actor(organization: str) -> dict[str, Any]:
    """Return the actor element that names an organisation."""
    system = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
    role = {"coding": [{"system": system, "code": "IRCP"}]}
    return {"role": role, "reference": {"reference": f"Organization/{organization}"}}


def put(store: Store, resource: dict[str, Any], access: Access | None = None) -> Version:
    """Store a resource, under its id if it has one."""
    body = json.dumps(resource).encode()
    kind = resource["resourceType"]
    if "id" in resource:
        return update(store, access or platform(), kind, resource["id"], body).version
    return create(store, access or platform(), kind, body)


def found(store: Store, kind: str, query: str, access: Access | None = None) -> list[str]:
    """Return the ids that a search finds."""
    pairs = [(name, value) for name, _, value in (one.partition("=") for one in query.split("&"))]
    page: SearchPage = search(store, access or platform(), kind, pairs if query else [])
    return [version.id for version in page.matches]


def content(version: Version) -> dict[str, Any]:
    """Return the resource of a version."""
    return parse(version.body)


def rows(store: Store, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query on the tables themselves."""
    with store.read_transaction() as connection:
        return [tuple(row) for row in connection.execute(statement, values)]


@pytest.fixture
def place(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> Iterator[Path | str]:
    """Name a place for a store on the test's database, with nothing in it but its tables."""
    if database == "sqlite":
        yield tmp_path / "ehr.db"
        return
    cluster: Cluster = request.getfixturevalue("postgresql")
    with cluster.database(template=request.getfixturevalue("empty_store")) as url:
        yield url


@pytest.fixture(scope="session")
def empty_store(postgresql: Cluster) -> str:
    """Name a PostgreSQL database in which a store was made and nothing else: a template."""
    name = postgresql.create()
    Store(postgresql.url(name)).close()
    return name


@pytest.fixture
def store(place: Path | str, tmp_path: Path) -> Iterator[Store]:
    """Open an empty store."""
    opened = Store(place, tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def shared_record(store: Store) -> Store:
    """Fill a store: a joined patient, a hospital he shares with, two records of another."""
    for identity in ("ha-harbour", "st-gabriel", "kwun-fong"):
        put(store, {"resourceType": "Organization", "id": identity, "name": identity})
    put(store, {"resourceType": "Patient", "id": "p1", "name": [{"family": "Chan"}]})
    put(store, {**consent("p1", "joining"), "id": "joining"})
    sharing = consent("p1", "sharing", type="permit", actor=[actor("st-gabriel")])
    put(store, {**sharing, "id": "sharing"})
    for code in ("8302-2", "29463-7"):
        observation = {
            "resourceType": "Observation",
            "status": "final",
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "subject": {"reference": "Patient/p1"},
        }
        put(store, observation, doctor("ha-harbour"))
    return store
