"""Requests to erase a patient: asked for by one person, approved or refused by another.

Both are who their tokens say they are. Approved, the rows are deleted in the same transaction; what
a crash leaves to be done is seen in the request's state and done at the next start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ehr_fhir.errors import Conflict, NotFound, Unprocessable
from ehr_fhir.json_text import parse
from ehr_gateway.access_requests.request_rows import (
    AccessRequest,
    find_request,
    insert_request,
    select_requests,
)
from ehr_gateway.access_requests.role_checks import (
    NO_PATIENT,
    require_other_person,
    require_role,
)
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.database import Connection
from ehr_gateway.erasure.erased_patients import open_erasure_key
from ehr_gateway.erasure.sought_texts import erasures_folder, save_sought_texts
from ehr_gateway.erasure.store_rows import collect_content, delete_patient_rows, find_versions
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.ids import new_id
from ehr_gateway.journal.redo_actions import append_redo_actions, build_purge_redo
from ehr_gateway.store.merging import linked_accounts
from ehr_gateway.store.store import Store
from ehr_privacy.erasure import ErasedVersions, hash_patient, list_strings

__all__ = [
    "ERASURE_KIND",
    "LINKED_CHOICES",
    "PENDING_SETTING",
    "ErasureExtent",
    "decide_erasure",
    "is_pending",
    "list_erasures",
    "read_certificate",
    "request_erasure",
]

ERASURE_KIND = "erasure"
# The setting that says that files are to be written anew: found by its key, while a request is not.
PENDING_SETTING = "erasure-pending"
# What becomes of other accounts that are the same person's.
LINKED_CHOICES = ("include", "leave")
_ASKING_ROLES = frozenset({"administrator", "steward"})
# What an Encounter's status says of one that is planned or goes on (FHIR R4 encounter-status).
_OPEN = frozenset({"planned", "arrived", "triaged", "in-progress", "onleave"})
# How long a request waits for its approval. Chosen: a month.
_EXPIRES_MS = 30 * 86_400_000


@dataclass(frozen=True)
class ErasureExtent:
    """What an erasure would take, as numbers: both people see them before it is approved."""

    accounts: int
    records: int
    shared: int
    # Visits and stays that are not over: the person may be in treatment.
    open_visits: int

    @property
    def parts(self) -> Mapping[str, int]:
        """The numbers by name."""
        return {
            "accounts": self.accounts,
            "records": self.records,
            "shared": self.shared,
            "open-visits": self.open_visits,
        }


def request_erasure(
    context: RequestContext,
    audit_context: AuditContext,
    patient: str,
    *,
    reason: str,
    linked: str | None,
) -> tuple[str, ErasureExtent]:
    """Ask for the erasure of a patient; return the request's id, and what it would take.

    Raises Unprocessable where other accounts are the same person's and `linked` does not say what
    becomes of them, and Conflict where a request waits already.
    """
    require_role(context, _ASKING_ROLES)
    requester, now = context.access.requester, context.access.now_ms
    with context.gateway.store.write_transaction() as connection:
        _require_patient(connection, patient)
        accounts = linked_accounts(connection, patient)
        if len(accounts) > 1 and linked is None:
            raise Unprocessable(
                f"The person has {len(accounts)} accounts that are linked: say with `linked` "
                "whether all are erased (include) or this one alone (leave).",
                expression="linked",
            )
        chosen = accounts if linked == "include" else [patient]
        _check_reason(reason, chosen)
        if select_requests(
            connection,
            "kind = :kind AND state = 'proposed' AND patient = :patient AND expires_ms > :now",
            kind=ERASURE_KIND, patient=patient, now=now,
        ):  # fmt: skip
            raise Conflict("The erasure of this patient is asked for already.")
        extent = _measure(connection, chosen)
        request = AccessRequest(
            id=new_id(),
            kind=ERASURE_KIND,
            patient=patient,
            person=requester.person,
            display=context.caller.subject.display,
            organization=requester.organization,
            profession=None,
            reason=reason,
            details={"linked": linked or "leave", **extent.parts},
            asked_ms=now,
            expires_ms=now + _EXPIRES_MS,
        )
        insert_request(connection, request)
        rows = recorder.build_event_rows(
            audit_context, patient, entities=[f"Patient/{patient}", f"Basic/{request.id}"]
        )
        recorder.record_rows(connection, rows)
    return request.id, extent


def decide_erasure(
    context: RequestContext,
    audit_context: AuditContext,
    erasure: str,
    *,
    approve: bool,
    reason: str,
) -> None:
    """Approve an erasure, which deletes the patient's rows at once, or refuse it.

    Raises Forbidden for the person who asked for it, whichever of their accounts they use, and
    NotFound for a request that is not there or was decided.
    """
    require_role(context, frozenset({"steward"}))
    gateway = context.gateway
    # What reads disclosed is first in files of the data folder: it is to be emptied too.
    gateway.audit_batcher.flush()
    with gateway.store.write_transaction() as connection:
        request = find_request(connection, erasure, ERASURE_KIND)
        now = context.access.now_ms
        if request is None or request.state != "proposed" or request.expires_ms <= now:
            raise NotFound("There is no such request for an erasure.")
        require_other_person(
            connection, context, request.person, "Another person has to approve an erasure."
        )
        if approve:
            _erase(context, connection, audit_context, request, reason)
        else:
            _check_reason(reason, [request.patient])
            rows = recorder.build_event_rows(
                audit_context, request.patient, entities=[f"Basic/{erasure}"], reason="refused"
            )
            recorder.record_rows(connection, rows)
        connection.execute(
            "UPDATE access_request SET state = ?, decided_by = ?, decided_ms = ?, review_note = ?,"
            " reviewer = ? WHERE id = ?",
            (
                "active" if approve else "refused",
                context.access.requester.person,
                now,
                reason,
                context.caller.subject.display,
                erasure,
            ),
        )


def list_erasures(connection: Connection, context: RequestContext) -> Sequence[AccessRequest]:
    """Return requests for erasures, newest first."""
    require_role(context, _ASKING_ROLES | {"auditor"})
    return select_requests(connection, "kind = :kind", kind=ERASURE_KIND)


def is_pending(store: Store) -> bool:
    """Say whether the rows of an erasure are deleted, and the files not written anew."""
    with store.read_transaction(single_statement=True) as connection:
        row = connection.execute("SELECT 1 FROM setting WHERE name = ?", (PENDING_SETTING,))
        return row.fetchone() is not None


def read_certificate(data: Path, erasure: str) -> dict[str, Any] | None:
    """Return the certificate of an erasure; None while there is none."""
    path = erasures_folder(data) / f"{erasure}.json"
    return orjson.loads(path.read_bytes()) if path.exists() else None


def _erase(
    context: RequestContext,
    connection: Connection,
    audit_context: AuditContext,
    request: AccessRequest,
    reason: str,
) -> None:
    gateway = context.gateway
    patients = [request.patient]
    if request.details["linked"] == "include":
        patients = linked_accounts(connection, request.patient)
    _check_reason(reason, patients)
    open_visits = _measure(connection, patients).open_visits
    if open_visits > request.details.get("open-visits", 0):
        raise Conflict(
            "The person came into treatment since the erasure was asked for: refuse it, and ask "
            "again if it is still wanted."
        )
    key = open_erasure_key(gateway.settings.keys)
    hashes = sorted(hash_patient(key, patient) for patient in patients)
    _seal_texts(context, connection, key, request.id, patients)
    query = f"$decide-erasure?erasure={request.id}&asked-by={request.person}"
    content = delete_patient_rows(
        gateway.store, connection, audit_context, patients,
        erasure=request.id, key=key, hashes=hashes, query=query,
    )  # fmt: skip
    details = {
        "linked": request.details["linked"],
        "accounts": len(patients),
        "records": len(content.versions.records),
        "shared": content.versions.shared,
        "versions": content.deleted,
        "references": content.references,
        "logins": content.accounts,
        "audit-events": content.audit_events,
        "hashes": hashes,
    }
    # From here on nothing names the patient.
    connection.execute(
        "UPDATE access_request SET patient = '', details = ? WHERE id = ?",
        (json.dumps(details), request.id),
    )
    connection.execute(
        "INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
        (PENDING_SETTING, b"1"),
    )
    rows = recorder.build_event_rows(
        audit_context, None, entities=[f"Basic/{request.id}"], reason="erased"
    )
    recorder.record_rows(connection, rows)
    append_redo_actions(connection, [build_purge_redo(request.id, hashes, key)])


def _seal_texts(
    context: RequestContext,
    connection: Connection,
    key: bytes,
    erasure: str,
    patients: Sequence[str],
) -> None:
    """Seal the texts that the scan will look for; nothing is deleted before they are on disk."""
    versions = find_versions(connection, patients)
    texts: set[str] = set()
    for body in collect_content(connection, versions):
        texts |= list_strings(parse(body))
    for patient in patients:
        for row in connection.execute(
            "SELECT login, display, person FROM account WHERE patient = ?", (patient,)
        ).fetchall():
            texts |= list_strings([row["login"], row["display"], row["person"] or ""])
    save_sought_texts(
        erasures_folder(context.gateway.settings.data),
        key,
        erasure,
        patients=patients,
        records={f"{kind}/{identity}" for kind, identity in versions.records},
        texts=texts,
    )


def _measure(connection: Connection, patients: Sequence[str]) -> ErasureExtent:
    versions = find_versions(connection, patients)
    return ErasureExtent(
        len(patients),
        len(versions.records),
        versions.shared,
        _count_open_visits(connection, versions),
    )


def _count_open_visits(connection: Connection, versions: ErasedVersions) -> int:
    """Return how many of the encounters are planned or going on, as they are now."""
    encounters = [identity for kind, identity in versions.records if kind == "Encounter"]
    rows = (
        connection.execute(
            "SELECT body FROM resource WHERE type = 'Encounter' AND id = ? AND current = 1",
            (identity,),
        ).fetchone()
        for identity in encounters
    )
    return sum(
        1 for row in rows if row and row["body"] and parse(row["body"]).get("status") in _OPEN
    )


def _require_patient(connection: Connection, patient: str) -> None:
    row = connection.execute(
        "SELECT 1 FROM resource WHERE type = 'Patient' AND id = ?", (patient,)
    ).fetchone()
    if row is None:
        raise NotFound(NO_PATIENT)


def _check_reason(reason: str, patients: Sequence[str]) -> None:
    if any(patient in reason for patient in patients):
        # It is kept, and the patient is erased.
        raise Unprocessable("The reason must not name the patient: it is kept.")
