"""HL7's R4 examples, what they refer to beyond themselves, and the searches that must find them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import asin, atan2, degrees
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ehr_fhir.dates import BEGINNING, END, format_instant
from ehr_fhir.index.rows import IndexRow, extract_rows
from ehr_fhir.json_text import parse
from ehr_fhir.references import local_target
from ehr_fhir.resource_links import list_references
from ehr_fhir.search_parameters import parameters_of
from ehr_fhir.units import CANONICAL_SYSTEM
from tests.lib.gateway import consent
from tests.lib.minimal import minimal

# The server alone writes the audit log, and serves no subscriptions.
REFUSED = {"AuditEvent": 405, "OperationDefinition": 422, "Subscription": 422}
# Examples that break R4's own rules, by their address, and the element that does.
INVALID = {
    # txt-2: white space alone.
    "ActivityDefinition/blood-tubes-supply": "ActivityDefinition.text.div",
    "EventDefinition/example": "EventDefinition.text.div",
    # It names a DeviceDefinition, and R4 has Reference(Device).
    "DeviceMetric/example": "DeviceMetric.parent.reference",
}


@dataclass(frozen=True)
class Example:
    """One file."""

    name: str
    body: bytes
    content: dict[str, Any]

    @property
    def address(self) -> str:
        """Where the resource stands."""
        return f"{self.content['resourceType']}/{self.content['id']}"


def examples(shared_data: Path) -> list[Example]:
    """Read all files; of those with one address the last by name stays, as it does in a store."""
    found: dict[str, Example] = {}
    for path in sorted((shared_data / "fhir-r4" / "examples").glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".json"):
                    body = archive.read(name)
                    one = Example(name, body, parse(body))
                    found[one.address] = one
    return list(found.values())


def surroundings(files: list[Example]) -> list[tuple[str, bytes]]:
    """Return the least of what the examples refer to, and the joining of every patient."""
    here = {one.address for one in files}
    named = {str(found) for one in files for found in _targets(one.content)}
    beyond = [minimal(*address.split("/")) for address in sorted(named - here)]
    patients = sorted(one for one in here | named if one.startswith("Patient/"))
    joining = [
        consent(f"joining-{number}", "joining", patient=one.removeprefix("Patient/"))
        for number, one in enumerate(patients)
    ]
    return [
        (f"{one['resourceType']}/{one['id']}", json.dumps(one).encode())
        for one in (*beyond, *joining)
    ]


def transaction(resources: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a Bundle that puts resources, given by address and bytes, all or none."""
    entries = (
        b'{"resource":%b,"request":{"method":"PUT","url":"%b"}}' % (body, address.encode())
        for address, body in resources
    )
    start = b'{"resourceType":"Bundle","type":"transaction","entry":['
    return start + b",".join(entries) + b"]}"


def digits(body: bytes) -> Any:
    """Return JSON with its numbers as they are written, without what the server adds."""
    content = json.loads(body, parse_float=str, parse_int=str)
    meta = content.get("meta", {})
    for name in ("versionId", "lastUpdated", "source"):
        meta.pop(name, None)
    if not meta:
        content.pop("meta", None)
    return content


def searches(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield (parameter, kind of value) and a search by it, for each value of a resource."""
    for row in extract_rows(content):
        # What a contained resource tells is found by chains alone.
        if row.contained_type:
            continue
        if asked := _asked(content["resourceType"], row):
            yield (row.code, row.kind), asked


def _targets(content: Mapping[str, Any]) -> Iterator[object]:
    for _, reference in list_references(content):
        if found := local_target(reference):
            yield found


def _asked(kind: str, row: IndexRow) -> str | None:
    # A token has words beside it, and a reference an identifier.
    own = parameters_of(kind)[row.code].type
    # Without the mark of a key that is folded (`ehr_fhir.token_keys`).
    plain = [one.removeprefix("\ufdd1") if isinstance(one, str) else one for one in row.values]
    name, values = row.code, [_escaped(value) for value in plain]
    if row.kind == "token":
        system, code = values[:2]
        if "|" in str(row.values[0]):
            of = "|".join(_escaped(part) for part in str(row.values[0]).rsplit("|", 1))
            return _pair(f"{name}:of-type", f"{of}|{code}")
        modifier = "" if own == "token" else ":identifier"
        return _pair(name + modifier, f"{system}|{code}" if system else code)
    if row.kind == "string":
        return _pair(name + (":exact" if own == "string" else ":text"), values[1])
    # Neither a place inside the resource nor the mark of an element that is there is searched for.
    if row.kind == "reference" and (str(row.values[1]).startswith("#") or not row.values[1]):
        return None
    if row.kind == "reference":
        return _pair(name, f"{values[0]}/{values[1]}" if values[0] else values[1])
    if row.kind == "uri":
        return _pair(name, values[0])
    if row.kind == "date":
        low, high = row.values[:2]
        return _pair(
            name,
            f"le{format_instant(high - 1)}" if low == BEGINNING else f"ge{format_instant(low)}",
        )
    if row.kind == "position":
        x, y, z = row.values[:3]
        return _pair(name, f"{degrees(asin(z))}|{degrees(atan2(y, x))}|1|km")
    return _number(row)


def _number(row: IndexRow) -> str | None:
    low, high, *unit = row.values
    asked = f"le{high!r}" if low == BEGINNING else f"{'ge' if high != low else ''}{low!r}"
    if low == BEGINNING and high == END:
        return None
    if row.kind == "quantity":
        system, code, text = unit[:3]
        if system == CANONICAL_SYSTEM:
            return None  # found by the unit as it is written, in the row before
        asked += f"|{_escaped(system)}|{_escaped(code)}" if system and code else ""
        asked += f"||{_escaped(code or text)}" if not (system and code) and (code or text) else ""
    return _pair(row.code, asked)


def _pair(name: str, value: str) -> str:
    return f"{name}={quote(value, safe='')}"


def _escaped(value: object) -> str:
    text = str(value)
    for special in "\\,|$":
        text = text.replace(special, f"\\{special}")
    return text
