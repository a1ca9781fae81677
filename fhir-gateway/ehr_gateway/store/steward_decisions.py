"""What stewards decided of versions in which the lake found faults, as the change feed tells it."""

from __future__ import annotations

from dataclasses import dataclass

from ehr_gateway.database import Connection

__all__ = ["StewardDecision", "list_steward_decisions"]


@dataclass(frozen=True)
class StewardDecision:
    """The decision in force about one version."""

    version: int
    decision: str


def list_steward_decisions(
    connection: Connection, kind: str, identity: str
) -> list[StewardDecision]:
    """Return the newest decision of each version of a record, in the order of versions."""
    rows = connection.execute(
        "SELECT version, decision FROM quality_decision WHERE type = ? AND logical_id = ?"
        " ORDER BY version, decided_ms, id",
        (kind, identity),
    ).fetchall()
    newest = {int(row["version"]): str(row["decision"]) for row in rows}
    return [StewardDecision(version, decision) for version, decision in newest.items()]
