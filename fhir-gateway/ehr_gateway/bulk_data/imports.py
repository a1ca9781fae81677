"""Imports as rows: begun, claimed by the process that carries them out, ended, forgotten.

A row says how far an import is; its files lie in a folder (`import_files`) until it has ended.
Neither the rows of refused lines nor those of imports hold anything of a record.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import orjson

from ehr_fhir.errors import Forbidden, Gone, NotFound, TooMany
from ehr_gateway.bulk_data.import_request import ImportRequest
from ehr_gateway.database import Connection
from ehr_gateway.store.store import Store
from ehr_gateway.tokens.revocations import is_revoked_since
from ehr_gateway.tokens.suspensions import read_suspensions_in_force

__all__ = [
    "BulkImport",
    "ImportFault",
    "ImportProgress",
    "begin_import",
    "cancel_import",
    "claim_next_import",
    "end_import",
    "erase_imports",
    "find_import",
    "forget_old_imports",
    "has_files",
    "is_import_waiting",
    "keep_findings",
    "keep_progress",
    "list_faults",
    "release_import",
]

State = Literal["receiving", "waiting", "running", "completed", "failed"]
# Chosen: a working day and a night, as of exports.
_KEPT_MS = 24 * 3_600_000
# Of one owner, under way at a time. Chosen: they run one after the other.
_MOST_IMPORTS = 5
# After which files that were being sent are known to come no more: see `import_files`.
_RECEIVED_WITHIN_MS = 2 * 3_600_000
# After which one that runs is known not to: of a restored store the files are not there. Chosen.
_RUN_WITHIN_MS = 7 * 86_400_000
# Chosen: a process that is ended so often does not end well, whatever ends it.
_MOST_ATTEMPTS = 5
_ACTIVE_STATES = ("receiving", "waiting", "running")
_ACTIVE = "('receiving', 'waiting', 'running')"


@dataclass(frozen=True)
class ImportProgress:
    """How far an import is: numbers alone."""

    # Unit and index of the last row that was stored (`LoadCheckpoint`); None before the first.
    place: tuple[int, int] | None = None
    # Resources stored, and found stored as they are, so far.
    stored: int = 0
    unchanged: int = 0
    # By input, how many resources are taken, and how many are refused; empty until that is known.
    taken: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()

    def to_json(self) -> str:
        """Return the progress as it is kept."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> ImportProgress:
        """Return progress that was kept."""
        values: dict[str, Any] = orjson.loads(text)
        place = values["place"] and (values["place"][0], values["place"][1])
        lists = {name: tuple(values[name]) for name in ("taken", "refused")}
        return cls(place, values["stored"], values["unchanged"], **lists)


@dataclass(frozen=True)
class BulkImport:
    """One import of its owner."""

    id: str
    # Log-in, client, organisation and patient of the token.
    owner: tuple[str | None, ...]
    started_ms: int
    expires_ms: int
    state: State
    request: ImportRequest
    progress: ImportProgress = field(default_factory=ImportProgress)
    fault: str = ""


@dataclass(frozen=True)
class ImportFault:
    """Why a line is refused; line 0 is the file as a whole."""

    input: int
    line: int
    reason: str


def begin_import(
    store: Store, owner: Sequence[str | None], request: ImportRequest, now_ms: int
) -> BulkImport:
    """Begin an import whose files are yet to be received; `release_import` lets it run."""
    sealed, name = orjson.dumps(owner).decode(), secrets.token_hex(16)
    begun = BulkImport(name, tuple(owner), now_ms, now_ms + _KEPT_MS, "receiving", request)
    with store.write_transaction() as connection:
        forget_old_imports(connection, now_ms)
        row = connection.execute(
            f"SELECT COUNT(*) FROM bulk_import WHERE owner = ? AND state IN {_ACTIVE}",  # noqa: S608
            (sealed,),
        ).fetchone()
        if row[0] >= _MOST_IMPORTS:
            raise TooMany(f"There are {_MOST_IMPORTS} imports of yours under way: wait for one.")
        connection.execute(
            "INSERT INTO bulk_import"
            " (id, owner, started_ms, expires_ms, state, request, progress, attempts, fault)"
            " VALUES (?, ?, ?, ?, 'receiving', ?, ?, 0, '')",
            (name, sealed, now_ms, begun.expires_ms, request.to_json(), begun.progress.to_json()),
        )
    return begun


def release_import(store: Store, import_id: str, request: ImportRequest) -> None:
    """Let an import run, with the files that were received."""
    with store.write_transaction() as connection:
        changed = connection.execute(
            "UPDATE bulk_import SET state = 'waiting', request = ?"
            " WHERE id = ? AND state = 'receiving'",
            (request.to_json(), import_id),
        )
    if not changed.rowcount:
        raise Gone("The import was ended while its files were sent: send them again.")


def find_import(
    store: Store, owner: Sequence[str | None], import_id: str, now_ms: int
) -> BulkImport:
    """Return an import of its owner; to others it is not there."""
    with store.read_transaction(single_statement=True) as connection:
        row = connection.execute(
            "SELECT * FROM bulk_import WHERE id = ? AND owner = ?",
            (import_id, orjson.dumps(owner).decode()),
        ).fetchone()
    if row is None:
        raise NotFound("There is no such import of yours.")
    found = _from_row(row)
    if found.state in ("completed", "failed") and found.expires_ms <= now_ms:
        raise Gone("What is told of an import has expired.")
    return found


def claim_next_import(store: Store, is_here: Callable[[str], bool]) -> BulkImport | None:
    """Take the oldest import that waits, or that a process left which has ended.

    The caller holds the lock of those that carry imports out. `is_here` says whether an import's
    files are on this machine.
    """
    with store.write_transaction() as connection:
        connection.execute(
            "UPDATE bulk_import SET state = 'failed', fault = ?"
            " WHERE state = 'running' AND attempts >= ?",
            ("The import was cut off several times: send smaller files.", _MOST_ATTEMPTS),
        )
        rows = connection.execute(
            "SELECT * FROM bulk_import WHERE state IN ('waiting', 'running')"
            " ORDER BY started_ms, id"
        ).fetchall()
        for row in rows:
            if is_here(row["id"]):
                connection.execute(
                    "UPDATE bulk_import SET state = 'running', attempts = attempts + 1"
                    " WHERE id = ?",
                    (row["id"],),
                )
                return replace(_from_row(row), state="running")
    return None


def is_import_waiting(store: Store, is_here: Callable[[str], bool]) -> bool:
    """Say whether there is an import to carry out, whose files are on this machine."""
    with store.read_transaction(single_statement=True) as connection:
        rows = connection.execute(
            "SELECT id FROM bulk_import WHERE state IN ('waiting', 'running')"
        ).fetchall()
    return any(is_here(row["id"]) for row in rows)


def keep_findings(
    store: Store,
    running: BulkImport,
    faults: Iterable[ImportFault],
    progress: ImportProgress,
    now_ms: int,
) -> None:
    """Keep what is refused and how much is taken, in place of what an earlier attempt found."""
    with store.write_transaction() as connection:
        keep_progress(connection, running, progress, now_ms)
        connection.execute("DELETE FROM bulk_import_fault WHERE job = ?", (running.id,))
        connection.executemany(
            "INSERT INTO bulk_import_fault (job, number, input, line, reason)"
            " VALUES (?, ?, ?, ?, ?)",
            [
                (running.id, number, fault.input, fault.line, fault.reason)
                for number, fault in enumerate(faults)
            ],
        )


def keep_progress(
    connection: Connection, running: BulkImport, progress: ImportProgress, now_ms: int
) -> None:
    """Keep how far an import is.

    Raises Gone if it was cancelled or ended meanwhile, and Forbidden if its owner is suspended, or
    was deleted or otherwise revoked since it began.
    """
    login, client, organization, _ = running.owner
    suspensions = read_suspensions_in_force(connection)
    if suspensions.is_suspended(
        person=login or "", organization=organization, client=client or "", now_ms=now_ms
    ):
        raise Forbidden("The access of who began the import is suspended.")
    since = running.started_ms
    if is_revoked_since(connection, login=login or "", client=client or "", since_ms=since):
        raise Forbidden("The access of who began the import was revoked.")
    changed = connection.execute(
        "UPDATE bulk_import SET progress = ? WHERE id = ? AND state = 'running'",
        (progress.to_json(), running.id),
    )
    if not changed.rowcount:
        raise Gone("The import was ended.")


def end_import(store: Store, running: BulkImport, now_ms: int, fault: str = "") -> None:
    """Say how an import ended; what opens its sources is forgotten."""
    with store.write_transaction() as connection:
        connection.execute(
            "UPDATE bulk_import SET state = ?, fault = ?, request = ?, expires_ms = ?"
            " WHERE id = ? AND state = 'running'",
            (
                "failed" if fault else "completed", fault,
                running.request.without_secrets().to_json(), now_ms + _KEPT_MS, running.id,
            ),
        )  # fmt: skip


def cancel_import(store: Store, import_id: str) -> None:
    """End an import, or forget one that has ended; what it stored stays."""
    with store.write_transaction() as connection:
        _delete(connection, [import_id])


def erase_imports(connection: Connection, names: Collection[str], fault: str) -> None:
    """End every import that has not ended, and forget addresses that hold one of some names.

    `names` are the ids of erased patients and of their records.
    """
    for row in connection.execute("SELECT * FROM bulk_import").fetchall():
        found = _from_row(row)
        request = found.request
        if any(name in row["request"] for name in names):
            request = request.without_addresses()
        if found.state in _ACTIVE_STATES:
            found = replace(found, state="failed", fault=fault)
            request = request.without_secrets()
        connection.execute(
            "UPDATE bulk_import SET state = ?, fault = ?, request = ? WHERE id = ?",
            (found.state, found.fault, request.to_json(), found.id),
        )


def has_files(store: Store, import_id: str) -> bool:
    """Say whether an import has not ended, so that its files are needed."""
    with store.read_transaction(single_statement=True) as connection:
        row = connection.execute(
            f"SELECT 1 FROM bulk_import WHERE id = ? AND state IN {_ACTIVE}",  # noqa: S608
            (import_id,),
        ).fetchone()
    return row is not None


def list_faults(
    store: Store, import_id: str, input_number: int, after: int, count: int
) -> list[tuple[int, ImportFault]]:
    """Return the next refused lines of an input, each with its number, after one number."""
    with store.read_transaction(single_statement=True) as connection:
        rows = connection.execute(
            "SELECT number, input, line, reason FROM bulk_import_fault"
            " WHERE job = ? AND input = ? AND number > ? ORDER BY number LIMIT ?",
            (import_id, input_number, after, count),
        ).fetchall()
    return [(row["number"], ImportFault(row["input"], row["line"], row["reason"])) for row in rows]


def forget_old_imports(connection: Connection, now_ms: int) -> None:
    """Forget imports that ended long ago, and those whose files come no more, in a transaction."""
    rows = connection.execute(
        "SELECT id FROM bulk_import WHERE (state IN ('completed', 'failed') AND expires_ms <= ?)"
        " OR (state = 'receiving' AND started_ms <= ?)"
        " OR (state IN ('waiting', 'running') AND started_ms <= ?)",
        (now_ms, now_ms - _RECEIVED_WITHIN_MS, now_ms - _RUN_WITHIN_MS),
    ).fetchall()
    _delete(connection, [row["id"] for row in rows])


def _delete(connection: Connection, imports: Sequence[str]) -> None:
    ended = [(one,) for one in imports]
    connection.executemany("DELETE FROM bulk_import WHERE id = ?", ended)
    connection.executemany("DELETE FROM bulk_import_fault WHERE job = ?", ended)


def _from_row(row: Mapping[str, Any]) -> BulkImport:
    return BulkImport(
        row["id"],
        tuple(orjson.loads(row["owner"])),
        row["started_ms"],
        row["expires_ms"],
        row["state"],
        ImportRequest.from_json(row["request"]),
        ImportProgress.from_json(row["progress"]),
        row["fault"],
    )
