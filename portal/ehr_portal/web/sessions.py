"""Sessions kept on the server: the browser holds an opaque id and nothing else.

The store keeps only a hash of each id, so a copy of the file opens no session.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path

HANDLES_KEPT = 60


@dataclass(frozen=True)
class User:
    """Who is logged in, as the gateway's token says."""

    latin: str
    han: str
    role: str
    organization: str | None
    patient: str | None
    token: str
    # The organisation's names, read once at log-in for the head of every page.
    organization_latin: str = ""
    organization_han: str = ""
    # Whom a carer acts for now, and whether he decides for that person.
    acting_latin: str = ""
    acting_han: str = ""
    manages: bool = False


@dataclass
class Session:
    """One browser's stay; changed by a request and saved at its end."""

    id: str
    created: float
    seen: float
    csrf_key: str
    user: User | None = None
    # Opaque handle -> what it stands for, so that no search term stands in an address.
    handles: dict[str, str] = field(default_factory=dict)
    notes: list[list[str]] = field(default_factory=list)

    def csrf(self, action: str) -> str:
        """Return the token that a form sent to `action` must carry."""
        return hmac.new(self.csrf_key.encode(), action.encode(), hashlib.sha256).hexdigest()

    def remember(self, value: str) -> str:
        """Keep a value here and return the handle that may stand in an address."""
        for handle, kept in self.handles.items():
            if kept == value:
                return handle
        handle = secrets.token_urlsafe(9)
        self.handles[handle] = value
        for old in list(self.handles)[:-HANDLES_KEPT]:
            del self.handles[old]
        return handle

    def recall(self, handle: str) -> str | None:
        """Return the value kept under a handle of this session."""
        return self.handles.get(handle)

    def note(self, kind: str, text: str) -> None:
        """Leave a message for the next page."""
        self.notes.append([kind, text])

    def take_notes(self) -> list[list[str]]:
        """Return the messages left for this page, once."""
        notes, self.notes = self.notes, []
        return notes


class SessionStore:
    """Holds sessions until they are ended, idle too long or too old."""

    def __init__(
        self, path: Path | None, idle: timedelta, absolute: timedelta, clock: Callable[[], float]
    ) -> None:
        self._idle = idle.total_seconds()
        self._absolute = absolute.total_seconds()
        self._clock = clock
        if path is not None:
            path.touch(mode=0o600)
        self._db = sqlite3.connect(
            path or ":memory:", check_same_thread=False, isolation_level=None
        )
        with ExitStack() as stack:
            if path is not None:
                # SQLite refuses at once where two processes begin the log together.
                turn = stack.enter_context(Path(f"{path}-turn").open("ab"))
                fcntl.flock(turn, fcntl.LOCK_EX)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA busy_timeout = 5000")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS session"
                " (key TEXT PRIMARY KEY, created REAL, seen REAL, body TEXT)"
            )

    def start(self, user: User | None = None) -> Session:
        """Begin a session under a new id."""
        now = self._clock()
        self._forget_old(now)
        session = Session(secrets.token_urlsafe(32), now, now, secrets.token_hex(32), user)
        self._db.execute("INSERT INTO session VALUES (?, ?, ?, '{}')", (_key(session.id), now, now))
        self.save(session)
        return session

    def find(self, session_id: str) -> Session | None:
        """Return the session of this id if it is still in force, and mark it as seen."""
        row = self._db.execute(
            "SELECT created, seen, body FROM session WHERE key = ?", (_key(session_id),)
        ).fetchone()
        if row is None:
            return None
        created, seen, body = row
        now = self._clock()
        if now - seen > self._idle or now - created > self._absolute:
            self.end(session_id)
            return None
        kept = json.loads(body)
        user = User(**kept["user"]) if kept["user"] else None
        return Session(
            session_id, created, now, kept["csrf_key"], user, kept["handles"], kept["notes"]
        )

    def save(self, session: Session) -> None:
        """Write the session as it is now; one that was ended meanwhile stays ended."""
        body = json.dumps(
            {
                "csrf_key": session.csrf_key,
                "user": asdict(session.user) if session.user else None,
                "handles": session.handles,
                "notes": session.notes,
            }
        )
        self._db.execute(
            "UPDATE session SET seen = ?, body = ? WHERE key = ?",
            (session.seen, body, _key(session.id)),
        )

    def end(self, session_id: str) -> None:
        """Forget a session; its id opens nothing any more."""
        self._db.execute("DELETE FROM session WHERE key = ?", (_key(session_id),))

    def _forget_old(self, now: float) -> None:
        self._db.execute(
            "DELETE FROM session WHERE seen < ? OR created < ?",
            (now - self._idle, now - self._absolute),
        )


def _key(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
