"""Profiles and tags that `$meta-add` and `$meta-delete` change: in a new version of the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Forbidden, Invalid, PreconditionFailed
from ehr_fhir.json_text import parse
from ehr_fhir.patch.json_patch import parse_operations
from ehr_fhir.patch.patch import Patch
from ehr_gateway.http.responses import build_audit_hook, require_writable_type
from ehr_gateway.interactions.patch import patch
from ehr_gateway.interactions.read import read
from ehr_gateway.operations.call import OperationCall

__all__ = ["answer_mark_change", "shown_meta"]

_EXPRESSION = "Parameters.parameter.where(name='meta').value"
_SHOWN = ("profile", "security", "tag")
# Of two changes at once one is made again.
_ATTEMPTS = 5


def answer_mark_change(
    call: OperationCall, meta: Mapping[str, Any], action: Literal["add", "withdraw"]
) -> Response:
    """Change profiles and tags of the record as a patch by the same caller; answer with its Meta.

    Raises Forbidden for security labels: sharing goes by them.
    """
    if "security" in meta:
        raise Forbidden(
            "Only patients put labels on their own records here; an author states theirs in the"
            " record itself."
        )
    require_writable_type(call.resource_type)
    if not meta or not set(meta) <= {"profile", "tag"}:
        raise Invalid("Send a Meta that has `profile` or `tag`.", expression=_EXPRESSION)
    if not all(isinstance(values, list) and values for values in meta.values()):
        raise Invalid("`profile` and `tag` are lists.", expression=_EXPRESSION)
    store, access = call.context.gateway.store, call.context.access
    for _ in range(_ATTEMPTS):
        current = read(store, access, call.resource_type, call.logical_id)
        stored = parse(current.body).get("meta", {})
        changed = _change(stored, meta, action)
        operations = parse_operations([{"op": "add", "path": "/meta", "value": changed}])
        try:
            # Also where nothing changes, so that it is refused to whom it would be refused.
            result = patch(
                store,
                access,
                call.resource_type,
                call.logical_id,
                Patch(json=operations),
                if_match=current.version,
                audit=build_audit_hook(call.audit_context),
            )
        except PreconditionFailed:
            continue
        return call.respond({"name": "return", "valueMeta": shown_meta(parse(result.version.body))})
    raise Conflict("Others change this record at the same time: try again.")


def shown_meta(resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return profiles, tags and security labels of a resource."""
    meta = resource.get("meta", {})
    return {key: meta[key] for key in _SHOWN if key in meta}


def _change(
    stored: Mapping[str, Any], meta: Mapping[str, Any], action: Literal["add", "withdraw"]
) -> dict[str, Any]:
    """Return `meta` with the profiles and tags added, or without them."""
    changed = dict(stored)
    for name, values in meta.items():
        named = [_identity(value) for value in values]
        kept = [one for one in stored.get(name, ()) if _identity(one) not in named]
        if action == "add":
            known = [_identity(one) for one in stored.get(name, ())]
            new = [one for one in values if _identity(one) not in known]
            kept = [*stored.get(name, ()), *new]
        changed[name] = kept
        if not kept:
            del changed[name]
    return changed


def _identity(value: Any) -> Any:  # Any: a canonical, or a Coding as it was sent
    """Return by what two are the same: a tag by system and code (R4 Resource-meta-add)."""
    return (value.get("system"), value.get("code")) if isinstance(value, dict) else value
