"""A patch of either kind that R4 §3.1.0.6 names: read from what was sent, applied to a resource."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ehr_fhir.errors import Invalid, Unprocessable
from ehr_fhir.json_text import check_depth, parse
from ehr_fhir.patch import fhirpath_patch, json_patch
from ehr_fhir.patch.fhirpath_patch import PathOperation
from ehr_fhir.patch.json_patch import Operation

__all__ = ["JSON_PATCH", "Patch", "parse_patch_body", "parse_patch_entry"]

JSON_PATCH = "application/json-patch+json"


@dataclass(frozen=True)
class Patch:
    """The operations of one patch: JSON Patch or FHIRPath Patch."""

    json: tuple[Operation, ...] = ()
    fhirpath: tuple[PathOperation, ...] = ()

    def apply(self, resource: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        """Return the resource after the patch; its type and id stay."""
        changed = json_patch.apply_json_patch(resource, self.json)
        _check_nothing_empty_is_written(str(resource["resourceType"]), self.json, changed)
        if self.fhirpath:
            changed = fhirpath_patch.apply_fhirpath_patch(changed, self.fhirpath, now)
        check_depth(changed)
        kind = str(resource["resourceType"])
        if not isinstance(changed, dict) or changed.get("resourceType") != kind:
            text = "A patch may not change what type of resource this is."
            raise Unprocessable(text, expression=kind)
        if changed.get("id") != resource.get("id"):
            raise Unprocessable("A patch may not change the id.", expression=f"{kind}.id")
        kept = _pruned(changed)
        return kept if isinstance(kept, dict) else {}


def parse_patch_body(body: bytes, content_type: str) -> Patch:
    """Read the body of a PATCH: JSON Patch by its own media type, else a Parameters resource."""
    if content_type == JSON_PATCH:
        return Patch(json=json_patch.parse_json_patch(body))
    return Patch(fhirpath=fhirpath_patch.parse_fhirpath_patch(parse(body)))


def parse_patch_entry(resource: Mapping[str, Any]) -> Patch:
    """Read a Bundle entry's patch: a Binary that holds a JSON Patch, or Parameters."""
    if resource.get("resourceType") == "Parameters":
        return Patch(fhirpath=fhirpath_patch.parse_fhirpath_patch(resource))
    if resource.get("resourceType") != "Binary" or resource.get("contentType") != JSON_PATCH:
        raise Invalid(f"PATCH takes a Parameters resource, or a Binary of type {JSON_PATCH}.")
    data: Any = resource.get("data")
    try:
        return Patch(json=json_patch.parse_json_patch(b64decode(data, validate=True)))
    except (TypeError, ValueError, Error):
        raise Invalid("The Binary's data is not base64.", expression="Binary.data") from None


_GONE = object()


def _check_nothing_empty_is_written(
    kind: str, operations: Sequence[Operation], changed: Any
) -> None:
    """Refuse a value that is empty or has something empty inside.

    A bare `[]` or `{}` may be written when later operations fill it.
    """
    for operation in operations:
        if operation.op not in ("add", "replace"):
            continue
        value = operation.value
        if value in ([], {}):
            value = _value_at(changed, operation.path)
            is_empty = value in ([], {})
        else:
            is_empty = _pruned(value) != value
        if is_empty:
            steps = [step for step in operation.path if step != "-"]
            place = kind + "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in steps)
            raise Unprocessable(f"{place} must not be empty.", expression=place)


def _value_at(node: Any, path: Sequence[str]) -> Any:
    """Return what a JSON Pointer leads to, None where it leads nowhere; `-` is the last item."""
    for step in path:
        if isinstance(node, dict):
            node = node.get(step)
        elif isinstance(node, list) and (step == "-" or step.isdecimal()):
            at = len(node) - 1 if step == "-" else int(step)
            node = node[at] if 0 <= at < len(node) else None
        else:
            return None
    return node


# FHIR's JSON knows no empty object and no empty array (R4 §2.6.2): what a patch left empty is gone.
def _pruned(node: Any, key: str = "") -> Any:
    if isinstance(node, dict):
        pairs = ((name, _pruned(value, name)) for name, value in node.items())
        return {name: value for name, value in pairs if value is not _GONE} or _GONE
    if not isinstance(node, list):
        return node
    items = [_pruned(value) for value in node]
    if key.startswith("_"):
        # Its items stand beside those of an array of primitives: a place must stay a place.
        items = [None if item is _GONE else item for item in items]
    items = [item for item in items if item is not _GONE]
    return items if any(item is not None for item in items) else _GONE
