"""Notices as messages in the reader's language; both English and Chinese where none is known."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

from ehr_fhir.json_text import parse
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.database import Connection, Row
from ehr_gateway.notices.one_time_codes import compute_code
from ehr_gateway.store.stored_facts import read_current_body

__all__ = ["LANGUAGES", "Message", "Reader", "build_message", "describe_notice", "find_reader"]

LANGUAGES = tuple(language.tag for language in JURISDICTION.languages)
# Of a reader whose language is not known: the first two, the default one last.
_BOTH = LANGUAGES[1::-1]


@dataclass(frozen=True)
class Message:
    """A notice as text, ready for a channel."""

    id: str
    email: str | None
    subject: str
    text: str


@dataclass(frozen=True)
class Reader:
    """Where and in which language somebody is notified."""

    language: str | None
    email: str | None
    each_access: bool = False


@cache
def load_texts() -> Mapping[str, Mapping[str, str]]:
    """Return every text of the notices by key and language."""
    return tomllib.loads(
        resources.files("ehr_gateway").joinpath("notices/texts.toml").read_text("utf-8")
    )


def build_message(connection: Connection, notice: Row, *, secret: str, address: str) -> Message:
    """Build the message of a notice."""
    reader = find_reader(connection, notice["reader"])
    languages = [reader.language] if reader.language in LANGUAGES else _BOTH
    parts = []
    for language in languages:
        lines = [describe_notice(connection, notice, str(language), secret=secret)]
        if not notice["reader"].startswith("Patient/"):
            lines.append(load_texts()["about"][str(language)])
        lines.append(load_texts()["closing"][str(language)].format(address=address))
        parts.append("\n".join(lines))
    subject = " · ".join(load_texts()["subject"][str(language)] for language in languages)
    return Message(notice["id"], reader.email, subject, "\n\n".join(parts) + "\n")


def describe_notice(connection: Connection, notice: Row, language: str, *, secret: str) -> str:
    """Return the content of a notice as a sentence in one language."""
    values = {
        "person": notice["person"],
        "organization": _organization_name(connection, notice["organization"], language),
        "until": _format_local_time(notice["until_ms"]),
        "at": _format_local_time(notice["made_ms"]),
        "code": compute_code(secret, notice["request"]) if notice["kind"] == "access-code" else "",
    }
    return load_texts()[notice["kind"]][language].format(**values)


def find_reader(connection: Connection, reader: str) -> Reader:
    """Return a reader's preferences; for a patient, their record fills what they did not choose."""
    row = connection.execute(
        "SELECT language, email, each_access FROM notice_preference WHERE reader = ?", (reader,)
    ).fetchone()
    preferences = Reader(row[0], row[1], bool(row[2])) if row else Reader(None, None)
    kind, _, identity = reader.partition("/")
    if kind != "Patient" or (preferences.language and preferences.email):
        return preferences
    patient = _read_body(connection, "Patient", identity)
    return Reader(
        preferences.language or _spoken_language(patient),
        preferences.email or _email_address(patient),
        preferences.each_access,
    )


def _spoken_language(patient: Mapping[str, Any]) -> str | None:
    spoken = sorted(
        patient.get("communication", ()),
        key=lambda communication: not communication.get("preferred"),
    )
    for communication in spoken:
        for coding in communication.get("language", {}).get("coding", ()):
            # In a record of this place a bare `zh` is written as the place writes it.
            tag = f"{coding.get('code', '')}-{JURISDICTION.country}"
            if match := JURISDICTION.match_language(tag):
                return match.tag
    return None


def _email_address(patient: Mapping[str, Any]) -> str | None:
    telecoms: Sequence[Mapping[str, Any]] = patient.get("telecom", ())
    addresses = (way.get("value") for way in telecoms if way.get("system") == "email")
    return next((str(address) for address in addresses if address), None)


def _organization_name(connection: Connection, identity: str | None, language: str) -> str:
    if identity is None:
        return load_texts()["nowhere"][language]
    body = _read_body(connection, "Organization", identity)
    extensions = body.get("_name", {}).get("extension", ())
    translated = [
        part.get("valueString")
        for extension in extensions
        for part in extension.get("extension", ())
        if part.get("url") == "content"
    ]
    names = [str(name) for name in (body.get("name"), *body.get("alias", ()), *translated) if name]
    chinese = [name for name in names if any("㐀" <= letter <= "鿿" for letter in name)]
    wanted = [name for name in names if name not in chinese] if language == "en" else chinese
    return next(iter(wanted or names), identity)


def _read_body(connection: Connection, kind: str, identity: str) -> Mapping[str, Any]:
    body = read_current_body(connection, kind, identity)
    return parse(body) if body is not None else {}


def _format_local_time(ms: int | None) -> str:
    if ms is None:
        return "-"
    return f"{datetime.fromtimestamp(ms / 1000, UTC).astimezone(JURISDICTION.zone):%Y-%m-%d %H:%M}"
