"""The entries of a batch or transaction Bundle, taken apart and checked; nothing is done yet."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from ehr_fhir import definitions
from ehr_fhir.errors import EhrError, Invalid, Issue, TooCostly, Unsupported
from ehr_fhir.patch.patch import Patch, parse_patch_entry
from ehr_gateway.interactions.bundle.reads import Target, target_of
from ehr_gateway.transaction.patching import PatchedDraft
from ehr_gateway.transaction.prepared_resource import Draft

__all__ = ["MOST_ENTRIES", "READS", "Entry", "entries_of", "placed"]

T = TypeVar("T")

MOST_ENTRIES = 10_000
_METHODS = frozenset({"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"})
READS = frozenset({"GET", "HEAD"})
_BY_CRITERIA = frozenset({"DELETE", "PATCH", "PUT"})
_URL = re.compile(r"^([A-Z][A-Za-z]+)(?:/([A-Za-z0-9\-.]{1,64}))?(?:\?(.*))?$")
_ETAG = re.compile(r'^(?:W/)?"?(\d{1,18})"?$')


class Entry(NamedTuple):
    """One request inside a Bundle."""

    place: str
    method: str
    # Empty where every type is asked for.
    type: str
    id: str | None = None
    # What a GET or HEAD reads.
    target: Target | None = None
    # What a conditional DELETE, PATCH or PUT names its resource by.
    criteria: str | None = None
    resource: dict[str, Any] | None = None
    full_url: str | None = None
    if_match: int | None = None
    if_none_exist: str | None = None
    # A PUT that only makes, and changes nothing that is there.
    only_new: bool = False
    patch: Patch | None = None
    # What is made ready of it before the transaction.
    draft: Draft | None = None
    ahead: PatchedDraft | None = None

    @property
    def decided_late(self) -> bool:
        """Say whether criteria decide which resource a write is of."""
        if self.method == "POST":
            return self.if_none_exist is not None
        return self.method == "PUT" and self.id is None

    @property
    def waits(self) -> bool:
        """Say whether the resource refers to something that is found inside the transaction."""
        return self.draft is not None and self.draft.waits

    @property
    def content(self) -> dict[str, Any]:
        """Return the resource that a POST or PUT must carry."""
        if self.resource is None:
            place = f"{self.place}.resource"
            raise Invalid(f"{place} is required for {self.method}.", expression=place)
        return self.resource


def entries_of(bundle: Mapping[str, Any], most: int = MOST_ENTRIES) -> list[Entry | EhrError]:
    """Return each entry of a Bundle, or what is wrong with it, in its order."""
    raw = bundle.get("entry", [])
    if not isinstance(raw, list):
        raise Invalid("Bundle.entry must be an array.", expression="Bundle.entry")
    if len(raw) > most:
        raise TooCostly(f"A Bundle may have at most {most} entries.", expression="Bundle.entry")
    found: list[Entry | EhrError] = []
    for index, item in enumerate(raw):
        try:
            found.append(_entry(item, f"Bundle.entry[{index}]"))
        except EhrError as error:
            found.append(error)
    return found


def placed(entry: Entry, act: Callable[[Entry], T]) -> T:
    """Do something with an entry; what goes wrong names the entry."""
    try:
        return act(entry)
    except EhrError as error:
        issues = [_placed(issue, entry) for issue in error.issues]
        raise type(error)(issues[0].diagnostics, issues=issues) from None


def _placed(issue: Issue, entry: Entry) -> Issue:
    text, place = issue.diagnostics, issue.expression or ""
    if not text.startswith(entry.place):
        text = f"{entry.place}: {text}"
    if place == "resourceType":
        place = f"{entry.place}.resource.resourceType"
    elif place.partition(".")[0] == entry.type:
        # What was said of Patient.name is said of Bundle.entry[0].resource.name.
        place = f"{entry.place}.resource{place.removeprefix(entry.type)}"
    elif not place.startswith(entry.place):
        place = entry.place
    return Issue(text, place, issue.code, issue.severity)


def _entry(item: Any, place: str) -> Entry:
    if not isinstance(item, dict) or not isinstance(item.get("request"), dict):
        raise Invalid(f"{place}.request is required.", expression=f"{place}.request")
    request = item["request"]
    method, url = request.get("method"), request.get("url")
    if not isinstance(method, str) or method not in _METHODS:
        raise Unsupported(
            f"{place}: DELETE, GET, HEAD, PATCH, POST and PUT are served.",
            expression=f"{place}.request.method",
        )
    if isinstance(url, str) and method in READS:
        target = target_of(url, request, place)
        if_match = _if_match(request.get("ifMatch"), place)
        return Entry(place, method, target.type or "", target.id, target, if_match=if_match)
    match = _URL.match(url) if isinstance(url, str) else None
    if match is None or match[1] not in definitions.resource_types():
        raise Invalid(
            f"{place}: the url must be of the form Type, Type/id or Type?criteria.",
            expression=f"{place}.request.url",
        )
    resource = item.get("resource")
    if resource is not None and not isinstance(resource, dict):
        raise Invalid(f"{place}.resource must be an object.", expression=f"{place}.resource")
    _check_form(place, method, match)
    full_url = item.get("fullUrl")
    criteria = request.get("ifNoneExist")
    return Entry(
        place=place,
        method=method,
        type=match[1],
        id=match[2],
        criteria=match[3] if method in _BY_CRITERIA else None,
        resource=resource,
        full_url=full_url if isinstance(full_url, str) else None,
        if_match=_if_match(request.get("ifMatch"), place),
        if_none_exist=criteria.partition("?")[2] or criteria if isinstance(criteria, str) else None,
        only_new=method == "PUT" and _only_new(request, place),
        patch=_patch(place, resource) if method == "PATCH" else None,
    )


def _check_form(place: str, method: str, match: re.Match[str]) -> None:
    expression = f"{place}.request.url"
    if method in _BY_CRITERIA and bool(match[2]) == (match[3] is not None):
        text = f"{place}: {method} needs a url of the form Type/id or Type?criteria."
        raise Invalid(text, expression=expression)
    if method == "POST" and (match[2] or match[3] is not None):
        raise Invalid(f"{place}: POST needs a url of the form Type.", expression=expression)


def _patch(place: str, resource: dict[str, Any] | None) -> Patch:
    expression = f"{place}.resource"
    if resource is None:
        raise Invalid(f"{expression} is required for PATCH.", expression=expression)
    try:
        return parse_patch_entry(resource)
    except EhrError as error:
        text, code = f"{place}: {error}", error.issues[0].code
        raise type(error)(text, expression=expression, issue_code=code) from None


def _if_match(value: object, place: str) -> int | None:
    if value is None:
        return None
    match = _ETAG.match(value) if isinstance(value, str) else None
    if match is None:
        raise Invalid(
            f'{place}: ifMatch must have the form W/"3".', expression=f"{place}.request.ifMatch"
        )
    return int(match[1])


def _only_new(request: Mapping[str, Any], place: str) -> bool:
    value = request.get("ifNoneMatch")
    if value not in (None, "*"):
        text = f"{place}: the ifNoneMatch of a PUT takes `*` alone: only make, change nothing."
        raise Invalid(text, expression=f"{place}.request.ifNoneMatch")
    return value is not None
