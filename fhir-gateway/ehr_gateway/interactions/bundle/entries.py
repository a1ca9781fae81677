"""Parse and check the entries of a batch or transaction Bundle."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from ehr_fhir import definitions
from ehr_fhir.errors import EhrError, Invalid, Issue, NotFound, TooCostly, Unsupported
from ehr_fhir.patch.patch import Patch, parse_patch_entry
from ehr_gateway.interactions.bundle.entry_urls import relative_url
from ehr_gateway.interactions.bundle.reads import ReadTarget, parse_target
from ehr_gateway.transaction.patching import PatchedDraft
from ehr_gateway.transaction.prepared_resource import Draft

__all__ = [
    "MAX_ENTRIES",
    "READS",
    "Entry",
    "absent_operation",
    "parse_entries",
    "run_for_entry",
]

T = TypeVar("T")

MAX_ENTRIES = 10_000
_METHODS = frozenset({"DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"})
READS = frozenset({"GET", "HEAD"})
_CONDITIONAL_METHODS = frozenset({"DELETE", "PATCH", "PUT"})
_URL = re.compile(r"^([A-Z][A-Za-z]+)(?:/([A-Za-z0-9\-.]{1,64}))?(?:\?(.*))?$")
_ETAG = re.compile(r'^(?:W/)?"?(\d{1,18})"?$')


class Entry(NamedTuple):
    """One request inside a Bundle."""

    path: str
    method: str
    # Empty for a read of every type.
    type: str
    id: str | None = None
    # What a GET or HEAD reads.
    target: ReadTarget | None = None
    # The criteria of a conditional DELETE, PATCH or PUT.
    criteria: str | None = None
    resource: dict[str, Any] | None = None
    full_url: str | None = None
    if_match: int | None = None
    if_none_exist: str | None = None
    # A PUT that may only create (If-None-Match: *).
    only_new: bool = False
    patch: Patch | None = None
    # What is prepared before the transaction.
    draft: Draft | None = None
    patched: PatchedDraft | None = None

    @property
    def is_operation(self) -> bool:
        """Say whether the entry invokes an operation that changes nothing."""
        return self.target is not None and self.target.is_operation

    @property
    def has_undecided_id(self) -> bool:
        """Say whether criteria decide which resource the entry writes."""
        if self.method == "POST":
            return self.if_none_exist is not None
        return self.method == "PUT" and self.id is None

    @property
    def has_conditional_references(self) -> bool:
        """Say whether references remain that only the transaction can resolve."""
        return self.draft is not None and self.draft.has_conditional_references

    @property
    def content(self) -> dict[str, Any]:
        """Return the resource that a POST or PUT must carry."""
        if self.resource is None:
            path = f"{self.path}.resource"
            raise Invalid(f"{path} is required for {self.method}.", expression=path)
        return self.resource


def parse_entries(
    bundle: Mapping[str, Any], most: int = MAX_ENTRIES, base: str = ""
) -> list[Entry | EhrError]:
    """Return each entry of a Bundle, or what is wrong with it, in order.

    Urls may be absolute ones below `base`, this server's address.
    """
    raw = bundle.get("entry", [])
    if not isinstance(raw, list):
        raise Invalid("Bundle.entry must be an array.", expression="Bundle.entry")
    if len(raw) > most:
        raise TooCostly(f"A Bundle may have at most {most} entries.", expression="Bundle.entry")
    entries: list[Entry | EhrError] = []
    for index, item in enumerate(raw):
        try:
            entries.append(_parse_entry(item, f"Bundle.entry[{index}]", base))
        except EhrError as error:
            entries.append(error)
    return entries


def run_for_entry(entry: Entry, act: Callable[[Entry], T]) -> T:
    """Call a function with an entry; errors name the entry's path."""
    try:
        return act(entry)
    except EhrError as error:
        issues = [_add_entry_path(issue, entry) for issue in error.issues]
        raise error.with_issues(issues) from None


def _add_entry_path(issue: Issue, entry: Entry) -> Issue:
    text, path = issue.diagnostics, issue.expression or ""
    if not text.startswith(entry.path):
        text = f"{entry.path}: {text}"
    if path == "resourceType":
        path = f"{entry.path}.resource.resourceType"
    elif path.partition(".")[0] == entry.type:
        # An error about Patient.name is one about Bundle.entry[0].resource.name.
        path = f"{entry.path}.resource{path.removeprefix(entry.type)}"
    elif not path.startswith(entry.path):
        path = entry.path
    return Issue(text, path, issue.code, issue.severity)


def _parse_entry(item: Any, path: str, base: str) -> Entry:
    if not isinstance(item, dict) or not isinstance(item.get("request"), dict):
        raise Invalid(f"{path}.request is required.", expression=f"{path}.request")
    request = item["request"]
    method, url = request.get("method"), request.get("url")
    if isinstance(url, str):
        if "$" in url.partition("?")[0] and method != "GET":
            raise absent_operation(path)
        url = relative_url(url, base)
    if not isinstance(method, str) or method not in _METHODS:
        raise Unsupported(
            f"{path}: DELETE, GET, HEAD, PATCH, POST and PUT are served.",
            expression=f"{path}.request.method",
        )
    if isinstance(url, str) and method in READS:
        target = parse_target(url, request, path)
        if_match = _parse_if_match(request.get("ifMatch"), path)
        return Entry(path, method, target.type or "", target.id, target, if_match=if_match)
    match = _URL.match(url) if isinstance(url, str) else None
    if match is None or match[1] not in definitions.resource_types():
        raise Invalid(
            f"{path}: the url must be of the form Type, Type/id or Type?criteria.",
            expression=f"{path}.request.url",
        )
    resource = item.get("resource")
    if resource is not None and not isinstance(resource, dict):
        raise Invalid(f"{path}.resource must be an object.", expression=f"{path}.resource")
    _check_url_form(path, method, match)
    full_url = item.get("fullUrl")
    criteria = request.get("ifNoneExist")
    return Entry(
        path=path,
        method=method,
        type=match[1],
        id=match[2],
        criteria=match[3] if method in _CONDITIONAL_METHODS else None,
        resource=resource,
        full_url=full_url if isinstance(full_url, str) else None,
        if_match=_parse_if_match(request.get("ifMatch"), path),
        if_none_exist=criteria.partition("?")[2] or criteria if isinstance(criteria, str) else None,
        only_new=method == "PUT" and _parse_if_none_match(request, path),
        patch=_parse_patch(path, resource) if method == "PATCH" else None,
    )


def absent_operation(path: str) -> NotFound:
    """Return the refusal of an operation that a Bundle does not invoke."""
    return NotFound(
        f"{path}: a batch invokes operations that change nothing, by GET; others are called at"
        " their own addresses.",
        expression=f"{path}.request.url",
        issue_code="not-supported",
    )


def _check_url_form(path: str, method: str, match: re.Match[str]) -> None:
    expression = f"{path}.request.url"
    if method in _CONDITIONAL_METHODS and bool(match[2]) == (match[3] is not None):
        text = f"{path}: {method} needs a url of the form Type/id or Type?criteria."
        raise Invalid(text, expression=expression)
    if method == "POST" and (match[2] or match[3] is not None):
        raise Invalid(f"{path}: POST needs a url of the form Type.", expression=expression)


def _parse_patch(path: str, resource: dict[str, Any] | None) -> Patch:
    expression = f"{path}.resource"
    if resource is None:
        raise Invalid(f"{expression} is required for PATCH.", expression=expression)
    try:
        return parse_patch_entry(resource)
    except EhrError as error:
        text, code = f"{path}: {error}", error.issues[0].code
        raise type(error)(text, expression=expression, issue_code=code) from None


def _parse_if_match(value: object, path: str) -> int | None:
    if value is None:
        return None
    match = _ETAG.match(value) if isinstance(value, str) else None
    if match is None:
        raise Invalid(
            f'{path}: ifMatch must have the form W/"3".', expression=f"{path}.request.ifMatch"
        )
    return int(match[1])


def _parse_if_none_match(request: Mapping[str, Any], path: str) -> bool:
    value = request.get("ifNoneMatch")
    if value not in (None, "*"):
        text = f"{path}: the ifNoneMatch of a PUT takes `*` alone: only make, change nothing."
        raise Invalid(text, expression=f"{path}.request.ifNoneMatch")
    return value is not None
