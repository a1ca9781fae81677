"""History of a patient's choices: every version of their Consents, and who made it.

Who made a version is in the audit log, since a Consent that a patient writes names nobody. A choice
at the counter is one that a steward wrote down; a code is one that the patient, or who decides for
them, told a clinician.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ehr_fhir.json_text import parse
from ehr_gateway.access import Access
from ehr_gateway.database import Connection, Row
from ehr_privacy.consent.clinical_consents import CATEGORY

__all__ = ["Choice", "list_choices"]

MadeBy = Literal["self", "carer", "counter", "code", "platform"]

# Of a Consent: what a patient chooses. An emergency and a hold are others' doing.
CHOSEN_CATEGORIES = ("joining", "sharing", "restriction", "research", "step-up", "carer")
# What these gave ends for good: a later version of the Consent gives it to nobody again.
FINAL_CATEGORIES = frozenset({"step-up", "carer"})
NOTICES = "notices"
# Chosen: more versions than anybody reads through.
_MOST_VERSIONS = 500
# A version is dated with its request, or with the newest version where that is younger by a moment.
_CLOCK_SLACK_MS = 1000
_MADE_BY: Mapping[str, MadeBy] = {
    "patient": "self",
    "carer": "carer",
    "steward": "counter",
    "clinician": "code",
}
_WRITERS = (
    "SELECT at_ms, login, role, display, entities FROM audit WHERE patient = :patient"
    " AND at_ms BETWEEN :first AND :last AND outcome = '0' AND interaction IN"
    " ('create', 'update', 'patch', 'delete', 'transaction', 'batch', 'operation')"
    " ORDER BY at_ms DESC, seq DESC"
)
_NOTICE_CHOICES = (
    "SELECT at_ms, role, display FROM audit WHERE patient = :patient AND outcome = '0'"
    " AND interaction = 'operation' AND query = '$notice-preference'"
    " ORDER BY at_ms DESC, seq DESC LIMIT :most"
)


@dataclass(frozen=True)
class Choice:
    """One choice: a version of a Consent, or of how notices are sent."""

    category: str
    at_ms: int
    made_by: MadeBy
    # The display name of who made it.
    display: str
    # The Consent's id and version, its content (none of a deleted one); none for notices.
    consent: str = ""
    version: int = 0
    resource: Mapping[str, Any] | None = None
    is_newest: bool = False
    # What it gave does not come back once it ended.
    is_final: bool = False
    # When that ended, by whatever event.
    ended_ms: int | None = None


@dataclass(frozen=True)
class _ConsentVersion:
    """A stored version of a Consent, with its content; a deleted one has none."""

    id: str
    number: int
    at_ms: int
    resource: Mapping[str, Any] | None
    # Of the codes that this server knows, the first.
    category: str | None

    @classmethod
    def from_row(cls, row: Row) -> _ConsentVersion:
        """Build it from a row of `resource`, whose body is parsed once."""
        resource = None if row["deleted"] else parse(row["body"])
        category = None if resource is None else _find_category(resource)
        return cls(row["id"], row["version"], row["last_updated"], resource, category)

    @property
    def is_request(self) -> bool:
        """Whether it only asks for a choice, as a clinician's request for access does."""
        return self.resource is not None and self.resource.get("status") == "proposed"


def list_choices(connection: Connection, access: Access, patient: str) -> list[Choice]:
    """Return a patient's choices, newest first, as far as the reader may see the Consents."""
    versions = _select_versions(connection, access, patient)
    # A deleted version does not say its category; the others of its Consent do.
    categories = {
        version.id: version.category for version in versions if version.category is not None
    }
    newest = {version.id: version.number for version in reversed(versions)}
    endings = _find_endings(connection, patient)
    choices = [
        _build_choice(connection, patient, version, categories[version.id], newest, endings)
        for version in versions
        if categories.get(version.id) in CHOSEN_CATEGORIES and not version.is_request
    ]
    choices += [
        Choice(NOTICES, row["at_ms"], _MADE_BY.get(row["role"], "platform"), row["display"])
        for row in connection.execute(
            _NOTICE_CHOICES, {"patient": patient, "most": _MOST_VERSIONS}
        ).fetchall()
    ]
    return sorted(choices, key=lambda choice: (choice.at_ms, choice.version), reverse=True)


def _select_versions(connection: Connection, access: Access, patient: str) -> list[_ConsentVersion]:
    """Return versions whose own facts and whose current version's permit reading, newest first."""
    visible, current = access.read_predicate, access.later_version_predicate("read")
    rows = connection.execute(
        "SELECT r.id, r.version, r.deleted, r.last_updated, r.body FROM resource r"  # noqa: S608
        " JOIN resource later ON later.type = 'Consent' AND later.id = r.id AND later.current = 1"
        " JOIN record_patient p ON p.pk = later.pk"
        f" WHERE r.type = 'Consent' AND p.patient = :patient AND ({visible.sql})"
        f" AND ({current.sql}) ORDER BY r.position DESC LIMIT :most",
        {"patient": patient, "most": _MOST_VERSIONS, **visible.params, **current.params},
    )
    return [_ConsentVersion.from_row(row) for row in rows]


def _find_category(consent: Mapping[str, Any]) -> str | None:
    codes = [
        coding.get("code")
        for concept in consent.get("category", ())
        for coding in concept.get("coding", ())
        if coding.get("system") == CATEGORY
    ]
    return str(codes[0]) if codes else None


def _build_choice(
    connection: Connection,
    patient: str,
    version: _ConsentVersion,
    category: str,
    newest: Mapping[str, int],
    endings: Mapping[str, int],
) -> Choice:
    writer = _find_writer(connection, patient, version)
    is_newest = newest[version.id] == version.number
    return Choice(
        category=category,
        at_ms=version.at_ms,
        made_by=_MADE_BY.get(writer["role"], "platform") if writer else "platform",
        display=str(writer["display"]) if writer else "",
        consent=version.id,
        version=version.number,
        resource=version.resource,
        is_newest=is_newest,
        is_final=category in FINAL_CATEGORIES,
        ended_ms=endings.get(version.id) if is_newest else None,
    )


def _find_writer(connection: Connection, patient: str, version: _ConsentVersion) -> Row | None:
    """Return the audit row of the request that wrote a version, None where there is none."""
    at_ms = version.at_ms
    candidates = connection.execute(
        _WRITERS, {"patient": patient, "first": at_ms - _CLOCK_SLACK_MS, "last": at_ms}
    ).fetchall()
    name = f'"Consent/{version.id}"'
    # A step, such as an approval, names the patient alone.
    steps = [writer for writer in candidates if writer["entities"] == "[]"]
    named = [writer for writer in candidates if name in writer["entities"]]
    return next(iter(named or steps), None)


def _find_endings(connection: Connection, patient: str) -> dict[str, int]:
    rows: Iterable[Row] = connection.execute(
        "SELECT consent, MIN(ended_ms) AS ended_ms FROM consent_opening WHERE patient = ?"
        " AND ended_ms IS NOT NULL GROUP BY consent",
        (patient,),
    ).fetchall()
    return {row["consent"]: row["ended_ms"] for row in rows}
