"""The International Patient Summary of what one requester may see of a record (HL7 IPS 2.0.0)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import NotFound, TooCostly
from ehr_fhir.ips.compose import Summary, compose_summary
from ehr_fhir.ips.sections import SUMMARY_TYPES, select_records
from ehr_fhir.json_text import parse
from ehr_gateway.access import Access
from ehr_gateway.gateway import Gateway
from ehr_gateway.http.searchset import search_limits
from ehr_gateway.search.record_page import find_supporting, find_whole_record
from ehr_gateway.store.store import Version

__all__ = ["MadeSummary", "make_summary"]

# Records that a summary is made of. Chosen: they are read into memory as a whole.
_MOST_RECORDS = 20_000
_AUTHOR: dict[str, Any] = {
    "resourceType": "Device",
    "id": "ehr-commons",
    "status": "active",
    "deviceName": [{"name": "eHR Commons", "type": "user-friendly-name"}],
}


@dataclass(frozen=True)
class MadeSummary:
    """A document, and the versions of the store that it discloses."""

    document: dict[str, Any]
    disclosed: Sequence[Version]


def make_summary(gateway: Gateway, access: Access, patient: str, language: str) -> MadeSummary:
    """Make the summary of a patient's record as the requester may see it.

    Raises InsufficientScope for a token that covers not all of it, NotFound for a patient whom the
    requester may not see, TooCostly for a record that is too large.
    """
    # A summary without a type for lack of a right would read as one without such a problem.
    access.require_scope("search", *sorted(SUMMARY_TYPES))
    with gateway.store.read_transaction() as connection:
        versions = find_whole_record(
            connection, gateway.store, access, patient, SUMMARY_TYPES, most=_MOST_RECORDS + 1
        )
        if len(versions) > _MOST_RECORDS:
            raise TooCostly(f"A summary is made of {_MOST_RECORDS} records at most.")
        person = next((one for one in versions if (one.type, one.id) == ("Patient", patient)), None)
        if person is None:
            raise NotFound("There is no Patient with this id.")
        listed = _list_shown(versions)
        limits = search_limits(gateway.settings)
        supporting = find_supporting(connection, gateway.store, access, listed, limits)
    document = compose_summary(
        Summary(
            patient=parse(person.body),
            records=tuple(parse(version.body) for version in listed),
            supporting=tuple(parse(version.body) for version in supporting),
            base=gateway.settings.fhir_base,
            language=language,
            at=format_instant(access.now_ms),
            author=_AUTHOR,
        )
    )
    shown = {(one["resource"]["resourceType"], one["resource"]["id"]) for one in document["entry"]}
    disclosed = [one for one in (*versions, *supporting) if (one.type, one.id) in shown]
    return MadeSummary(document, disclosed)


def _list_shown(versions: list[Version]) -> list[Version]:
    """Return the versions that stand in some section."""
    # Quickly, for there are many: what is shown is parsed once more, digit by digit.
    selected = select_records(orjson.loads(version.body) for version in versions)
    keys = {(one["resourceType"], one["id"]) for section in selected.values() for one in section}
    return [version for version in versions if (version.type, version.id) in keys]
