"""Grants and emergencies end for good.

What Consents opened is read from their versions. In doubt it has ended: a grant whose Consent is
not active now, and one after which a sharing or the joining of its patient was once switched off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

from ehr_gateway.database.tables import INTEGER, TEXT
from ehr_gateway.migrations.recompute import schedule_recompute

revision = "0006"
down_revision = "0005"

_KINDS = {"step-up": "consent_grant", "emergency": "consent_emergency"}
_VERSIONS = (
    "SELECT pk, id, deleted, last_updated, body FROM resource WHERE type = 'Consent' ORDER BY pk"
)


class _Opening:
    # No dataclass: Alembic does not register the modules of revisions, which those look up.
    def __init__(self, kind: str, position: int) -> None:
        self.kind, self.position = kind, position
        self.ended_ms: int | None = None


def upgrade() -> None:
    """Create the table of what Consents opened, and fill it."""
    opening = op.create_table(
        "consent_opening",
        sa.Column("consent", TEXT, primary_key=True),
        sa.Column("patient", TEXT, primary_key=True),
        sa.Column("organization", TEXT, primary_key=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("position", INTEGER, nullable=False),
        sa.Column("ended_ms", INTEGER),
        sqlite_with_rowid=False,
    )
    op.create_index("consent_opening_patient", "consent_opening", ["patient", "organization"])
    bind = op.get_bind()
    rows = [
        {
            "consent": consent, "patient": patient, "organization": organization,
            "kind": found.kind, "position": found.position, "ended_ms": found.ended_ms,
        }
        for (consent, patient, organization), found in _read_openings(bind).items()
    ]  # fmt: skip
    if rows:
        bind.execute(opening.insert(), rows)
    schedule_recompute(bind)


def _read_openings(bind: sa.Connection) -> dict[tuple[str, str, str], _Opening]:
    openings: dict[tuple[str, str, str], _Opening] = {}
    # The patients whose sharing or joining each Consent gave, by its last version with a body.
    shares: dict[str, str] = {}
    for pk, consent, deleted, at_ms, body in bind.exec_driver_sql(_VERSIONS):
        resource: dict[str, Any] = {} if deleted else orjson.loads(bytes(body))
        is_active = resource.get("status") == "active"
        patient = str(resource.get("patient", {}).get("reference", "")).partition("/")[2]
        codes = set(_category_codes(resource))
        organizations = set(_organizations(resource)) if is_active else set()
        kind = next((_KINDS[code] for code in _KINDS if code in codes), None)
        for key, opening in openings.items():
            is_kept = kind == opening.kind and key[1] == patient and key[2] in organizations
            if key[0] == consent and not is_kept:
                opening.ended_ms = opening.ended_ms or at_ms
        if kind:
            for organization in organizations:
                openings.setdefault((consent, patient, organization), _Opening(kind, pk))
            continue
        if consent in shares and not is_active:
            for (_, other, _), opening in openings.items():
                if other == shares[consent] and opening.kind == "consent_grant":
                    opening.ended_ms = opening.ended_ms or at_ms
        if codes & {"sharing", "joining", "59284-0"}:
            shares[consent] = patient
    return openings


def _category_codes(resource: dict[str, Any]) -> Iterator[str]:
    for concept in resource.get("category", ()):
        for coding in concept.get("coding", ()):
            yield str(coding.get("code"))


def _organizations(resource: dict[str, Any]) -> Iterator[str]:
    for actor in resource.get("provision", {}).get("actor", ()):
        kind, _, name = str(actor.get("reference", {}).get("reference", "")).partition("/")
        if kind == "Organization":
            yield name
