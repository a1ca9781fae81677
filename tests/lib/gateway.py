"""A small gateway to test against: two hospitals, their doctors, two patients, nothing shared yet.

`House` serves it over HTTP in this process; `house.login("doctor.a")` is a session of that person.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
from fastapi.testclient import TestClient

from ehr_gateway.access import Access
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account, subject_of_account
from ehr_gateway.app import create_gateway
from ehr_gateway.gateway import Gateway
from ehr_gateway.oauth import clients
from ehr_gateway.settings import GatewaySettings
from ehr_gateway.tokens.access_tokens import Subject, issue_access_token
from ehr_gateway.tokens.roles import grant_scopes, load_roles
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import open_transaction
from tests.lib.postgresql import Cluster

BASE = "http://testserver"
START_MS = 1_795_334_400_000  # 2026-11-22T08:00:00Z
PASSWORD = "correct horse"
HKID, PIN = "ZA123456(0)", "246810"
EHR = "https://ehr-commons.hk/fhir/CodeSystem"

PEOPLE = (
    Account("doctor.a", "clinician", "Dr A", "hospital-a", "doctor"),
    Account("doctor.b", "clinician", "Dr B", "hospital-b", "doctor"),
    Account("pharmacist.b", "clinician", "Ph B", "hospital-b", "pharmacist"),
    Account("researcher", "researcher", "Re", "ehr-commons"),
    Account("steward", "steward", "St", "ehr-commons"),
    Account("auditor", "auditor", "Au", "ehr-commons"),
    Account("admin", "administrator", "Ad", "ehr-commons"),
    Account("p.pat-2", "patient", "Patient Two", patient="pat-2"),
)
PATIENT_ONE = Account("p.pat-1", "patient", "Patient One", patient="pat-1")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = START_MS

    def __call__(self) -> int:
        return self.now

    def forward(self, *, seconds: float) -> None:
        """Move the clock on."""
        self.now += int(seconds * 1000)


class Session:
    """A client that sends one person's or program's token with every request."""

    def __init__(self, client: TestClient, token: str) -> None:
        self._client = client
        self.headers = {"Authorization": f"Bearer {token}"}

    def request(self, method: str, address: str, **options: Any) -> Any:
        """Send a request; addresses begin at the FHIR base unless they begin with a slash."""
        headers = {**self.headers, **options.pop("headers", {})}
        path = address if address.startswith(("/", "http")) else f"/fhir/{address}"
        return self._client.request(method, path, headers=headers, **options)

    def get(self, address: str, **options: Any) -> Any:
        """Send a GET."""
        return self.request("GET", address, **options)

    def post(self, address: str, body: Any = None, **options: Any) -> Any:
        """POST a resource."""
        return self._send("POST", address, body, options)

    def put(self, body: dict[str, Any], **options: Any) -> Any:
        """PUT a resource under its own id."""
        return self._send("PUT", f"{body['resourceType']}/{body['id']}", body, options)

    def store(self, body: dict[str, Any]) -> None:
        """Store a resource under its own id with this token's rights; new ids are taken too."""
        kind, identity = body["resourceType"], body["id"]
        answer = self.get(f"{kind}/{identity}")
        if answer.status_code == 200:
            must(self.put(body))
            return
        gateway: Gateway = self._client.app.state.gateway  # type: ignore[attr-defined]
        caller = gateway.verifier.authenticate(self.headers["Authorization"][7:], gateway.clock())
        access = Access(caller.requester, gateway.clock(), "furnishing")
        # Over HTTP a patient's record gets its id from the server; a test wants to know it.
        draft = prepare_draft(body, identity, access, kind)
        with open_transaction(gateway.store, access) as writing:
            writing.create(draft)

    def delete(self, address: str, **options: Any) -> Any:
        """Send a DELETE."""
        return self.request("DELETE", address, **options)

    def ids(self, address: str) -> list[str]:
        """Return the references of a search's entries."""
        answer = self.get(address)
        assert answer.status_code == 200, answer.text
        return [
            f"{entry['resource']['resourceType']}/{entry['resource']['id']}"
            for entry in answer.json().get("entry", [])
        ]

    def _send(self, method: str, address: str, body: Any, options: dict[str, Any]) -> Any:
        options["headers"] = {
            "Content-Type": "application/fhir+json",
            **options.get("headers", {}),
        }
        return self.request(method, address, json=body, **options)


class House:
    """The gateway, its clock, and a session for each member of the cast."""

    def __init__(
        self,
        data: Path,
        *,
        address: str = BASE,
        clock: Callable[[], int] | None = None,
        **settings: Any,
    ) -> None:
        self.clock = Clock()
        # What no test looks at need not be signed or compared; those that look ask for it.
        settings.setdefault("audit_checkpoint_seconds", 0)
        settings.setdefault("duplicates_seconds", 0)
        # Tests of subscriptions let the worker run when they look.
        settings.setdefault("subscription_seconds", 0)
        settings.setdefault("subscription_hosts", ("127.0.0.1",))
        self.settings = GatewaySettings(data=data, base_url=address, **settings)
        self.app = create_gateway(self.settings, clock=clock or self.clock)
        self.client = TestClient(self.app, follow_redirects=False)
        self.gateway: Gateway = self.app.state.gateway

    def invite(self) -> None:
        """Give the cast their accounts."""
        for person in PEOPLE:
            accounts.add_account(self.gateway.store, person)
        accounts.add_account(self.gateway.store, replace(PEOPLE[0], exempt=True), PASSWORD)
        accounts.add_account(self.gateway.store, PATIENT_ONE, identity_number=HKID, pin=PIN)
        lake = clients.Client("lake", "Lake", scope="ehr/feed.read", organization="ehr-commons")
        clients.register_client(self.gateway.store, lake, PASSWORD)

    def token(self, login: str, scope: str = "") -> str:
        """Return a token of a member of the cast."""
        account = accounts.find_account(self.gateway.store, login)
        words = grant_scopes(scope, load_roles()[account.role].scopes)
        return self.issue(subject_of_account(account, "test"), words)

    def login(self, login: str, scope: str = "") -> Session:
        """Return a session of a member of the cast."""
        return Session(self.client, self.token(login, scope))

    def system(self, organization: str, scope: str = "system/*.cruds") -> Session:
        """Return a session of an organisation's own system."""
        name = f"system-{organization}"
        return Session(
            self.client, self.issue(Subject(name, name, "system", name, organization), scope)
        )

    def furnish(self) -> None:
        """Put in the organisations, the patients and what hospital-a wrote about pat-1."""
        platform = self.system("ehr-commons")
        for resource in (
            organization("hospital-a"),
            organization("hospital-b"),
            patient("pat-1", "ZA1234560"),
            patient("pat-2", "ZB1234563"),
            consent("joining-1", "joining"),
            consent("joining-2", "joining", patient="pat-2"),
        ):
            platform.store(resource)
        hospital = self.system("hospital-a")
        for resource in (
            encounter("enc-1"),
            condition("con-1", "enc-1"),
            observation("lab-1", "laboratory", encounter="enc-1"),
            observation("lab-2", "laboratory"),
            observation("vital-1", "vital-signs"),
        ):
            hospital.store(resource)

    def share(self, organization_id: str = "hospital-b", status: str = "active") -> None:
        """Let the first patient turn sharing with an organisation on or off."""
        provision = {
            "type": "permit",
            "actor": [_actor(f"Organization/{organization_id}")],
        }
        body = consent(f"sharing-{organization_id}", "sharing", status=status, provision=provision)
        self.login("p.pat-1").store(body)

    def issue(self, subject: Subject, scope: str) -> str:
        gateway = self.gateway
        return issue_access_token(gateway.keys, gateway.settings, subject, scope, gateway.clock())[
            0
        ]


class MoveIn(Protocol):
    """Opens a house of one kind, `empty` or `furnished`; `name` tells several apart."""

    def __call__(self, kind: str, name: str = "data") -> House:
        """Open a copy of what was built once."""


@pytest.fixture
def database() -> str:
    """Name the database of the test's house; conftest.py of the gateway's tests names both."""
    return "sqlite"


@pytest.fixture(scope="session")
def houses(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path | str]:
    """Return what each test's house is copied from: made when first asked for, once."""
    return {}


@pytest.fixture
def move_in(
    houses: dict[tuple[str, str], Path | str],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    database: str,
    request: pytest.FixtureRequest,
) -> Iterator[MoveIn]:
    """Lend how to open houses on the test's database; they are closed at its end."""
    with lend_houses(houses, tmp_path_factory, tmp_path, database, request) as lent:
        yield lent


@contextmanager
def lend_houses(
    houses: dict[tuple[str, str], Path | str],
    tmp_path_factory: pytest.TempPathFactory,
    folder: Path,
    database: str,
    request: pytest.FixtureRequest,
) -> Iterator[MoveIn]:
    """Lend how to open houses in a folder, for a test or for all of a module."""
    with ExitStack() as stack:

        def on_sqlite(kind: str, name: str = "data") -> House:
            template = houses.get((database, kind))
            if not isinstance(template, Path):
                template = houses[database, kind] = tmp_path_factory.mktemp(kind) / "data"
                _build(kind, House(template))
            shutil.copytree(template, folder / name)
            return stack.enter_context(_opened(House(folder / name)))

        def on_postgresql(kind: str, name: str = "data") -> House:
            cluster: Cluster = request.getfixturevalue("postgresql")
            template = houses.get((database, kind))
            if not isinstance(template, str):
                template = houses[database, kind] = cluster.create()
                keys = tmp_path_factory.mktemp(f"{kind}-keys")
                _build(kind, House(keys, database_url=cluster.url(template)))
            url = stack.enter_context(cluster.database(template=template))
            return stack.enter_context(_opened(House(folder / name, database_url=url)))

        yield on_sqlite if database == "sqlite" else on_postgresql


@pytest.fixture
def house(move_in: MoveIn) -> House:
    """Return a house in which nothing is yet but the accounts of the cast."""
    return move_in("empty")


@pytest.fixture
def furnished(move_in: MoveIn) -> House:
    """Return a house with patients who joined and records of hospital-a; nothing is shared."""
    return move_in("furnished")


def _build(kind: str, built: House) -> None:
    built.invite()
    if kind == "furnished":
        built.furnish()
    built.gateway.audit_batcher.flush()
    built.gateway.store.close()


@contextmanager
def _opened(built: House) -> Iterator[House]:
    try:
        with built.client:
            yield built
    finally:
        built.gateway.store.close()


def must(answer: Any) -> Any:
    """Return the answer of a request that has to succeed."""
    assert answer.status_code < 300, f"{answer.status_code}: {answer.text}"
    return answer


def organization(name: str) -> dict[str, Any]:
    """Return a hospital."""
    return {"resourceType": "Organization", "id": name, "name": name.title(), "active": True}


def patient(name: str, hkid: str) -> dict[str, Any]:
    """Return a patient."""
    return {
        "resourceType": "Patient",
        "id": name,
        "identifier": [{"system": "https://ehr-commons.hk/hkid", "value": hkid}],
        "name": [{"family": "Chan", "given": ["Ka Ming"]}],
        "gender": "female",
        "birthDate": "1980-02-03",
    }


def encounter(name: str, patient: str = "pat-1") -> dict[str, Any]:
    """Return a stay in hospital."""
    return {
        "resourceType": "Encounter",
        "id": name,
        "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "subject": {"reference": f"Patient/{patient}"},
        "period": {"start": "2026-01-05T08:00:00+08:00", "end": "2026-01-09T08:00:00+08:00"},
    }


def condition(name: str, encounter: str, patient: str = "pat-1") -> dict[str, Any]:
    """Return a diagnosis."""
    return {
        "resourceType": "Condition",
        "id": name,
        "code": {"text": "asthma"},
        "subject": {"reference": f"Patient/{patient}"},
        "encounter": {"reference": f"Encounter/{encounter}"},
    }


def observation(
    name: str, category: str, patient: str = "pat-1", encounter: str | None = None
) -> dict[str, Any]:
    """Return a measurement."""
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    body: dict[str, Any] = {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "category": [{"coding": [{"system": system, "code": category}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": "2026-01-06T09:00:00+08:00",
        "valueQuantity": {"value": 13.5, "unit": "g/dL"},
    }
    if encounter:
        body["encounter"] = {"reference": f"Encounter/{encounter}"}
    return body


def consent(
    name: str,
    category: str,
    *,
    patient: str = "pat-1",
    status: str = "active",
    provision: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a Consent of one of our categories."""
    return {
        "resourceType": "Consent",
        "id": name,
        "status": status,
        "scope": {
            "coding": [
                {
                    "system": "http://terminology.hl7.org/CodeSystem/consentscope",
                    "code": "patient-privacy",
                }
            ]
        },
        "category": [{"coding": [{"system": f"{EHR}/consent-category", "code": category}]}],
        "patient": {"reference": f"Patient/{patient}"},
        "dateTime": "2026-01-01",
        "policyRule": {"text": "eHR Commons"},
        "provision": provision or {"type": "permit"},
    }


def restriction(name: str, **provision: Any) -> dict[str, Any]:
    """Return a restriction of pat-1 against an organisation, or everyone."""
    body: dict[str, Any] = {"type": "deny", **provision}
    if "against" in body:
        body["actor"] = [_actor(body.pop("against"))]
    if "domain" in body:
        body["class"] = [{"system": f"{EHR}/data-domain", "code": body.pop("domain")}]
    if "record" in body:
        reference = {"reference": body.pop("record")}
        body["data"] = [{"meaning": "instance", "reference": reference}]
    return consent(name, "restriction", provision=body)


def _actor(reference: str) -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
    return {
        "role": {"coding": [{"system": system, "code": "IRCP"}]},
        "reference": {"reference": reference},
    }
