"""Who may do what with a record that is there: each cell of the documented table, over HTTP."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account, subject_of_account
from ehr_gateway.tokens.access_tokens import issue_access_token
from ehr_privacy.consent.change_rights import ACTORS, load_rights
from tests.lib.gateway import House, Session, consent, must, observation, patient

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
MARKS = "<!-- rights -->", "<!-- /rights -->"
HKID, OLD_HKID = JURISDICTION.person_identifier.system, "https://ehr-commons.hk/hkid"


def documented() -> dict[str, dict[str, str]]:
    """Return act -> actor -> right, as the page has them."""
    page = (ROOT / "docs/explanation/consent.md").read_text("utf-8")
    table = page.partition(MARKS[0])[2].partition(MARKS[1])[0].strip().splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {
        row[0].split("`")[1]: dict(zip(head[1:], row[1:], strict=True))
        for row in rows
    }  # fmt: skip


RIGHTS = documented()


def test_the_page_has_the_table_that_decides() -> None:
    assert load_rights() == RIGHTS


# Who acts as each of the table's actors.
MEMBERS = {
    "author": ("doctor.a", "system hospital-a"),
    "other": ("doctor.b", "system hospital-b"),
    "patient": ("p.pat-1",),
    "carer": ("carer",),
    "steward": ("steward",),
    "administrator": ("admin",),
    "platform": ("system ehr-commons",),
    # They write nothing, and are in no column.
    "nobody": ("researcher", "auditor"),
}


def session_of(house: House, member: str) -> Session:
    """Return a session with scopes for everything, so that the rights alone decide."""
    kind, _, name = member.partition(" ")
    if kind == "system":
        return house.system(name)
    account = accounts.find_account(house.gateway.store, member)
    assert account is not None
    level = "patient" if account.role == "patient" else "user"
    gateway = house.gateway
    token, *_ = issue_access_token(
        gateway.keys,
        gateway.settings,
        subject_of_account(account, "test"),
        f"{level}/*.cruds",
        gateway.clock(),
    )
    return Session(house.client, token)


def medication(name: str) -> Json:
    return {"resourceType": "Medication", "id": name, "code": {"text": "warfarin 5 mg"}}


HIV = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}


def record(**more: Any) -> Json:
    return {**observation("rec-1", "laboratory"), **more}


def person(**more: Any) -> Json:
    return {**patient("pat-1", "ZA1234560"), **more}


def holding(drug: Json) -> Json:
    """Return elements by which a record contains a Medication."""
    return {
        "contained": [{"resourceType": "Medication", "id": "m", **drug}],
        "extension": [{"url": "http://example.org/x", "valueReference": {"reference": "#m"}}],
    }


def without(resource: Json, *names: str) -> Json:
    return {key: value for key, value in resource.items() if key not in names}


# Act -> what is there, as its author wrote it, and what somebody makes of it; None is a deletion.
# A name of its own where the table's act has several forms.
CHANGES: dict[str, tuple[Json, Json | None]] = {
    "correct": (record(), record(valueQuantity={"value": 14.5, "unit": "g/dL"})),
    "loosen": (record(meta={"security": [HIV]}), record()),
    "empty": (record(), without(record(), "valueQuantity")),
    "empty by a reason": (
        record(),
        {**without(record(), "valueQuantity"), "dataAbsentReason": {"text": "unknown"}},
    ),
    "empty what it contains": (
        record(**holding({"code": {"text": "reagent"}})), record(**holding({"status": "active"}))
    ),
    "mark-wrong": (record(), record(status="entered-in-error")),
    "mark-wrong taken back": (record(status="entered-in-error"), record()),
    "delete": (record(), None),
    "restore": (record(), record()),
    "move": (record(), record(subject={"reference": "Patient/pat-2"})),
    "move to two": (record(), record(performer=[{"reference": "Patient/pat-2"}])),
    "move to nobody": (record(), without(record(), "subject")),
    "directory-change": (medication("med-1"), {**medication("med-1"), "code": {"text": "C"}}),
    "directory-delete": (medication("med-1"), None),
    "directory-delete taken back": (medication("med-1"), medication("med-1")),
    "person-details": (person(), person(telecom=[{"system": "phone", "value": "2345 6789"}])),
    "person-identity": (person(), person(birthDate="1981-02-03")),
    "person-identity by name": (person(), person(name=[{"family": "Wong"}])),
    "person-identity by sex": (person(), without(person(), "gender")),
    "person-identity by number": (
        person(),
        person(identifier=[{"system": HKID, "value": "ZB1234563"}]),
    ),
    "person-identity by passport": (
        person(),
        person(identifier=[
            {"system": OLD_HKID, "value": "ZA1234560"},
            {"type": {"coding": [{"code": "PPN"}]}, "value": "K1"},
        ]),
    ),
    "person-link": (
        person(),
        person(link=[{"type": "replaced-by", "other": {"reference": "Patient/pat-2"}}]),
    ),
    "person-inactive": (person(), person(active=False)),
    "person-inactive again": (person(active=False), person(active=True)),
    "person-delete": (person(), None),
    "person-delete taken back": (person(), person()),
}  # fmt: skip
FORMS = {form: form.partition(" ")[0] for form in CHANGES}


def furnish(house: House, form: str) -> tuple[Json | None, str]:
    """Put in what the change needs; return what becomes of it, and its address."""
    before, after = copy.deepcopy(CHANGES[form])
    accounts.add_account(house.gateway.store, Account("carer", "carer", "Carer"))
    house.share()
    platform = house.system("ehr-commons")
    power = {"type": "permit", "actor": [{
        "role": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
                             "code": "IRCP"}]},
        "reference": {"identifier": {
            "system": "https://ehr-commons.hk/fhir/sid/account", "value": "carer"}},
    }], "action": [{"coding": [{"system": "https://ehr-commons.hk/fhir/CodeSystem/carer-power",
                                "code": code} for code in ("view", "manage")]}]}  # fmt: skip
    platform.store(consent("power", "carer", provision=power))
    hospital = house.system("hospital-a")
    if before["resourceType"] == "Patient":
        # The table is about the hospital as the author of what a person says of themselves.
        before["id"] = "pat-9"
        must(hospital.put(before))
        platform.store(consent("joining-9", "joining", patient="pat-9"))
        sharing = consent("sharing-9", "sharing", patient="pat-9", provision={
            "type": "permit", "actor": [{
                "role": power["actor"][0]["role"],  # type: ignore[index]
                "reference": {"reference": "Organization/hospital-b"},
            }]})  # fmt: skip
        platform.store(sharing)
        carer = consent("power-9", "carer", patient="pat-9", provision=power)
        platform.store(carer)
        own = Account("p.pat-9", "patient", "Patient Nine", patient="pat-9")
        accounts.add_account(house.gateway.store, own)
        after = None if after is None else {**after, "id": "pat-9"}
    else:
        must(hospital.put(before))
    address = f"{before['resourceType']}/{before['id']}"
    if FORMS[form] == "restore" or form.endswith("delete taken back"):
        must(platform.delete(address))
    return after, address


def change(session: Session, address: str, after: Json | None, way: str = "put") -> Any:
    """Make the change in one of the ways that there are."""
    kind, _, identity = address.partition("/")
    criteria = f"{kind}?_id={identity}"
    if way in ("put", "criteria"):
        at = address if way == "put" else criteria
        if after is None:
            return session.delete(at)
        headers = {"Content-Type": "application/fhir+json"}
        return session.request("PUT", at, json=after, headers=headers)
    if way == "json-patch":
        return patch(session, address, after)
    if way == "fhirpath-patch":
        return fhirpath_patch(session, address, after)
    method = "DELETE" if after is None else "PUT"
    request = {"method": method, "url": address}
    entry = {"request": request, **({"resource": after} if after else {})}
    return session.post("/fhir", {"resourceType": "Bundle", "type": way, "entry": [entry]})


def patch(session: Session, address: str, after: Json | None) -> Any:
    assert after is not None
    before = must(session.get(address)).json()
    steps: list[Json] = [
        {"op": "remove", "path": f"/{key}"}
        for key in before if key not in after and key != "meta"
    ]  # fmt: skip
    steps += [
        {"op": "add", "path": f"/{key}", "value": value}
        for key, value in after.items()
        if key not in ("resourceType", "id", "meta") and before.get(key) != value
    ]
    kind = {"Content-Type": "application/json-patch+json"}
    return session.request("PATCH", address, content=json.dumps(steps).encode(), headers=kind)


def fhirpath_patch(session: Session, address: str, after: Json | None) -> Any:
    assert after is not None
    kind = after["resourceType"]
    before = must(session.get(address)).json()
    operations = []
    for key in before:
        if key not in after and key not in ("meta", "text"):
            path = f"{kind}.{key}" if key != "valueQuantity" else f"{kind}.value"
            operations.append([
                {"name": "type", "valueCode": "delete"}, {"name": "path", "valueString": path},
            ])  # fmt: skip
    for key, value in after.items():
        if key == "status" and before.get(key) != value:
            operations.append([
                {"name": "type", "valueCode": "replace"},
                {"name": "path", "valueString": f"{kind}.{key}"},
                {"name": "value", "valueCode": value},
            ])  # fmt: skip
        if key == "subject" and before.get(key) != value:
            operations.append([
                {"name": "type", "valueCode": "replace"},
                {"name": "path", "valueString": f"{kind}.{key}"},
                {"name": "value", "valueReference": value},
            ])  # fmt: skip
    body = {
        "resourceType": "Parameters",
        "parameter": [{"name": "operation", "part": parts} for parts in operations],
    }
    headers = {"Content-Type": "application/fhir+json"}
    return session.request("PATCH", address, json=body, headers=headers)


def status_of(answer: Any) -> int:
    """Return the status of a request, or of the one entry of its batch."""
    if answer.status_code == 200 and answer.json().get("type", "").endswith("-response"):
        return int(answer.json()["entry"][0]["response"]["status"][:3])
    return int(answer.status_code)


def state(house: House, address: str) -> tuple[int, Any]:
    """Return what is there now, as the platform's own tables have it."""
    kind, _, identity = address.partition("/")
    with house.gateway.store.read_transaction() as connection:
        row = connection.execute(
            "SELECT version, body FROM resource WHERE type = ? AND id = ? AND current = 1",
            (kind, identity),
        ).fetchone()
    return int(row[0]), bytes(row[1])


CELLS = [
    (form, actor, member)
    for form in CHANGES
    for actor in (*ACTORS, "nobody")
    for member in MEMBERS[actor]
]
DONE = ("yes", "kept", "proposal")


def right_of(form: str, actor: str) -> str:
    return RIGHTS[FORMS[form]].get(actor, "no")


def change_as(house: House, member: str, address: str, after: Json | None) -> Any:
    """Make the change as a member; a patient changes their own record."""
    member = "p.pat-9" if member == "p.pat-1" and "Patient" in address else member
    return change(session_of(house, member), address, after)


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("form", "actor", "member"), [cell for cell in CELLS if right_of(*cell[:2]) in DONE]
)
def test_a_cell_of_the_table(furnished: House, form: str, actor: str, member: str) -> None:
    after, address = furnish(furnished, form)
    there = state(furnished, address)

    answer = change_as(furnished, member, address, after)

    if right_of(form, actor) == "proposal":
        assert state(furnished, address) == there
        assert answer.status_code == 202
        assert "proposal" in answer.json()["issue"][0]["diagnostics"]
    else:
        assert answer.status_code in (200, 201, 204), answer.text
        assert state(furnished, address)[0] == there[0] + 1


@pytest.mark.sampled
@pytest.mark.parametrize("form", CHANGES)
def test_the_refused_cells_of_a_row_change_nothing(furnished: House, form: str) -> None:
    """One house serves all of a row: each leaves the record as the next has to find it."""
    after, address = furnish(furnished, form)
    there = state(furnished, address)
    refused = [
        (actor, member)
        for cell_form, actor, member in CELLS
        if cell_form == form and right_of(form, actor) not in DONE
    ]
    assert refused

    for actor, member in refused:
        answer = change_as(furnished, member, address, after)

        assert answer.status_code in (403, 404), (actor, member, answer.text)
        assert state(furnished, address) == there, (actor, member)


WAYS = ("put", "criteria", "json-patch", "fhirpath-patch", "transaction", "batch")
BY_WAY = [
    (form, way)
    for form in ("correct", "empty", "mark-wrong", "delete", "move", "directory-change",
                 "directory-delete", "person-identity", "person-link", "person-inactive",
                 "person-delete")
    for way in WAYS
    if not (CHANGES[form][1] is None and way.endswith("patch"))
    and not (way == "fhirpath-patch" and form not in ("empty", "mark-wrong", "move"))
]  # fmt: skip


@pytest.mark.sampled
@pytest.mark.parametrize(("form", "way"), BY_WAY)
def test_no_way_of_writing_does_more_than_another(furnished: House, form: str, way: str) -> None:
    after, address = furnish(furnished, form)
    right = RIGHTS[FORMS[form]]["other"]
    there = state(furnished, address)

    refused = change(session_of(furnished, "system hospital-b"), address, after, way)

    expected = {"no": (403,), "proposal": (202,), "yes": (200,)}[right]
    assert status_of(refused) in expected, refused.text
    assert (state(furnished, address) == there) == (right != "yes")
    if RIGHTS[FORMS[form]]["author"] == "yes":
        answer = change(session_of(furnished, "system hospital-a"), address, after, way)
        assert status_of(answer) in (200, 204), answer.text


# What the rules are decided by; roles.toml names who writes it.
REGISTER: dict[str, Json] = {
    "Organization": {"resourceType": "Organization", "id": "reg-1", "name": "Clinic"},
    "PractitionerRole": {"resourceType": "PractitionerRole", "id": "reg-1", "active": True},
}
REGISTRARS = ("steward", "administrator", "platform")


@pytest.mark.sampled
@pytest.mark.parametrize("kind", REGISTER)
@pytest.mark.parametrize("actor", [*ACTORS, "nobody"])
def test_the_register_is_written_by_who_keeps_it(furnished: House, kind: str, actor: str) -> None:
    entry = REGISTER[kind]
    address = f"{kind}/reg-1"
    furnish(furnished, "correct")
    for member in MEMBERS[actor]:
        session = session_of(furnished, member)
        statuses = [change(session, address, entry).status_code]
        if actor not in REGISTRARS:
            must(furnished.system("ehr-commons").put(entry))
        statuses += [
            change(session, address, {**entry, "active": False}).status_code,
            change(session, address, None).status_code,
        ]

        expected = [201, 200, 204] if actor in REGISTRARS else [403, 403, 403]
        assert statuses == expected, (member, statuses)


def test_an_entry_of_the_administrator_is_no_hospitals(furnished: House) -> None:
    administrator = session_of(furnished, "admin")
    must(change(administrator, "Medication/med-2", medication("med-2")))
    changed = {**medication("med-2"), "code": {"text": "vitamin C"}}

    for member in ("doctor.a", "system hospital-a", "system hospital-b"):
        assert change(session_of(furnished, member), "Medication/med-2", changed).status_code == 403
    must(change(administrator, "Medication/med-2", changed))


HIDDEN_FORMS = [form for form, (before, _) in CHANGES.items() if before["id"] == "rec-1"]


@pytest.mark.parametrize("form", HIDDEN_FORMS)
def test_a_hidden_record_is_changed_by_nobody_and_answers_as_an_absent_one(
    furnished: House, form: str
) -> None:
    after, address = furnish(furnished, form)
    furnished.share(status="inactive")
    there = state(furnished, address)
    doctor = session_of(furnished, "doctor.b")
    absent = None if after is None else {**after, "id": "absent"}
    json_patch = json.dumps([{"op": "replace", "path": "/status", "value": "entered-in-error"}])
    kind = {"Content-Type": "application/json-patch+json"}

    for way in ("put", "criteria", "transaction", "batch"):
        one = change(doctor, address, after, way)
        other = change(doctor, "Observation/absent", absent, way)
        if form != "delete" and way == "criteria":
            # The update that matches nothing names an id that the doctor may not choose.
            assert one.status_code == other.status_code
            continue
        assert one.status_code == other.status_code, way
        assert one.content.replace(b"rec-1", b"absent") == other.content, way
    one, other = (
        doctor.request("PATCH", at, content=json_patch.encode(), headers=kind)
        for at in (address, "Observation/absent")
    )
    assert (one.status_code, one.content) == (other.status_code, other.content)
    assert state(furnished, address) == there
