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
from ehr_gateway.notices.one_time_codes import code_of

__all__ = ["LANGUAGES", "Message", "Reader", "message", "reader_of", "sentence"]

LANGUAGES = tuple(language.tag for language in JURISDICTION.languages)
# Of a reader whose language is not known: the first two, the default one last.
_BOTH = LANGUAGES[1::-1]


@dataclass(frozen=True)
class Message:
    """What a channel delivers."""

    id: str
    email: str | None
    subject: str
    text: str


@dataclass(frozen=True)
class Reader:
    """Where and in which language someone is told."""

    language: str | None
    email: str | None
    each_access: bool = False


@cache
def texts() -> Mapping[str, Mapping[str, str]]:
    """Return every text of the notices by key and language."""
    return tomllib.loads(
        resources.files("ehr_gateway").joinpath("notices/texts.toml").read_text("utf-8")
    )


def message(connection: Connection, notice: Row, *, secret: str, address: str) -> Message:
    """Write the message of a notice."""
    reader = reader_of(connection, notice["reader"])
    languages = [reader.language] if reader.language in LANGUAGES else _BOTH
    parts = []
    for language in languages:
        lines = [sentence(connection, notice, str(language), secret=secret)]
        if not notice["reader"].startswith("Patient/"):
            lines.append(texts()["about"][str(language)])
        lines.append(texts()["closing"][str(language)].format(address=address))
        parts.append("\n".join(lines))
    subject = " · ".join(texts()["subject"][str(language)] for language in languages)
    return Message(notice["id"], reader.email, subject, "\n\n".join(parts) + "\n")


def sentence(connection: Connection, notice: Row, language: str, *, secret: str) -> str:
    """Say in one language what a notice tells."""
    values = {
        "person": notice["person"],
        "organization": _organization(connection, notice["organization"], language),
        "until": _moment(notice["until_ms"]),
        "at": _moment(notice["made_ms"]),
        "code": code_of(secret, notice["request"]) if notice["kind"] == "access-code" else "",
    }
    return texts()[notice["kind"]][language].format(**values)


def reader_of(connection: Connection, reader: str) -> Reader:
    """Return what a reader chose; a patient's own record says the rest."""
    row = connection.execute(
        "SELECT language, email, each_access FROM notice_preference WHERE reader = ?", (reader,)
    ).fetchone()
    chosen = Reader(row[0], row[1], bool(row[2])) if row else Reader(None, None)
    kind, _, identity = reader.partition("/")
    if kind != "Patient" or (chosen.language and chosen.email):
        return chosen
    patient = _body(connection, "Patient", identity)
    return Reader(
        chosen.language or _language(patient), chosen.email or _email(patient), chosen.each_access
    )


def _language(patient: Mapping[str, Any]) -> str | None:
    spoken = sorted(patient.get("communication", ()), key=lambda one: not one.get("preferred"))
    for one in spoken:
        for coding in one.get("language", {}).get("coding", ()):
            # In a record of this place a bare `zh` is written as the place writes it.
            tag = f"{coding.get('code', '')}-{JURISDICTION.country}"
            if language := JURISDICTION.match_language(tag):
                return language.tag
    return None


def _email(patient: Mapping[str, Any]) -> str | None:
    ways: Sequence[Mapping[str, Any]] = patient.get("telecom", ())
    found = (way.get("value") for way in ways if way.get("system") == "email")
    return next((str(one) for one in found if one), None)


def _organization(connection: Connection, identity: str | None, language: str) -> str:
    if identity is None:
        return texts()["nowhere"][language]
    body = _body(connection, "Organization", identity)
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


def _body(connection: Connection, kind: str, identity: str) -> Mapping[str, Any]:
    row = connection.execute(
        "SELECT body FROM resource WHERE type = ? AND id = ? AND current = 1 AND deleted = 0",
        (kind, identity),
    ).fetchone()
    return parse(row[0]) if row else {}


def _moment(ms: int | None) -> str:
    if ms is None:
        return "-"
    return f"{datetime.fromtimestamp(ms / 1000, UTC).astimezone(JURISDICTION.zone):%Y-%m-%d %H:%M}"
