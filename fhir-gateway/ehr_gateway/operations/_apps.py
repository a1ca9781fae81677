"""Apps as operations tell of them: what each asks for in words, who may use it, who decided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ehr_fhir.dates import format_instant
from ehr_gateway.database import Connection
from ehr_gateway.http.parameters import parameter
from ehr_gateway.oauth.approval_page import describe_scopes
from ehr_gateway.oauth.clients import Client

__all__ = ["LAUNCH_ROLES", "ROLES_DECIDING", "build_app_parts", "build_decision_parts"]

# The roles to which an app can be offered.
LAUNCH_ROLES = ("patient", "carer", "clinician")
ROLES_DECIDING = frozenset({"steward"})


def build_app_parts(client: Client, base_url: str, language: str) -> Iterator[dict[str, Any]]:
    """Yield the parts that tell of an app."""
    yield parameter("client", client.id)
    yield parameter("name", client.name)
    yield {"name": "approval", "valueCode": client.approval}
    if client.launch_uri:
        is_relative = client.launch_uri.startswith("/")
        address = base_url + client.launch_uri if is_relative else client.launch_uri
        yield {"name": "launch-uri", "valueUrl": address}
    for role in client.launch_roles:
        yield {"name": "role", "valueCode": role}
    yield parameter("scope", client.scope)
    for sentence in describe_scopes(client.scope, language):
        yield parameter("asks", sentence)


def build_decision_parts(connection: Connection, client_id: str) -> Iterator[dict[str, Any]]:
    """Yield who decided about an app, when and why; when it registered itself."""
    row = connection.execute(
        "SELECT registered_ms, decided_ms, decided_by, decision_reason FROM client WHERE id = ?",
        (client_id,),
    ).fetchone()
    if row["registered_ms"] is not None:
        yield {"name": "registered", "valueInstant": format_instant(row["registered_ms"])}
    if row["decided_ms"] is not None:
        yield {"name": "decided", "valueInstant": format_instant(row["decided_ms"])}
        yield parameter("by", row["decided_by"])
        yield parameter("reason", row["decision_reason"])
