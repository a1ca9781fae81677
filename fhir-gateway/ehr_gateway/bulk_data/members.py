"""The patients that an export is of: those asked for, or the members of a Group.

No list of them is kept. A Group's are read in the version that the kick-off saw, each time as far
as the requester may read the Group then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ehr_fhir.errors import Invalid, NotFound
from ehr_fhir.json_text import parse
from ehr_fhir.references import local_target
from ehr_gateway.access import Access
from ehr_gateway.bulk_data.request import ExportRequest
from ehr_gateway.bulk_data.selection import encode_texts, text_list
from ehr_gateway.database import Connection
from ehr_gateway.store.visible import is_current_visible, read_on

__all__ = ["choose_members", "list_members", "require_group"]

_NO_GROUP = "There is no Group with this id."


def choose_members(
    connection: Connection, access: Access, request: ExportRequest, group: str | None
) -> ExportRequest:
    """Return a request with the Group's version; refuse patients that are not there or in it."""
    if group is not None:
        version = read_on(connection, access, "Group", group)
        request = replace(request, group=(group, version.version))
    if request.patients is None:
        return request
    if request.group is None:
        known = _find_visible_patients(connection, access, request.patients)
    else:
        known = frozenset(_members_of_group(connection, access, *request.group))
    if not known.issuperset(request.patients):
        # The same whether they are hidden, absent, or no members.
        raise Invalid(
            "`patient` names somebody who is not there to be exported.", expression="patient"
        )
    return request


def list_members(connection: Connection, access: Access, request: ExportRequest) -> Sequence[str]:
    """Return the ids of the patients that an export is of, each once, in a lasting order."""
    if request.patients is not None:
        require_group(connection, access, request)
        return request.patients
    assert request.group is not None  # noqa: S101 - asked of exports with members
    require_group(connection, access, request)
    return tuple(dict.fromkeys(_members_of_group(connection, access, *request.group)))


def require_group(connection: Connection, access: Access, request: ExportRequest) -> None:
    """Raise NotFound where an export is of a Group that is closed to the requester by now."""
    if request.group is not None:
        access.require_scope("read", "Group")
        if not is_current_visible(connection, access, "Group", request.group[0]):
            raise NotFound(_NO_GROUP)


def _find_visible_patients(
    connection: Connection, access: Access, patients: Sequence[str]
) -> frozenset[str]:
    visible = access.search_predicate
    rows = connection.execute(
        "SELECT r.id FROM resource r WHERE r.type = 'Patient' AND r.current = 1"  # noqa: S608
        f" AND r.deleted = 0 AND r.id {text_list(connection.dialect, 'ids')} AND ({visible.sql})",
        {"ids": encode_texts(connection.dialect, patients), **visible.params},
    )
    return frozenset(row[0] for row in rows)


def _members_of_group(
    connection: Connection, access: Access, group: str, version: int
) -> list[str]:
    """Return the active members that are patients; NotFound where the version is closed by now."""
    visible = access.read_predicate
    row = connection.execute(
        "SELECT r.body FROM resource r WHERE r.type = 'Group' AND r.id = :id"  # noqa: S608
        f" AND r.version = :version AND r.deleted = 0 AND ({visible.sql})",
        {"id": group, "version": version, **visible.params},
    ).fetchone()
    if row is None:
        raise NotFound(_NO_GROUP)
    members: Sequence[Mapping[str, Any]] = parse(bytes(row[0])).get("member", ())
    found = []
    for member in members:
        target = local_target(str(member.get("entity", {}).get("reference", "")))
        if target is not None and target.type == "Patient" and not member.get("inactive", False):
            found.append(target.id)
    return found
