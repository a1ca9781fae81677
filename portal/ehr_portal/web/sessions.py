"""Sessions kept on the server: the browser holds an opaque id and nothing else.

The store keeps only a hash of each id, so a copy of the file opens no session. Where its disk is
full, what a page changes in a session is kept in this process until there is room again; no session
begins or ends meanwhile, and who tries is told.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import logging
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from ehr_fhir.errors import Unavailable

_log = logging.getLogger(__name__)

# The searches and pages of a log that links may lead back to; the oldest is forgotten first.
# Chosen: more than a person opens side by side, and no burden on the session's row.
MAX_HANDLES = 60
# The projects of which a cohort is kept. Chosen: more than somebody works on in one session.
MAX_COHORT_DRAFTS = 5
# A page that changes nothing in its session writes at most so often that it was there: each write
# is a turn in the file that all processes share. Chosen: of half an hour without a page, which ends
# a session, it is nothing.
_SEEN_SECONDS = 30


class SessionsUnwritable(Unavailable):
    """The session store takes no writes: its disk is full, or does not answer."""


@dataclass(frozen=True)
class User:
    """Who is logged in, as the gateway's token says."""

    latin: str
    han: str
    role: str
    organization: str | None
    # The patient's own id; of a carer, the patient they act for now.
    patient: str | None
    token: str
    # The organisation's names, read once at log-in for the head of every page.
    organization_latin: str = ""
    organization_han: str = ""
    # The name of the patient a carer acts for now, and whether the carer decides for them.
    acting_latin: str = ""
    acting_han: str = ""
    manages: bool = False
    # Whether they may see the record as well, or only decide.
    views: bool = True
    # The id by which audit events and consent rules name the person.
    login: str = ""
    # Of a clinician: whether they had a part in a research project when they logged in.
    has_projects: bool = False

    @property
    def acts_for_patient(self) -> bool:
        """Return whether this is a carer who chose for whom to act."""
        return self.role == "carer" and bool(self.patient)

    @property
    def reads_for_patient(self) -> bool:
        """Return whether this is a carer who sees a patient's record."""
        return self.acts_for_patient and self.views

    @property
    def decides_for_patient(self) -> bool:
        """Return whether this is a carer who decides about a patient's sharing."""
        return self.acts_for_patient and self.manages

    @property
    def may_read_record(self) -> bool:
        """Return whether this is a patient, or a carer who sees a patient's record."""
        return self.role == "patient" or self.reads_for_patient

    @property
    def may_decide(self) -> bool:
        """Return whether this is a patient, or a carer who decides about a patient's sharing."""
        return self.role == "patient" or self.decides_for_patient


@dataclass
class Session:
    """One browser's session; changed by a request and saved at its end."""

    id: str
    created: float
    last_seen: float
    csrf_key: str
    user: User | None = None
    # Opaque handle -> what it stands for, so that no search term stands in an address.
    handles: dict[str, str] = field(default_factory=dict)
    # Kind ("done" or "problem") and text, in the order they are shown.
    flashes: list[list[str]] = field(default_factory=list)
    # New notices of a patient or carer, and when the gateway said so (seconds since 1970).
    unread: int = 0
    unread_asked: float = 0.0
    # Whom a carer may act for: id, Latin name, Chinese name. For the switch of every page.
    people: list[list[str]] = field(default_factory=list)
    # When the store saw it before this page.
    stored_seen: float = 0.0
    # What the gateway said of each list of patients that this clinician was shown last: sent with
    # the next question for it (`record/patient_list.py`).
    shown_lists: dict[str, str] = field(default_factory=dict)
    # The cohort that a researcher works on, by project: what `pages/research_cohort.py` keeps.
    cohort_drafts: dict[str, str] = field(default_factory=dict)
    # What it held when this request loaded it: what the request did not change it does not write.
    loaded: dict[str, Any] = field(default_factory=dict, repr=False)

    def csrf_token(self, action: str) -> str:
        """Return the token that a form sent to `action` must carry."""
        return hmac.new(self.csrf_key.encode(), action.encode(), hashlib.sha256).hexdigest()

    def issue_handle(self, value: str) -> str:
        """Keep a value here and return the handle that may stand in an address."""
        for handle, known_value in self.handles.items():
            if known_value == value:
                return handle
        handle = secrets.token_urlsafe(9)
        self.handles[handle] = value
        for oldest in list(self.handles)[:-MAX_HANDLES]:
            del self.handles[oldest]
        return handle

    def resolve_handle(self, handle: str) -> str | None:
        """Return the value of a handle of this session, None for any other."""
        return self.handles.get(handle)

    def keep_cohort_draft(self, project: str, draft: str) -> None:
        """Keep the cohort of a project; of many projects the one kept first is forgotten."""
        self.cohort_drafts.pop(project, None)
        self.cohort_drafts[project] = draft
        for oldest in list(self.cohort_drafts)[:-MAX_COHORT_DRAFTS]:
            del self.cohort_drafts[oldest]

    def add_flash(self, kind: str, text: str) -> None:
        """Leave a message for the next page."""
        self.flashes.append([kind, text])

    def take_flashes(self) -> list[list[str]]:
        """Return the messages left for this page, once."""
        flashes, self.flashes = self.flashes, []
        return flashes


class SessionStore:
    """Holds sessions until they are ended, idle too long or too old."""

    def __init__(
        self, path: Path | None, idle: timedelta, absolute: timedelta, clock: Callable[[], float]
    ) -> None:
        self._idle = idle.total_seconds()
        self._absolute = absolute.total_seconds()
        self._clock = clock
        # Key of a session -> when it was seen and what it holds, where that could not be written.
        self._unwritten: dict[str, tuple[float, str]] = {}
        # Sessions that were ended and could not be deleted.
        self._ended: set[str] = set()
        if path is not None:
            path.touch(mode=0o600)
        self._db = sqlite3.connect(
            path or ":memory:", check_same_thread=False, isolation_level=None
        )
        with ExitStack() as stack:
            if path is not None:
                # SQLite does not wait where two processes switch to the write-ahead log at once.
                lock = stack.enter_context(Path(f"{path}-turn").open("ab"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            self._db.execute("PRAGMA journal_mode = WAL")
            # A page does not wait for the disk to have its session (`_write_durably` does): a power
            # cut takes no more than what the last pages left there.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA busy_timeout = 5000")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS session"
                " (key TEXT PRIMARY KEY, created REAL, seen REAL, body TEXT)"
            )

    def start(self, user: User | None = None) -> Session:
        """Begin a session under a new id."""
        now = self._clock()
        self._delete_expired(now)
        session = Session(secrets.token_urlsafe(32), now, now, secrets.token_hex(32), user)
        self._write_durably(
            "INSERT INTO session VALUES (?, ?, ?, ?)",
            (_hash_id(session.id), now, now, json.dumps(_session_values(session))),
        )
        session.loaded = _session_values(session)
        return session

    def load(self, session_id: str) -> Session | None:
        """Return the session of an id if it is still in force, and mark it as seen now."""
        key = _hash_id(session_id)
        row = self._db.execute(
            "SELECT created, seen, body FROM session WHERE key = ?", (key,)
        ).fetchone()
        if row is None or key in self._ended:
            return None
        created, stored_seen, stored_body = row
        last_seen, body = self._unwritten.get(key, (stored_seen, stored_body))
        now = self._clock()
        if now - last_seen > self._idle or now - created > self._absolute:
            with suppress(SessionsUnwritable):
                self.end(session_id)
            return None
        data = json.loads(body)
        return Session(
            id=session_id,
            created=created,
            last_seen=now,
            csrf_key=data["csrf_key"],
            user=User(**data["user"]) if data["user"] else None,
            handles=data["handles"],
            flashes=data["notes"],
            # Not in sessions of earlier versions.
            unread=data.get("unread", 0),
            unread_asked=data.get("unread_asked", 0.0),
            people=data.get("people", []),
            shown_lists=data.get("shown_lists", {}),
            cohort_drafts=data.get("cohort_drafts", {}),
            stored_seen=stored_seen,
            loaded=json.loads(body),
        )

    def save(self, session: Session) -> None:
        """Write what this request changed; a session that was ended meanwhile stays ended.

        What another request changed meanwhile stays: a slow page that began before a carer chose
        another person must not take them back to the first. A page is not refused for what it would
        change in the session: that is written later.
        """
        key = _hash_id(session.id)
        is_changed = session.loaded != _session_values(session) or key in self._unwritten
        if not is_changed and session.last_seen - session.stored_seen < _SEEN_SECONDS:
            return
        try:
            self._write_changes(key, session, is_changed=is_changed)
        except SessionsUnwritable:
            merged = self._merge_changes(key, session)
            if merged is not None:
                self._unwritten[key] = (session.last_seen, json.dumps(merged))
        else:
            self._unwritten.pop(key, None)
        session.loaded = _session_values(session)

    def _write_changes(self, key: str, session: Session, *, is_changed: bool) -> None:
        if not is_changed:
            self._write("UPDATE session SET seen = ? WHERE key = ?", (session.last_seen, key))
            return
        # One writer at a time from the reading on: another process may serve the other request.
        self._write("BEGIN IMMEDIATE", ())
        try:
            merged = self._merge_changes(key, session)
            if merged is not None:
                self._write(
                    "UPDATE session SET seen = ?, body = ? WHERE key = ?",
                    (session.last_seen, json.dumps(merged), key),
                )
            self._write("COMMIT", ())
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _merge_changes(self, key: str, session: Session) -> dict[str, Any] | None:
        """Return what is stored with this request's changes; None of a session that was ended."""
        row = self._db.execute("SELECT body FROM session WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        _, body = self._unwritten.get(key, (0.0, row[0]))
        return _merge_values(json.loads(body), session.loaded, _session_values(session))

    def end(self, session_id: str) -> None:
        """Delete a session; its id opens nothing any more.

        Raises SessionsUnwritable where other processes may still take it.
        """
        key = _hash_id(session_id)
        self._unwritten.pop(key, None)
        self._ended.add(key)
        self._write_durably("DELETE FROM session WHERE key = ?", (key,))
        self._ended.discard(key)

    def _write_durably(self, statement: str, values: tuple[object, ...]) -> None:
        """Write what holds after a power cut, too: that a session began or ended."""
        self._db.execute("PRAGMA synchronous = FULL")
        try:
            self._write(statement, values)
        finally:
            self._db.execute("PRAGMA synchronous = NORMAL")

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            self._db.execute(statement, values)
        except sqlite3.OperationalError as error:
            # SQLite's own words: "database or disk is full", "disk I/O error", "readonly database".
            text = f"The portal's sessions cannot be written ({error})."
            _log.error("%s", text)
            raise SessionsUnwritable(text) from error

    def _delete_expired(self, now: float) -> None:
        self._write(
            "DELETE FROM session WHERE seen < ? OR created < ?",
            (now - self._idle, now - self._absolute),
        )


def _session_values(session: Session) -> dict[str, Any]:
    return {
        "csrf_key": session.csrf_key,
        "user": asdict(session.user) if session.user else None,
        "handles": dict(session.handles),
        # The name that sessions of earlier versions have in the file.
        "notes": list(session.flashes),
        "unread": session.unread,
        "unread_asked": session.unread_asked,
        "people": list(session.people),
        "shown_lists": dict(session.shown_lists),
        "cohort_drafts": dict(session.cohort_drafts),
    }


def _merge_values(
    stored: Mapping[str, Any], loaded: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Any]:
    """Return stored values with what changed between `loaded` and `own`.

    Messages and handles are merged one by one, so that none of two requests loses the other's.
    """
    merged = {**stored, **{name: own[name] for name in own if own[name] != loaded.get(name)}}
    shown = [note for note in loaded.get("notes", ()) if note not in own["notes"]]
    added = [note for note in own["notes"] if note not in loaded.get("notes", ())]
    merged["notes"] = [note for note in stored.get("notes", ()) if note not in shown] + added
    handles = {**stored.get("handles", {}), **own["handles"]}
    merged["handles"] = dict(list(handles.items())[-MAX_HANDLES:])
    return merged


def _hash_id(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
