"""A store made by 5830f38 is upgraded: every record, decision, account and proof is as it was."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ehr_fhir.index.rows import extract_rows
from ehr_fhir.json_text import parse
from ehr_fhir.resource_links import list_references
from ehr_gateway.audit_log.export_folder import LogFolder
from ehr_gateway.audit_log.verify import VerifyTask, verify_log
from ehr_gateway.schema.resources import INDEX_COLUMNS
from ehr_gateway.store.index_rows import group_by_table
from ehr_gateway.store.inheritance import unindexed_references
from ehr_gateway.store.version_rows import FACT_COLUMNS
from ehr_privacy.audit import (
    commitment,
    leaf_hash,
    open_note,
    public_key,
    verify_consistency,
    verify_inclusion,
)
from ehr_privacy.consent import record_facts, rule_rows
from tests.lib.authenticator import Passkey
from tests.lib.gateway import BASE, House, Session, must
from tests.lib.old_store import OldStore
from tests.lib.visitor import Visitor, at_address, code_of

# What the upgrade may work out anew, or what is about the upgrade itself.
RECOMPUTED = {
    "setting", "schema_revision", "idx_date", "idx_reference", "idx_string", "idx_token",
    "consent_minor",
}  # fmt: skip
# 23:30 at +08:00 on 30 June 1950 was half past midnight of 1 July in Hong Kong's summer time, which
# 5830f38 did not know of: that record is of the day now, and half an hour after its beginning.
DAY, LATE = "Observation/old-1", "Observation/old-instant"
FOUND_BY_DAY = "Observation?date=1950-07-01"
SORTED_BY_DATE = "Observation?patient=pat-1&_sort=date"


@pytest.fixture
def upgraded(old_store: OldStore) -> Iterator[House]:
    """Open the old store after its upgrade."""
    old_store.upgrade()
    house = old_store.open()
    yield house
    house.gateway.store.close()


def session(house: House, name: str) -> Session:
    """Return a session of a requester as the maker of the store named it."""
    system = name.removeprefix("system-")
    return house.login(name) if system == name else house.system(system)


def by_local_time(address: str, found: list[str]) -> list[str]:
    """Return what 5830f38 found as it is found by the zone's history."""
    if address == FOUND_BY_DAY and DAY in found:
        return [*found, LATE]
    if address == SORTED_BY_DATE and DAY in found:
        swapped = {DAY: LATE, LATE: DAY}
        return [swapped.get(one, one) for one in found]
    return found


def test_accounts_say_where_people_belong(old_store: OldStore) -> None:
    accounts = old_store.tables()["account"]
    old_store.upgrade()

    rows = [row for row in old_store.tables()["consent_membership"] if "account/" in row["consent"]]
    said = {(row["practitioner"], row["organization"]) for row in rows}
    of_staff = [row for row in accounts if row["organization"]]
    assert said == {(row["person"] or row["login"], row["organization"]) for row in of_staff}
    assert said


def test_every_row_is_as_it_was(old_store: OldStore) -> None:
    before = old_store.tables()
    old_store.upgrade()
    after = old_store.tables()

    assert len(before["resource"]) > 50
    for rows in (*before["resource"], *after["resource"]):
        # Recomputed; the one episode became a list of them.
        for name in ("clinical_date", "episode", "episodes"):
            rows.pop(name, None)
    for name in before.keys() - RECOMPUTED:
        # Columns that a later revision added are not looked at.
        kept = [{column: row[column] for column in before[name][0]} for row in after[name]]
        assert sorted(kept, key=str) == sorted(before[name], key=str), name


def test_what_is_worked_out_is_what_this_version_works_out(old_store: OldStore) -> None:
    old_store.execute("UPDATE idx_date SET low = low + 3600000 WHERE pk % 2 = 0")
    old_store.execute("DELETE FROM idx_string WHERE pk % 3 = 0")
    old_store.execute("UPDATE resource SET clinical_date = 0, domain = 'diagnosis'")
    old_store.execute("DELETE FROM consent_restriction")
    restricted = old_store.tables()["consent_exception"]
    old_store.upgrade()

    house = old_store.open()
    ids = house.gateway.store.parameter_ids
    house.gateway.store.close()
    tables = old_store.tables()
    for row in tables["resource"]:
        if row["deleted"]:
            continue
        record = record_facts(parse(row["body"]), row["author"])
        assert record.column_values == tuple(row[name] for name in FACT_COLUMNS)
        if not row["current"]:
            continue
        rows = extract_rows(parse(row["body"]))
        references = [name for _, name in list_references(parse(row["body"]))]
        rows += unindexed_references(row["type"], references, rows)
        wanted = group_by_table(ids, row["type"], rows)
        for kind, columns in INDEX_COLUMNS.items():
            has = {
                tuple(one[name] for name in ("param", *columns))
                for one in tables[f"idx_{kind}"]
                # Those above are of the parameter that was added.
                if one["pk"] == row["pk"] and one["param"] < 1_000_000
            }
            assert has == set(wanted.get(kind, ())), (row["type"], row["id"], kind)
        for rule in rule_rows(parse(row["body"])):
            assert dict(rule.values) in tables[rule.table]
    assert tables["consent_exception"] == restricted


def test_records_inherit_what_the_old_version_did_not_know_of(old_store: OldStore) -> None:
    """An Encounter is labelled, and part of another that comes after those that name it."""
    tables = old_store.tables()
    current = [row for row in tables["resource"] if row["current"] and not row["deleted"]]
    bodies = {(row["type"], row["id"]): (row["pk"], json.loads(row["body"])) for row in current}
    naming = {
        key: pk
        for key, (pk, body) in bodies.items()
        if body.get("encounter", {}).get("reference") == "Encounter/enc-1"
    }
    # Two other records, of the newest, play the whole and its part.
    pk, stay = bodies["Encounter", "enc-1"]
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "SDV"}
    body = {**stay, "meta": {**stay["meta"], "security": [label]}}
    body["partOf"] = {"reference": "Encounter/whole"}
    old_store.execute("UPDATE resource SET body = ? WHERE pk = ?", json.dumps(body).encode(), pk)
    last_pk = max(pk for pk, _ in bodies.values())
    last = next(key for key, (pk, _) in bodies.items() if pk == last_pk)
    whole = {**stay, "id": "whole", "partOf": {"reference": "Encounter/wider"}}
    old_store.execute(
        "UPDATE resource SET type = 'Encounter', id = 'whole', body = ? WHERE pk = ?",
        json.dumps(whole).encode(),
        last_pk,
    )
    naming.pop(last, None)
    assert len(naming) > 1

    old_store.upgrade()

    tables = old_store.tables()
    rows = {row["pk"]: row for row in tables["resource"]}
    labels = {(row["pk"], row["label"], row["added"]) for row in tables["record_label"]}
    held = {(row["type"], row["id"], row["value"], row["source"]) for row in tables["held_fact"]}
    for key, pk in naming.items():
        assert rows[pk]["episodes"] == "|enc-1|whole|wider|", key
        assert rows[pk]["added_episodes"] == "|whole|wider|", key
        assert (pk, "SDV", 1) in labels, key
        assert (*key, "SDV", "Encounter/enc-1") in held, key
        assert (*key, "wider", "Encounter/whole") in held, key


def test_everybody_may_see_what_they_might(old_store: OldStore, upgraded: House) -> None:
    for name, decisions in old_store.expected["decisions"].items():
        asking = session(upgraded, name)
        answers = {address: status_then(asking.get(address)) for address in decisions}
        assert answers == _by_present_scopes(name, decisions), name


def _by_present_scopes(name: str, decisions: dict[str, int]) -> dict[str, int]:
    """Return what 5830f38 decided, but that auditors read the register of organisations by now."""
    if name != "auditor":
        return decisions
    return {
        address: 200 if address.startswith("Organization/") else status
        for address, status in decisions.items()
    }


def test_everybody_finds_what_they_found(old_store: OldStore, upgraded: House) -> None:
    for name, searches in old_store.expected["searches"].items():
        asking = session(upgraded, name)
        for address, expected in searches.items():
            found = [] if lacks_scope(asking.get(address)) else asking.ids(address)
            assert found == by_local_time(address, expected), (name, address)


def lacks_scope(answer: Any) -> bool:
    """Say whether a token's scopes do not cover a request, which was "nothing" when it was made."""
    return "insufficient_scope" in answer.headers.get("WWW-Authenticate", "")


def status_then(answer: Any) -> int:
    """Return the status of an answer, as the version that made the store gave it."""
    return 404 if lacks_scope(answer) else int(answer.status_code)


def test_every_way_to_log_in_works(old_store: OldStore, upgraded: House) -> None:
    secrets = old_store.expected["secrets"]
    upgraded.clock.forward(seconds=90)

    visitor = Visitor(upgraded)
    visitor.log_in("doctor.a", secrets["password"])
    for second in (visitor.totp(secrets["totp"]), secrets["recovery"][3]):
        visitor = Visitor(upgraded)
        visitor.ask()
        visitor.password("otp", secrets["password"])
        assert visitor.exchange(code_of(visitor.send("/oauth/login/code", code=second))).json()
    visitor = Visitor(upgraded)
    visitor.ask()
    assert visitor.exchange(code_of(visitor.eid(secrets["hkid"], secrets["pin"]))).json()

    kept = secrets["passkey"]
    key = load_pem_private_key(kept["key"].encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    identity = base64.b64decode(kept["id"])
    passkey = Passkey(kept["party"], kept["origin"], kept["handle"], kept["count"], identity, key)
    visitor = Visitor(upgraded, app=at_address(upgraded, kept["origin"]))
    visitor.ask(prompt="login")
    credential = passkey.shown(json.loads(visitor.attribute("data-options")))
    answer = visitor.send("/oauth/login/passkey", credential=credential)
    assert visitor.exchange(code_of(answer)).json()["ehr"]["person"] == "key"


def test_tokens_go_on_and_what_was_ended_stays_ended(old_store: OldStore, upgraded: House) -> None:
    living = Session(upgraded.client, old_store.expected["living_token"])
    ended = Session(upgraded.client, old_store.expected["ended_token"])
    form = {
        "grant_type": "refresh_token",
        "refresh_token": old_store.expected["secrets"]["refresh"],
        "client_id": "app",
    }

    assert living.get("Observation/lab-1").status_code == 200
    assert ended.get("Observation/lab-1").status_code == 401
    assert upgraded.client.post("/oauth/token", data=form).status_code == 200
    assert upgraded.client.post("/oauth/token", data=form).status_code == 400


def test_the_audit_log_is_what_was_signed_for_and_grows(
    old_store: OldStore, upgraded: House
) -> None:
    log, folder = upgraded.app.state.audit_log, LogFolder(upgraded.settings.audit_folder)
    key = folder.read_key()
    assert key is not None
    signed = open_note(old_store.expected["newest"].encode(), *key)
    # One event was on its way when the old version ended.
    log.flush_and_sign()

    witness = old_store.expected["checkpoint"].encode()
    report = verify_log(VerifyTask(old_store.place, folder.path, *key, witness, processes=1))

    assert report.findings == []
    assert report.checkpoints >= 3
    assert report.events > signed.size

    auditor = upgraded.login("auditor")
    told = parts(auditor.get(f"AuditEvent/$consistency-proof?first={signed.size}"))
    grown = open_note(told["checkpoint"][0].encode(), *public_key(told["key"][0]))
    assert verify_consistency(
        signed.size, grown.size, signed.root, grown.root, told.get("proof", [])
    )


def test_an_event_of_before_is_proved_against_a_checkpoint_of_after(upgraded: House) -> None:
    upgraded.app.state.audit_log.flush_and_sign()
    patient = upgraded.login("p.pat-1")
    found = must(patient.get("AuditEvent?_count=1&agent=doctor.b")).json()["entry"][0]["resource"]

    told = parts(patient.get(f"AuditEvent/{found['id']}/$inclusion-proof"))

    signed = open_note(told["checkpoint"][0].encode(), *public_key(told["key"][0]))
    leaf = leaf_hash(commitment(told["salt"][0], told["content"][0]))
    assert verify_inclusion(leaf, told["index"][0], signed.size, told.get("proof", []), signed.root)


def test_work_goes_on(upgraded: House) -> None:
    hospital = upgraded.system("hospital-a")
    body = must(hospital.get("Observation/lab-1")).json()

    answer = must(hospital.put({**body, "status": "final"}))

    assert answer.json()["meta"]["versionId"] == "5"
    assert upgraded.client.get(f"{BASE}/readyz").status_code == 200


def parts(answer: Any) -> dict[str, list[Any]]:
    """Return the parameters of an answer by name."""
    found: dict[str, list[Any]] = {}
    for one in must(answer).json()["parameter"]:
        (value,) = (v for k, v in one.items() if k.startswith("value"))
        if "valueBase64Binary" in one:
            value = base64.b64decode(value)
        found.setdefault(one["name"], []).append(value)
    return found
