"""Rows of links and of their openings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

from ehr_gateway.database import Connection, Row
from ehr_gateway.ids import new_id

__all__ = [
    "HealthLink", "Opening", "count_openings_since", "end_links", "find_link", "insert_link",
    "list_links", "list_openings", "record_opening", "return_try", "settle_opening", "take_try",
]  # fmt: skip

# Openings that are kept of one link, the newest. Chosen.
_MOST_OPENINGS = 200


@dataclass(frozen=True)
class HealthLink:
    """One link as it is stored."""

    id: str
    token_hash: str
    patient: str
    label: str
    # "snapshot" or "live".
    content: str
    language: str
    login: str
    scope: str
    passcode: str
    tries_left: int
    made_ms: int
    expires_ms: int
    ended_ms: int | None = None
    file: bytes | None = None

    def is_open(self, now_ms: int) -> bool:
        """Say whether whoever has it and the passcode may open it."""
        return self.ended_ms is None and now_ms < self.expires_ms and self.tries_left > 0


@dataclass(frozen=True)
class Opening:
    """One attempt to open a link."""

    link: str
    at_ms: int
    recipient: str
    # "tried", until it is settled: "opened" or "wrong-passcode".
    outcome: str


_COLUMNS = tuple(field.name for field in fields(HealthLink))
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM health_link"  # noqa: S608 - names of ours


def insert_link(connection: Connection, link: HealthLink) -> None:
    """Insert a new link."""
    places = ", ".join("?" * len(_COLUMNS))
    connection.execute(
        f"INSERT INTO health_link ({', '.join(_COLUMNS)}) VALUES ({places})",  # noqa: S608
        astuple(link),
    )


def find_link(connection: Connection, token_hash: str) -> HealthLink | None:
    """Return the link whose address has this hash."""
    row = connection.execute(f"{_SELECT} WHERE token_hash = ?", (token_hash,)).fetchone()
    return _to_link(row) if row else None


def list_links(connection: Connection, patient: str) -> list[HealthLink]:
    """Return a patient's links, the newest first."""
    rows = connection.execute(
        f"{_SELECT} WHERE patient = ? ORDER BY made_ms DESC, id DESC", (patient,)
    )
    return [_to_link(row) for row in rows]


def end_links(connection: Connection, patient: str, link: str, now_ms: int) -> bool:
    """End a link of a patient; its file is deleted. Say whether there was one in force."""
    ended = connection.execute(
        "UPDATE health_link SET ended_ms = ?, file = NULL"
        " WHERE id = ? AND patient = ? AND ended_ms IS NULL",
        (now_ms, link, patient),
    )
    return bool(ended.rowcount)


def take_try(connection: Connection, link: str) -> int | None:
    """Take one of the passcodes that may be wrong; return how many are left, None without one.

    Taken before the passcode is verified, a hundred guesses at once are a hundred.
    """
    taken = connection.execute(
        "UPDATE health_link SET tries_left = tries_left - 1 WHERE id = ? AND tries_left > 0",
        (link,),
    )
    if not taken.rowcount:
        return None
    row = connection.execute("SELECT tries_left FROM health_link WHERE id = ?", (link,)).fetchone()
    return int(row[0])


def return_try(connection: Connection, link: str) -> None:
    """Give back the try of a right passcode."""
    connection.execute("UPDATE health_link SET tries_left = tries_left + 1 WHERE id = ?", (link,))


def record_opening(connection: Connection, opening: Opening) -> str:
    """Record an attempt and return its id; the oldest beyond what is kept are deleted."""
    identity = new_id()
    connection.execute(
        "INSERT INTO health_link_opening (id, link, at_ms, recipient, outcome)"
        " VALUES (?, ?, ?, ?, ?)",
        (identity, opening.link, opening.at_ms, opening.recipient, opening.outcome),
    )
    connection.execute(
        "DELETE FROM health_link_opening WHERE link = ? AND id NOT IN (SELECT id FROM"
        " health_link_opening WHERE link = ? ORDER BY at_ms DESC, id DESC LIMIT ?)",
        (opening.link, opening.link, _MOST_OPENINGS),
    )
    return identity


def settle_opening(connection: Connection, opening: str, outcome: str) -> bool:
    """Say what became of an attempt, once; return whether it was there and open until now."""
    settled = connection.execute(
        "UPDATE health_link_opening SET outcome = ? WHERE id = ? AND outcome = 'tried'",
        (outcome, opening),
    )
    return bool(settled.rowcount)


def list_openings(connection: Connection, links: Sequence[str]) -> dict[str, list[Opening]]:
    """Return the attempts of some links, the newest first."""
    return {
        link: [
            Opening(link, row["at_ms"], row["recipient"], row["outcome"])
            for row in connection.execute(
                "SELECT at_ms, recipient, outcome FROM health_link_opening WHERE link = ?"
                " ORDER BY at_ms DESC, id DESC",
                (link,),
            )
        ]
        for link in links
    }


def count_openings_since(connection: Connection, link: str, since_ms: int) -> int:
    """Return how often a link was opened since an instant, or tried to."""
    row = connection.execute(
        "SELECT COUNT(*) FROM health_link_opening WHERE link = ? AND at_ms > ?", (link, since_ms)
    ).fetchone()
    return int(row[0])


def _to_link(row: Row) -> HealthLink:
    values = {name: row[name] for name in _COLUMNS}
    file = values["file"]
    return HealthLink(**{**values, "file": bytes(file) if file is not None else None})
