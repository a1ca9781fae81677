"""Parse the URL of a GET or HEAD entry of a Bundle; check its preconditions.

The forms are those of the same URLs over HTTP, relative to the base.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid
from ehr_fhir.search.compartment_filters import COMPARTMENTS
from ehr_fhir.search.query_string import parse_query_pairs

__all__ = ["ReadTarget", "is_not_modified", "parse_target"]

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_VERSION = re.compile(r"\d{1,18}")
_HISTORY = "_history"
_METADATA = "metadata"
# Searched at its own address only.
_AUDIT_EVENT = "AuditEvent"

_PathParts = tuple[str | None, str | None, int | None, bool, tuple[str, str] | None]
# Which operation an address names is not known here.
_NO_PARTS: _PathParts = (None, None, None, False, None)


@dataclass(frozen=True)
class ReadTarget:
    """What an entry reads: a resource, a version, a history, a search, or the capabilities."""

    type: str | None = None
    id: str | None = None
    version: int | None = None
    history: bool = False
    # The type and id of a resource whose compartment is searched.
    within: tuple[str, str] | None = None
    address: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    none_match: str | None = None
    modified_since: int | None = None
    is_metadata: bool = False
    is_operation: bool = False


def parse_target(url: str, request: Mapping[str, Any], path: str) -> ReadTarget:
    """Parse the request of an entry that reads.

    >>> parse_target("Patient/1/_history?_count=2", {}, "Bundle.entry[0]").history
    True
    """
    address, _, query = url.partition("?")
    if address == _METADATA:
        return ReadTarget(address=address, is_metadata=True)
    is_operation = "$" in address
    parts = _NO_PARTS if is_operation else _parse_path(address.split("/") if address else [])
    if parts is None:
        raise Invalid(
            f"{path}: the url of a GET is an address below the base, such as Type, Type/id or"
            " Type?parameters.",
            expression=f"{path}.request.url",
        )
    try:
        pairs = parse_query_pairs(query)
    except ValueError:
        text = f"{path}: the query of the url is not valid percent-encoded UTF-8."
        raise Invalid(text, expression=f"{path}.request.url") from None
    return ReadTarget(
        *parts,
        address=address,
        pairs=tuple(pairs),
        none_match=_text_header(request, "ifNoneMatch", path),
        modified_since=_instant_header(request, path),
        is_operation=is_operation,
    )


def is_not_modified(target: ReadTarget, version: int, last_updated_ms: int) -> bool:
    """Say whether the client has this version; If-None-Match takes precedence over the date."""
    if target.none_match is not None:
        tags = {tag.strip().removeprefix("W/").strip('"') for tag in target.none_match.split(",")}
        return "*" in tags or str(version) in tags
    since = target.modified_since
    return since is not None and last_updated_ms // 1000 <= since // 1000


def _parse_path(steps: list[str]) -> _PathParts | None:
    types = definitions.resource_types()
    if not steps or steps == [_HISTORY]:
        return None, None, None, bool(steps), None
    kind, *rest = steps
    if kind not in types:
        return None
    if rest in ([], [_HISTORY]):
        return kind, None, None, bool(rest), None
    identity, *rest = rest
    if not _ID.fullmatch(identity):
        return None
    if rest in ([], [_HISTORY]):
        return kind, identity, None, bool(rest), None
    if len(rest) == 1 and kind in COMPARTMENTS and rest[0] in types - {_AUDIT_EVENT} | {"*"}:
        return None if rest[0] == "*" else rest[0], None, None, False, (kind, identity)
    if len(rest) == 2 and rest[0] == _HISTORY and _VERSION.fullmatch(rest[1]):
        return kind, identity, int(rest[1]), False, None
    return None


def _text_header(request: Mapping[str, Any], name: str, path: str) -> str | None:
    value = request.get(name)
    if value is None or isinstance(value, str):
        return value
    raise Invalid(f"{path}: {name} must be a string.", expression=f"{path}.request.{name}")


def _instant_header(request: Mapping[str, Any], path: str) -> int | None:
    text = _text_header(request, "ifModifiedSince", path)
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        expression = f"{path}.request.ifModifiedSince"
        raise Invalid(
            f"{path}: ifModifiedSince must be an instant.", expression=expression
        ) from None
