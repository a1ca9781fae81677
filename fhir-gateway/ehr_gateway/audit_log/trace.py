"""The trace of a release, with proofs: its steps, and the refreshes that made its tables.

The steps come from the register, which this package does not know; each is looked up in the log by
the digest of what it says. So a step that was changed has no leaf, and a leaf whose step was
changed or removed has none in the register: both are found.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ehr_fhir.errors import NotFound
from ehr_gateway.audit_log import recorder
from ehr_gateway.audit_log.lineage import (
    LineageLeaf,
    LineageSource,
    find_leaf,
    list_refreshes_after,
    list_steps,
    record_new_lineage,
)
from ehr_gateway.audit_log.restores import RESTORE
from ehr_gateway.audit_log.service import AuditLog
from ehr_gateway.database import Connection
from ehr_privacy.audit import (
    TRACE_FORMAT,
    Checkpoint,
    TraceLine,
    build_line,
    inclusion_proof,
    lineage_id,
    verifier_key,
    verify_trace,
)

__all__ = ["ReleaseSource", "Trace", "trace_release"]

# Refreshes that are looked through before one that a run names: it ran as long. Chosen.
_MOST_BACK = 10_000


class ReleaseSource(LineageSource, Protocol):
    """The register of releases."""

    def describe(
        self, release: str
    ) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]], Sequence[TraceLine]]:
        """Return a release, the records of its steps, and what is held against them on the spot.

        NotFound without such a run; Conflict where it was not released.
        """

    def read_all(self) -> Sequence[Mapping[str, Any]]:
        """Return the records of all steps of the register."""


@dataclass(frozen=True)
class Trace:
    """A trace that a witness can verify, and all lines: the witness's and the platform's own."""

    document: Mapping[str, Any]
    lines: tuple[TraceLine, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is otherwise than the log says."""
        return all(line.state != "fault" for line in self.lines)


def trace_release(log: AuditLog, source: ReleaseSource, release: str) -> Trace:
    """Trace a release; NotFound where there is none, or where nothing was signed for yet."""
    record_new_lineage(log.database, source, log.clock)
    described, records, lines = source.describe(release)
    checkpoint = log.folder.read_latest(log.signer.name, log.signer.public)
    if checkpoint is None:
        raise NotFound("The log has no checkpoint yet: `ehr audit checkpoint`.")
    with log.database.read_transaction() as connection:
        found = [(record, find_leaf(connection, lineage_id(record))) for record in records]
        run = next((record for record in records if record["action"] == "run"), None)
        refreshes = _find_refreshes(connection, run["facts"].get("tables", ()) if run else ())
        own = [*_compare_register(connection, source)]
    missing = [
        {
            "part": str(record["action"]),
            "text": f"step {record['seq']} has no leaf in the log",
            "seq": record["seq"],
        }
        for record, leaf in found
        if leaf is None
    ]
    leaves = [*(leaf for _, leaf in found if leaf is not None), *refreshes]
    document = {
        "format": TRACE_FORMAT,
        "release": described,
        "checkpoint": (log.folder.read_note() or b"").decode(),
        "key": verifier_key(log.signer.name, log.signer.public),
        "leaves": [_describe(log, leaf, checkpoint) for leaf in leaves],
        "missing": missing,
    }
    verified = verify_trace(document, log.signer.name, log.signer.public)
    return Trace(document, (*verified, *own, *lines))


def _find_refreshes(
    connection: Connection, tables: Iterable[Mapping[str, Any]]
) -> list[LineageLeaf]:
    """Return the leaves of the refreshes that made the versions that a run read."""
    found: dict[int, LineageLeaf] = {}
    for table in tables:
        leaf = next(
            (leaf for leaf in _refreshes_around(connection, table) if _made(leaf, table)), None
        )
        if leaf is not None:
            found[leaf.index] = leaf
    return [found[index] for index in sorted(found)]


def _refreshes_around(connection: Connection, table: Mapping[str, Any]) -> Iterator[LineageLeaf]:
    """Yield the refresh that was newest when a run ended, those before it, and the next ones."""
    named = find_leaf(connection, table["refresh"]) if table["refresh"] else None
    if named is not None and not _is_newer(table, named):
        leaf: LineageLeaf | None = named
        for _ in range(_MOST_BACK):
            if leaf is None:
                break
            yield leaf
            previous = leaf.record["previous"]
            leaf = find_leaf(connection, previous) if previous else None
    # The run may have read what the lake had not told yet.
    yield from list_refreshes_after(connection, named.index if named else -1)


def _is_newer(table: Mapping[str, Any], leaf: LineageLeaf) -> bool:
    return any(
        entry["name"] == table["name"] and (entry["version"] or 0) < table["version"]
        for entry in leaf.record["tables"]
    )


def _made(leaf: LineageLeaf, table: Mapping[str, Any]) -> bool:
    return any(
        entry["name"] == table["name"]
        and entry["version"] is not None
        and (-1 if entry["since"] is None else entry["since"]) < table["version"]
        and table["version"] <= entry["version"]
        for entry in leaf.record["tables"]
    )


def _compare_register(connection: Connection, source: ReleaseSource) -> Iterator[TraceLine]:
    """Hold every event of the register against the leaves of the log."""
    leaves = list_steps(connection)
    restored = connection.execute(
        "SELECT max(seq) FROM audit WHERE interaction = ? AND login = ?",
        (RESTORE, recorder.PLATFORM_LOGIN),
    ).fetchone()[0]
    # After the leaves: what came between has no leaf yet, and is newer than every leaf.
    known = {lineage_id(record): record for record in source.read_all()}
    newest = max((leaf.record["seq"] for leaf in leaves), default=0)
    strange = [leaf for leaf in leaves if leaf.id not in known]
    silent = known.keys() - {leaf.id for leaf in leaves}
    silent = {event for event in silent if known[event]["seq"] <= newest}
    for leaf in strange:
        seq = leaf.record["seq"]
        if restored is not None and leaf.index < restored:
            yield build_line("register", "gap", "event-restored", leaf.index, event=seq)
        else:
            yield build_line("register", "fault", "event-changed", leaf.index, event=seq)
    for event in sorted(silent):
        yield build_line("register", "fault", "event-put-in", event=known[event]["seq"])
    if not strange and not silent:
        yield build_line("register", "shown", "events-whole", events=f"{len(leaves):,}")


def _describe(log: AuditLog, leaf: LineageLeaf, checkpoint: Checkpoint) -> dict[str, Any]:
    proof = None
    if leaf.index < checkpoint.size:
        nodes = log.folder.tree_reader(checkpoint.size).node
        proof = [_encode(node) for node in inclusion_proof(nodes, leaf.index, checkpoint.size)]
    return {
        "index": leaf.index,
        "salt": _encode(leaf.salt),
        "row": list(leaf.row),
        "proof": proof,
    }


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode()
