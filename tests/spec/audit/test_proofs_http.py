"""Anyone who may read an event can prove that it is in the log, and that the log only grew."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ehr_gateway.audit_log.service import AuditLog
from ehr_privacy.audit import (
    commitment,
    leaf_hash,
    open_note,
    public_key,
    verify_consistency,
    verify_inclusion,
)
from tests.lib.gateway import House, Session, must


def log_of(house: House) -> AuditLog:
    log: AuditLog = house.app.state.audit_log
    return log


def parts(answer: Any) -> Mapping[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for one in must(answer).json()["parameter"]:
        (value,) = (v for k, v in one.items() if k.startswith("value"))
        if "valueBase64Binary" in one:
            value = base64.b64decode(value)
        found.setdefault(one["name"], []).append(value)
    return found


def newest(session: Session, query: str) -> str:
    answer = must(session.get(f"AuditEvent?_count=1&{query}"))
    return str(answer.json()["entry"][0]["resource"]["id"])


def test_a_patient_proves_an_event_of_his_own_from_what_he_is_told(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    patient = furnished.login("p.pat-1")
    event = newest(patient, "agent=doctor.a")
    log_of(furnished).flush_and_sign()

    told = parts(patient.get(f"AuditEvent/{event}/$inclusion-proof"))

    signed = open_note(told["checkpoint"][0].encode(), *public_key(told["key"][0]))
    leaf = leaf_hash(commitment(told["salt"][0], told["content"][0]))
    assert event.encode() in told["content"][0]
    assert leaf == told["leaf"][0]
    assert signed.size == told["size"][0]
    assert verify_inclusion(leaf, told["index"][0], signed.size, told.get("proof", []), signed.root)


def test_an_auditor_proves_that_the_log_only_grew(furnished: House) -> None:
    auditor = furnished.login("auditor")
    log_of(furnished).flush_and_sign()
    first = parts(auditor.get("AuditEvent/$checkpoint"))
    before = open_note(first["checkpoint"][0].encode(), *public_key(first["key"][0]))
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    log_of(furnished).flush_and_sign()

    told = parts(auditor.get(f"AuditEvent/$consistency-proof?first={before.size}"))

    after = open_note(told["checkpoint"][0].encode(), *public_key(told["key"][0]))
    assert after.size > before.size
    assert verify_consistency(
        before.size, after.size, before.root, after.root, told.get("proof", [])
    )


def test_what_is_not_signed_for_yet_says_so(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    auditor = furnished.login("auditor")
    event = newest(auditor, "agent=doctor.a")

    assert auditor.get("AuditEvent/$checkpoint").status_code == 404
    assert auditor.get(f"AuditEvent/{event}/$inclusion-proof").status_code == 404


def test_a_stranger_gets_no_proof(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    event = newest(furnished.login("auditor"), "agent=doctor.a")
    log_of(furnished).flush_and_sign()

    other, doctor = furnished.login("p.pat-2"), furnished.login("doctor.a")

    assert other.get(f"AuditEvent/{event}/$inclusion-proof").status_code == 404
    assert doctor.get(f"AuditEvent/{event}/$inclusion-proof").status_code == 403
    for session in (other, doctor, furnished.login("admin")):
        assert session.get("AuditEvent/$checkpoint").status_code == 403
        assert session.get("AuditEvent/$consistency-proof?first=1").status_code == 403


@pytest.mark.parametrize("query", ["", "?first=0", "?first=x", "?first=9999999", "?second=1"])
def test_a_malformed_question_for_consistency_is_refused(furnished: House, query: str) -> None:
    log_of(furnished).flush_and_sign()

    assert (
        furnished.login("auditor").get(f"AuditEvent/$consistency-proof{query}").status_code == 400
    )


def test_asking_for_a_proof_is_on_record(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    auditor = furnished.login("auditor")
    event = newest(auditor, "agent=doctor.a")
    log_of(furnished).flush_and_sign()
    must(auditor.get(f"AuditEvent/{event}/$inclusion-proof"))

    answer = must(furnished.login("p.pat-1").get("AuditEvent?agent=auditor&subtype=audit-proof"))

    (found,) = [one["resource"] for one in answer.json()["entry"]]
    assert {"reference": f"AuditEvent/{event}"} in [one.get("what") for one in found["entity"]]


def test_no_value_of_a_record_is_in_the_exported_log(furnished: House) -> None:
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    log_of(furnished).flush_and_sign()
    folder: Path = log_of(furnished).folder.path

    content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())

    for value in (b"lab-1", b"pat-1", b"doctor.a", b"Chan"):
        assert value not in content
