"""A part of a resource: `_summary` and `_elements` (R4 §3.1.1.5.8 and 9), marked SUBSETTED.

The stored JSON is cut, not built anew: digits and unknown properties stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid
from ehr_fhir.json_text import parse, serialize

__all__ = ["SUMMARIES", "Subset", "parse_elements"]

SUMMARIES = ("true", "text", "data", "count", "false")
_TAG = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
}
_ALWAYS = frozenset({"resourceType", "id", "meta"})


@dataclass(frozen=True)
class Subset:
    """A part of each resource: a `_summary` of one kind, or named `_elements`."""

    summary: str | None = None
    elements: frozenset[str] = frozenset()

    def cut(self, body: bytes) -> bytes:
        """Return that part of a resource as JSON.

        >>> Subset(summary="data").cut(b'{"resourceType":"Basic","id":"1","text":{},"x":1.50}')
        b'{"resourceType":"Basic","id":"1","x":1.50,"meta":{"tag":[{"system":\
"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]}}'
        """
        resource = parse(body)
        kind = resource["resourceType"]
        if self.summary == "true":
            found = _summary(kind, resource)
        else:
            found = {key: value for key, value in resource.items() if self._keeps(kind, key)}
        meta = dict(resource.get("meta", {}))
        meta["tag"] = [*(tag for tag in meta.get("tag", ()) if tag != _TAG), _TAG]
        return serialize({**found, "meta": meta})

    def _keeps(self, kind: str, key: str) -> bool:
        if self.summary == "data":
            return key not in ("text", "_text")
        wanted = frozenset({"text"}) if self.summary == "text" else self.elements
        name = _element(kind, key)
        return name in _ALWAYS or name in _required(kind) or name.removesuffix("[x]") in wanted


def parse_elements(resource_type: str, text: str) -> frozenset[str]:
    """Parse `_elements`: names of the type's own elements.

    >>> sorted(parse_elements("Patient", "name,deceased"))
    ['deceased', 'name']
    """
    known = {name.removesuffix("[x]") for name in definitions.elements()[resource_type]}
    names = [name.removeprefix(f"{resource_type}.") for name in text.split(",") if name]
    for name in names:
        if name not in known:
            raise Invalid(f"`_elements`: {resource_type} has no element `{name[:64]}` of its own.")
    return frozenset(names)


def _summary(owner: str, node: Mapping[str, Any]) -> dict[str, Any]:
    wanted = definitions.marked_elements(owner, "isSummary")
    found: dict[str, Any] = {}
    for key, value in node.items():
        name = _element(owner, key)
        if name in _ALWAYS or name in wanted:
            found[key] = _inside(f"{owner}.{name}", value)
    return found


def _inside(owner: str, value: Any) -> Any:  # Any: JSON of every shape
    """Cut a backbone element by its own marks; datatypes stay whole."""
    if not definitions.marked_elements(owner, "isSummary"):
        return value
    if isinstance(value, list):
        return [_inside(owner, item) for item in value]
    return _summary(owner, value) if isinstance(value, dict) else value


@cache
def _required(kind: str) -> frozenset[str]:
    parts = definitions.elements().get(kind, {})
    mandatory = {name for name, (_, least, _) in parts.items() if least}
    return frozenset(mandatory | definitions.marked_elements(kind, "isModifier"))


@lru_cache(maxsize=4096)
def _element(owner: str, key: str) -> str:
    """Return the element a JSON key belongs to: `_birthDate`, `valueQuantity`."""
    key = key.removeprefix("_")
    parts = definitions.elements().get(owner, {})
    for name, (kinds, _, _) in parts.items():
        start = name.removesuffix("[x]")
        if start != name and key in {start + kind[:1].upper() + kind[1:] for kind in kinds}:
            return name
    return key
