"""The parameters that `$everything` takes of a patient and of an encounter."""

from __future__ import annotations

from collections.abc import Iterable

from ehr_fhir import definitions
from ehr_fhir.dates import date_interval, datetime_interval
from ehr_fhir.errors import Invalid
from ehr_fhir.search.query import DEFAULT_COUNT, MAX_COUNT
from ehr_gateway.operations.declaration import Parameter
from ehr_gateway.search.record_page import RecordQuery

__all__ = ["PAGING", "parse_day", "parse_once", "parse_record_query"]

PAGING = (
    Parameter("_since", "instant", "Only what was changed at this instant or later"),
    Parameter("_type", "code", "Only these types, with commas between them", 0, "*"),
    Parameter("_count", "integer", f"Records of a page: {DEFAULT_COUNT}, at most {MAX_COUNT}"),
    Parameter("_cursor", "string", "Where the page begins, of a link `next`"),
)


def parse_record_query(owner: tuple[str, str], pairs: Iterable[tuple[str, str]]) -> RecordQuery:
    """Read what of a record is asked for; Invalid with the name of the parameter at fault."""
    sent: dict[str, str] = {}
    types: set[str] | None = None
    kept = []
    for name, text in pairs:
        if name == "_type":
            types = (types or set()) | _parse_types(text)
        elif name in sent:
            raise Invalid(f"`{name}` is given once.", expression=name)
        sent[name] = text
        if name != "_cursor":
            kept.append((name, text))
    return RecordQuery(
        owner,
        tuple(kept),
        types=None if types is None else frozenset(types),
        since_ms=_parse_instant("_since", sent["_since"]) if "_since" in sent else None,
        care_from_ms=parse_day("start", sent["start"])[0] if "start" in sent else None,
        care_before_ms=parse_day("end", sent["end"])[1] if "end" in sent else None,
        count=_parse_count(sent["_count"]) if "_count" in sent else DEFAULT_COUNT,
        cursor=sent.get("_cursor"),
    )


def parse_once(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return parameters that are each given once, by name."""
    sent: dict[str, str] = {}
    for name, text in pairs:
        if name in sent:
            raise Invalid(f"`{name}` is given once.", expression=name)
        sent[name] = text
    return sent


def _parse_types(text: str) -> set[str]:
    names = {name.strip() for name in text.split(",")}
    if not names <= definitions.resource_types() - {"AuditEvent"}:
        raise Invalid("`_type` names types of records of FHIR R4.", expression="_type")
    return names


def _parse_instant(name: str, text: str) -> int:
    try:
        return datetime_interval(text)[0]
    except Invalid as error:
        raise Invalid(f"`{name}` is a date, or a time with its zone.", expression=name) from error


def parse_day(name: str, text: str) -> tuple[int, int]:
    """Return the first instant of a date and the first one after it, at the place of care."""
    try:
        return date_interval(text)
    except Invalid as error:
        raise Invalid(f"`{name}` is a date, such as 2026-11.", expression=name) from error


def _parse_count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) < 1:
        raise Invalid("`_count` is a whole number from 1 on.", expression="_count")
    return min(int(text), MAX_COUNT)
