"""A state machine of everyone who acts on a small store: who gains sight of what, and by whose act.

Patients, authors, third parties, systems, a carer, the steward and time act at random. After each
act everybody reads every record and makes some searches, and four invariants must hold:

* nobody gains sight of a record but by the act of its patient, its author, the author of what it
  refers to, a steward, the platform, a carer, a rule's own dates, or an emergency they declared;
* who sees the same records as before gets the same answers as before;
* every sight of a record is in the patient's part of the audit log;
* an author can mark their own record as entered in error, whatever happened.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from tests.lib.gateway import (
    EHR,
    House,
    MoveIn,
    Session,
    condition,
    consent,
    encounter,
    must,
    observation,
    organization,
    restriction,
)
from tests.spec.access.steps import carer, send

ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
PSY, HIV = ({"system": ACT_CODE, "code": code} for code in ("PSY", "HIV"))
ORGANIZATIONS = ("hospital-a", "hospital-b", "hospital-c")
# Who reads everything after each act, beside a hospital's system.
READERS = ("doctor.a", "doctor.b", "doctor.c", "pharmacist.b", "p.pat-1", "p.pat-2", "carer.1")
MEMBERS = {
    "doctor.a": "hospital-a",
    "doctor.b": "hospital-b",
    "doctor.c": "hospital-c",
    "pharmacist.b": "hospital-b",
    "system-hospital-b": "hospital-b",
}
SEARCHES = (
    "Observation?_total=accurate",
    "Observation?patient=pat-1&_sort=-date&_include=Observation:encounter",
    "Condition?_total=accurate&_revinclude=Condition:encounter",
    "Encounter?_total=accurate&_has:Observation:encounter:status=final,entered-in-error",
    "Encounter?_has:Condition:encounter:code:missing=false&_revinclude=Encounter:part-of",
    "MedicationRequest?_include=MedicationRequest:medication&_total=accurate",
    "MedicationRequest?medication.code=a",
    "Patient?_has:Observation:patient:category=laboratory",
    "Patient/pat-1/Observation?_summary=count",
    "Patient/pat-2/Condition?_summary=count",
    "Observation/_history?_count=50",
)
PATIENTS = st.sampled_from(("pat-1", "pat-2"))
WRITERS = st.sampled_from(sorted(MEMBERS))
SELECTORS: tuple[dict[str, Any], ...] = (
    {"securityLabel": [PSY]},
    {"securityLabel": [HIV]},
    {"domain": "laboratory"},
    {"domain": "diagnosis"},
    {"data": [{"meaning": "related", "reference": {"reference": "Encounter/stay"}}]},
    {"record": "Observation/lab-1"},
    {"dataPeriod": {"start": "2026-01-01", "end": "2026-01-31"}},
    {"data": [{"meaning": "authoredby", "reference": {"reference": "Practitioner/yu"}}]},
    {},
)
Sight = dict[tuple[str, str], str | None]


def _without(*names: str) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        for name in names:
            body.pop(name, None)

    return change


def _with(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda body: body.update(copy.deepcopy(values))


def _in_category(code: str) -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    return {"category": [{"coding": [{"system": system, "code": code}]}]}


# What an update may do to a record; what a type does not take is refused, which is an answer too.
CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "drop the labels": _without("meta"),
    "label as psychiatric": _with(meta={"security": [PSY]}),
    "label as HIV": _with(meta={"security": [HIV]}),
    "leave the encounter": _without("encounter", "partOf"),
    "join another encounter": _with(encounter={"reference": "Encounter/enc-1"}),
    "call it laboratory": _with(**_in_category("laboratory")),
    "call it vital signs": _with(**_in_category("vital-signs")),
    "drop the category": _without("category"),
    "another date": _with(effectiveDateTime="2025-07-01"),
    "drop the dates": _without("effectiveDateTime", "period"),
    "move to pat-1": _with(subject={"reference": "Patient/pat-1"}),
    "move to pat-2": _with(subject={"reference": "Patient/pat-2"}),
    "entered in error": _with(status="entered-in-error"),
    "a note": _with(language="en"),
    "by Dr Yu": _with(performer=[{"reference": "Practitioner/yu"}]),
    "by a role": _with(performer=[{"reference": "PractitionerRole/role"}]),
    "by a role elsewhere": _with(
        performer=[{"reference": "Organization/hospital-a"}],
        extension=[{"url": f"{EHR}/x", "valueReference": {"reference": "PractitionerRole/role"}}],
    ),
    "by nobody": _without("performer", "extension"),
}


class SightMachine(RuleBasedStateMachine):
    """Acts on one house; `open_house` gives each run a fresh one."""

    open_house: Callable[[], House]

    @initialize()
    def furnish(self) -> None:
        """Open a house with three hospitals, two patients and records of each kind."""
        self.house = house = self.open_house()
        house.app.state.deliveries.stop()
        store = house.gateway.store
        accounts.add_account(
            store, Account("doctor.c", "clinician", "Dr C", "hospital-c", "doctor")
        )
        house.system("ehr-commons").store(organization("hospital-c"))
        carer(house, "carer.1")
        self.sessions: dict[str, Session] = {name: house.login(name) for name in READERS}
        self.systems = {name: house.system(name) for name in ORGANIZATIONS}
        self.sessions["system-hospital-b"] = self.systems["hospital-b"]
        self.platform = house.system("ehr-commons")
        # Reference -> the organisation that wrote it, and its newest content as its author sent it.
        self.authors: dict[str, str] = {}
        for name in ("yu", "wu"):
            self.platform.store({"resourceType": "Practitioner", "id": name})
        self.platform.store(_role("yu"))
        self.bodies: dict[str, dict[str, Any]] = {}
        self.seen: set[tuple[str, str, str]] = set()
        self.numbers = iter(range(1000))
        for body in _furniture():
            self._store("hospital-a", body)
        self._store("hospital-b", observation("by-b", "laboratory"))
        # All that the house is furnished with: what a search finds is compared by who sees what.
        names = ("Encounter/enc-1", "Condition/con-1")
        for name in (*names, "Observation/lab-1", "Observation/lab-2", "Observation/vital-1"):
            self.authors[name] = "hospital-a"
            self.bodies[name] = must(self.sessions["doctor.a"].get(name)).json()
        self.sight, self.answers = self._look()
        self.has_moved = False
        # So that there is something to gain: hospital-c may not see what bears PSY or HIV, nor the
        # stay; the others may.
        for name in ("hospital-b", "hospital-c"):
            self.share("pat-1", name, on=True)
        for selector in (SELECTORS[0], SELECTORS[1], SELECTORS[4]):
            self.restrict("pat-1", selector, "hospital-c", sealed=False)

    def _store(self, organization_id: str, body: dict[str, Any]) -> None:
        self.house.system(organization_id).store(body)
        reference = f"{body['resourceType']}/{body['id']}"
        self.authors[reference], self.bodies[reference] = organization_id, body

    # Acts of those who write records.

    @rule(actor=WRITERS, number=st.integers(0, 50), change=st.sampled_from(sorted(CHANGES)))
    def update(self, actor: str, number: int, change: str) -> None:
        """Read a record, change it, put it back."""
        self._change(actor, self._pick(number), change, as_patch=False)

    @rule(actor=WRITERS, number=st.integers(0, 50), change=st.sampled_from(sorted(CHANGES)))
    def patch(self, actor: str, number: int, change: str) -> None:
        """Change a record by a JSON Patch."""
        self._change(actor, self._pick(number), change, as_patch=True)

    def _change(self, actor: str, reference: str, change: str, *, as_patch: bool) -> None:
        session = self.sessions[actor]
        answer = session.get(reference)
        self._note(actor, reference, answer)
        body = answer.json() if answer.status_code == 200 else copy.deepcopy(self.bodies[reference])
        before = copy.deepcopy(body)
        CHANGES[change](body)
        if as_patch:
            names = sorted({*before, *body} - {"meta"} | ({"meta"} if "meta" in change else set()))
            patch = [
                {"op": "remove", "path": f"/{name}"}
                if name not in body
                else {"op": "add", "path": f"/{name}", "value": body[name]}
                for name in names
                if before.get(name) != body.get(name)
            ]
            kind = {"Content-Type": "application/json-patch+json"}
            written = session.request("PATCH", reference, content=orjson.dumps(patch), headers=kind)
        else:
            written = session.put(body)
        assert written.status_code < 500, written.text
        act = f"{actor} {change} of {reference}"
        if change == "entered in error" and before.get("status") != body["status"]:
            others = MEMBERS[actor] != self.authors[reference]
            assert not others or written.status_code in (403, 404, 422), act
        self._check_act(MEMBERS[actor], act)

    @rule(actor=WRITERS, number=st.integers(0, 50))
    def delete(self, actor: str, number: int) -> None:
        """Delete a record."""
        reference = self._pick(number)
        deleted = self.systems[self.authors[reference]].get(reference).status_code == 410
        answer = self.sessions[actor].delete(reference)
        assert answer.status_code < 500, answer.text
        # To delete what is deleted changes nothing and is no error.
        if MEMBERS[actor] != self.authors[reference] and not deleted:
            assert answer.status_code in (403, 404), (actor, reference, answer.text)
        self._check_act(MEMBERS[actor], f"{actor} deletes {reference}")

    @rule(actor=WRITERS, number=st.integers(0, 50))
    def put_back(self, actor: str, number: int) -> None:
        """Put a record back as its author first wrote it, deleted or not."""
        reference = self._pick(number)
        answer = self.sessions[actor].put(copy.deepcopy(self.bodies[reference]))
        assert answer.status_code < 500, answer.text
        self._check_act(MEMBERS[actor], f"{actor} puts {reference} back")

    @rule(actor=WRITERS, patient=PATIENTS, kind=st.sampled_from(("Observation", "Condition")))
    def create(self, actor: str, patient: str, kind: str) -> None:
        """Deposit a record under an id of the server's."""
        body = observation("x", "laboratory", patient=patient)
        if kind == "Condition":
            body = {**condition("x", "ward", patient=patient)}
            if patient == "pat-2":
                del body["encounter"]
        del body["id"]
        answer = self.sessions[actor].post(kind, body)
        assert answer.status_code < 500, answer.text
        if answer.status_code == 201:
            reference = f"{kind}/{answer.json()['id']}"
            self.authors[reference], self.bodies[reference] = MEMBERS[actor], answer.json()
        self._check_act(MEMBERS[actor], f"{actor} creates a {kind} of {patient}")

    @rule(number=st.integers(0, 50))
    def mark_in_error(self, number: int) -> None:
        """An author marks a record of their own as entered in error; nothing may prevent it."""
        reference = self._pick(number)
        session = self.systems[self.authors[reference]]
        answer = session.get(reference)
        if answer.status_code == 410:
            return
        body = answer.json()
        name = "verificationStatus" if body["resourceType"] == "Condition" else "status"
        error: Any = "entered-in-error"
        if name == "verificationStatus":
            system = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
            error = {"coding": [{"system": system, "code": error}]}
        written = session.put({**body, name: error})
        assert written.status_code == 200, (reference, written.text)
        self._check_act(self.authors[reference], f"the author marks {reference} in error")

    # Acts of patients, carers, stewards, and time.

    @rule(patient=PATIENTS, organization_id=st.sampled_from(ORGANIZATIONS), on=st.booleans())
    def share(self, patient: str, organization_id: str, *, on: bool) -> None:
        """Switch sharing with an organisation on or off."""
        provision = {"type": "permit", "actor": [_recipient(f"Organization/{organization_id}")]}
        name = f"sharing-{patient}-{organization_id}"
        status = "active" if on else "inactive"
        body = consent(name, "sharing", patient=patient, status=status, provision=provision)
        self.sessions[f"p.{patient}"].store(body)
        self._check_act(patient, f"{patient} shares with {organization_id}: {on}")

    @rule(
        patient=PATIENTS,
        selector=st.sampled_from(SELECTORS),
        against=st.sampled_from((None, *ORGANIZATIONS)),
        sealed=st.booleans(),
    )
    def restrict(
        self, patient: str, selector: dict[str, Any], against: str | None, *, sealed: bool
    ) -> None:
        """Close something, to everyone or to an organisation."""
        values = copy.deepcopy(selector)
        if against is not None:
            values["against"] = f"Organization/{against}"
        if sealed:
            url = "https://ehr-commons.hk/fhir/StructureDefinition/sealed"
            values["extension"] = [{"url": url, "valueBoolean": True}]
        body = restriction(f"closes-{next(self.numbers)}", **values)
        body["patient"] = {"reference": f"Patient/{patient}"}
        answer = self.sessions[f"p.{patient}"].post("Consent", _without_id(body))
        assert answer.status_code in (201, 422), answer.text
        self._check_act(patient, f"{patient} closes {selector} to {against}")

    @rule(patient=PATIENTS)
    def lift(self, patient: str) -> None:
        """Lift every restriction of one patient."""
        session = self.sessions[f"p.{patient}"]
        found = must(session.get("Consent?status=active&_count=100")).json().get("entry", [])
        for entry in found:
            body = entry["resource"]
            if body["category"][0]["coding"][0]["code"] == "restriction":
                must(session.put({**body, "status": "inactive"}))
        self._check_act(patient, f"{patient} lifts every restriction")

    @rule(patient=PATIENTS, number=st.integers(0, 50), add=st.booleans())
    def label(self, patient: str, number: int, *, add: bool) -> None:
        """Put a label of the patient's own choice on a record, or take it back."""
        reference = self._pick(number)
        meta = {"resourceType": "Parameters", "parameter": [
            {"name": "meta", "valueMeta": {"security": [PSY]}}
        ]}  # fmt: skip
        name = "$meta-add" if add else "$meta-delete"
        answer = self.sessions[f"p.{patient}"].post(f"{reference}/{name}", meta)
        assert answer.status_code < 500, answer.text
        # What a patient adds opens nothing to anybody.
        self._check_act("nobody" if add else patient, f"{patient} {name} {reference}")

    @rule(
        number=st.integers(0, 50),
        fact=st.sampled_from((("label", "PSY"), ("domain", "laboratory"), ("episode", "stay"))),
        action=st.sampled_from(("add", "deny", "withdraw")),
    )
    def correct_facts(self, number: int, fact: tuple[str, str], action: str) -> None:
        """A steward corrects what a record is judged by."""
        reference = self._pick(number)
        kind, value = fact
        answer = self._as_steward(
            f"{reference}/$correct-facts", fact=kind, action=action, _value=value
        )
        assert answer.status_code < 500, answer.text
        actor = "nobody" if action == "add" else "steward"
        self._check_act(actor, f"the steward: {action} {fact} of {reference}")

    def _as_steward(self, address: str, **given: str) -> Any:
        """Call an operation; `_value` is a string, `_patient` an id, the others are codes."""
        kinds = {"_value": "valueString", "_patient": "valueId"}
        parameters = [
            {"name": name.lstrip("_"), kinds.get(name, "valueCode"): value}
            for name, value in given.items()
        ]
        parameters.append({"name": "reason", "valueString": "On paper at the counter, form 12"})
        return self.house.login("steward").post(
            address, {"resourceType": "Parameters", "parameter": parameters}
        )

    @rule(number=st.integers(0, 50), patient=PATIENTS)
    def move(self, number: int, patient: str) -> None:
        """A steward moves a record."""
        reference = self._pick(number)
        answer = self._as_steward(f"{reference}/$move", _patient=patient)
        assert answer.status_code < 500, answer.text
        self.has_moved |= answer.status_code == 200
        self._check_act("steward", f"the steward moves {reference} to {patient}")

    @rule(number=st.integers(0, 50), how=st.sampled_from(("deleted", "entered-in-error")))
    def withdraw(self, number: int, how: str) -> None:
        """A steward withdraws a record on request."""
        reference = self._pick(number)
        answer = self._as_steward(f"{reference}/$withdraw", **{"as": how})
        assert answer.status_code < 500, answer.text
        self._check_act("nobody", f"the steward withdraws {reference}")

    @rule(patient=PATIENTS, on=st.booleans())
    def grant(self, patient: str, on: bool) -> None:
        """Give the pharmacist a day, or take it back."""
        start = self.house.clock.now // 1000
        provision = {
            "type": "permit",
            "actor": [_recipient("Organization/hospital-b"), _person("pharmacist.b")],
            "period": {"start": _instant(start), "end": _instant(start + 86_400)},
        }
        body = consent(
            f"grant-{patient}",
            "step-up",
            patient=patient,
            status="active" if on else "inactive",
            provision=provision,
        )
        self.sessions[f"p.{patient}"].store(body)
        self._check_act(patient, f"{patient} grants: {on}")

    @rule(actor=st.sampled_from(("doctor.b", "doctor.c")), patient=PATIENTS)
    def declare_emergency(self, actor: str, patient: str) -> None:
        """Declare an emergency."""
        answer = send(
            self.sessions[actor], f"Patient/{patient}/$declare-emergency", reason="unconscious"
        )
        assert answer.status_code < 500, answer.text
        self._check_act(actor, f"{actor} declares an emergency of {patient}")

    @rule(person=st.sampled_from(("yu", "wu", None)))
    def give_role(self, person: str | None) -> None:
        """The platform gives a role to somebody else, or to nobody."""
        must(self.platform.put(_role(person)))
        self._check_act("platform", f"the role is {person}'s")

    @rule(hours=st.sampled_from((1, 30)))
    def let_time_pass(self, hours: int) -> None:
        """Move the clock on; tokens are issued anew."""
        self.house.clock.forward(seconds=hours * 3600)
        for name in READERS:
            self.sessions[name] = self.house.login(name)
        self.systems = {name: self.house.system(name) for name in ORGANIZATIONS}
        self.sessions["system-hospital-b"] = self.systems["hospital-b"]
        self.platform = self.house.system("ehr-commons")
        self._check_act("time", f"{hours} hours pass", compare=False)

    @rule(on=st.booleans())
    def merge(self, on: bool) -> None:
        """The platform says that both accounts are one person's, or that they are not."""
        body = must(self.platform.get("Patient/pat-2")).json()
        body.pop("link", None)
        if on:
            body["link"] = [{"type": "replaces", "other": {"reference": "Patient/pat-1"}}]
        must(self.platform.put(body))
        self._check_act("platform", f"the accounts are one person's: {on}")

    @precondition(lambda self: hasattr(self, "authors"))
    @rule(actor=WRITERS)
    def link_accounts(self, actor: str) -> None:
        """A hospital says that both accounts are one person's, which is not for it to say."""
        session = self.sessions[actor]
        answer = session.get("Patient/pat-2")
        self._note(actor, "Patient/pat-2", answer)
        if answer.status_code == 200 and "link" not in answer.json():
            body = answer.json()
            body["link"] = [{"type": "replaces", "other": {"reference": "Patient/pat-1"}}]
            assert session.put(body).status_code in (403, 422)
        self._check_act(MEMBERS[actor], f"{actor} links the accounts")

    # The invariants.

    def _check_act(self, actor: str, act: str, *, compare: bool = True) -> None:
        before, earlier = self.sight, self.answers
        self.sight, self.answers = self._look()
        for (reader, reference), version in self.sight.items():
            if version is None or before.get((reader, reference)) is not None:
                continue
            assert self._may_open(actor, reader, reference), f"{act}: {reader} gains {reference}"
        if not compare:
            return
        for reader in self.sessions:
            mine = {key[1]: version for key, version in self.sight.items() if key[0] == reader}
            was = {ref: before.get((reader, ref)) for ref in mine}
            if mine == was:
                for search, one, other in zip(
                    SEARCHES, earlier[reader], self.answers[reader], strict=True
                ):
                    if self.has_moved and "_history" in search:
                        # Versions of before are the former patient's, who closes them alone: sight
                        # is of the newest ones.
                        continue
                    assert one == other, f"{act}: {search} tells {reader}"

    def _may_open(self, actor: str, reader: str, reference: str) -> bool:
        """Say whether an act of this actor may give this reader sight of a record."""
        if actor in ("platform", "steward", "time") or actor == reader:
            return True
        if actor.startswith("pat-"):
            # Merged accounts: what closes one closes the other, so either may open both.
            return True
        return actor in self._authors_of(reference, set())

    def _authors_of(self, reference: str, met: set[str]) -> set[str]:
        """Return who wrote a record, and what it refers to at any depth."""
        if reference in met or reference not in self.authors:
            return set()
        met.add(reference)
        found = {self.authors[reference]}
        for other in self.authors:
            if f'"{other}"'.encode() in orjson.dumps(self.bodies[reference]):
                found |= self._authors_of(other, met)
        return found

    def _look(self) -> tuple[Sight, dict[str, list[bytes]]]:
        """Let everybody read every record and make the searches."""
        sight: Sight = {}
        answers: dict[str, list[bytes]] = {}
        references = [*self.authors, "Patient/pat-1", "Patient/pat-2"]
        addresses = [*references, *SEARCHES]
        entries = [{"request": {"method": "GET", "url": address}} for address in addresses]
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
        for name, session in self.sessions.items():
            found = must(session.post("/fhir", bundle)).json()["entry"]
            for reference, entry in zip(references, found, strict=False):
                shown = entry["response"]["status"].startswith("200")
                sight[name, reference] = entry["response"].get("etag") if shown else None
                if entry["response"]["status"].startswith("410"):
                    # Who is told that it was deleted sees its earlier versions.
                    sight[name, reference] = "deleted"
                if shown:
                    self._note_sight(name, entry["resource"])
            answers[name] = [orjson.dumps(entry) for entry in found[len(references) :]]
        return sight, answers

    def _note(self, reader: str, reference: str, answer: Any) -> None:
        if answer.status_code == 200:
            self._note_sight(reader, answer.json())

    def _note_sight(self, reader: str, body: dict[str, Any]) -> None:
        reference = f"{body['resourceType']}/{body['id']}"
        about = reference if body["resourceType"] == "Patient" else body.get("subject", {}).get(
            "reference", ""
        )  # fmt: skip
        if about.startswith("Patient/"):
            self.seen.add((reader, about.removeprefix("Patient/"), reference))

    def _pick(self, number: int) -> str:
        references = list(self.authors)
        return references[number % len(references)]

    def teardown(self) -> None:
        """Every sight of a record is on its patient's list."""
        if not hasattr(self, "seen"):
            return
        self.house.gateway.audit_batcher.flush()
        with self.house.gateway.store.read_transaction() as connection:
            rows = connection.execute(
                "SELECT login, patient, entities FROM audit WHERE patient IS NOT NULL"
            ).fetchall()
        listed = {
            (row["login"], row["patient"], entity)
            for row in rows
            for entity in orjson.loads(row["entities"])
        }
        assert self.seen <= listed, sorted(self.seen - listed)[:5]


def _role(person: str | None) -> dict[str, Any]:
    named = {"practitioner": {"reference": f"Practitioner/{person}"}} if person else {}
    return {
        "resourceType": "PractitionerRole",
        "id": "role",
        "organization": {"reference": "Organization/hospital-c"},
        **named,
    }


def _furniture() -> Iterator[dict[str, Any]]:
    """Yield records of pat-1 and pat-2 that hang together by references."""
    medication = {"coding": [{"system": "http://example.org/drugs", "code": "a"}]}
    yield {"resourceType": "Medication", "id": "drug", "code": medication}
    yield encounter("stay")
    yield {**encounter("ward"), "partOf": {"reference": "Encounter/stay"}}
    yield condition("on-ward", "ward")
    yield {**observation("psychiatric", "laboratory"), "meta": {"security": [PSY]}}
    yield {
        "resourceType": "MedicationRequest",
        "id": "prescription",
        "status": "active",
        "intent": "order",
        "medicationReference": {"reference": "Medication/drug"},
        "subject": {"reference": "Patient/pat-1"},
        "authoredOn": "2026-01-06",
    }
    yield observation("of-two", "vital-signs", patient="pat-2")


def _without_id(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "id"}


def _recipient(reference: str) -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"
    role = {"coding": [{"system": system, "code": "IRCP"}]}
    return {"role": role, "reference": {"reference": reference}}


def _person(login: str) -> dict[str, Any]:
    actor = _recipient("")
    sid = EHR.replace("/CodeSystem", "/sid/account")
    return {**actor, "reference": {"identifier": {"system": sid, "value": login}}}


def _instant(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def test_who_loses_sight_of_a_deleted_record_gets_another_history(move_in: MoveIn) -> None:
    """A run of the machine: accounts that are merged close a record that was deleted."""

    class Machine(SightMachine):
        open_house = staticmethod(lambda: move_in("furnished"))

    machine = Machine()
    machine.furnish()
    deleted = [*machine.authors].index("Observation/psychiatric")
    machine.restrict("pat-2", SELECTORS[0], None, sealed=False)
    machine.withdraw(deleted, "deleted")
    assert machine.sight["doctor.b", "Observation/psychiatric"] == "deleted"

    machine.merge(on=True)

    assert machine.sight["doctor.b", "Observation/psychiatric"] is None
    machine.teardown()


def _run(move_in: MoveIn, examples: int, steps: int) -> None:
    numbers = iter(range(10_000))

    class Machine(SightMachine):
        open_house = staticmethod(lambda: move_in("furnished", f"run-{next(numbers)}"))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_sight_is_gained_by_those_who_may_give_it(move_in: MoveIn, database: str) -> None:
    # Few and short, since everybody reads everything after each act; the long runs are marked slow.
    _run(move_in, *{"sqlite": (8, 14), "postgresql": (2, 10)}[database])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_sight_is_gained_by_those_who_may_give_it_in_long_runs(
    move_in: MoveIn, database: str
) -> None:
    _run(move_in, *{"sqlite": (150, 50), "postgresql": (20, 40)}[database])
