"""Prepare the resources of a unit in a worker process and write them to its spool file."""

from __future__ import annotations

import gc
import hashlib
import pickle
from collections import ChainMap
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ehr_fhir.dates import datetime_interval
from ehr_fhir.errors import EhrError, Unprocessable
from ehr_fhir.index.full_text import FullText
from ehr_fhir.json_text import MAX_LINE_BYTES
from ehr_fhir.references import (
    EntryNames,
    local_target,
    service_root,
    split_conditional_reference,
)
from ehr_fhir.resource_links import replace_links, replace_references
from ehr_gateway.child_process import end_with_parent
from ehr_gateway.store.index_rows import IndexValues, group_by_table
from ehr_gateway.transaction.integrity import reference_fault
from ehr_gateway.transaction.prepared_resource import (
    PreparedResource,
    prepare_resource,
    source_author,
)
from ehr_inbound.bulk_files.files import LoadReject, Unit
from ehr_inbound.bulk_files.items import Item, read_items
from ehr_inbound.bulk_files.resolve_references import ResolvedReferences
from ehr_privacy.consent import Record, RuleRow
from ehr_privacy.consent.inherited_facts import FactTargets

__all__ = [
    "LoadCandidate",
    "LoadPlan",
    "LoadRow",
    "UnitResult",
    "prepare_unit",
    "read_candidates",
    "read_rows",
    "start_worker",
]


@dataclass(frozen=True)
class LoadPlan:
    """What every worker needs to know of a load."""

    resolved: ResolvedReferences
    parameter_ids: Mapping[tuple[str, str], int]
    organization: str
    # The `meta.source` of resources that name none; empty for none.
    source: str = ""


@dataclass(frozen=True)
class LoadCandidate:
    """A valid resource, to be loaded if all that it refers to is loaded or stored."""

    line: int
    type: str
    id: str
    # (type, id) of each resource it refers to.
    targets: frozenset[tuple[str, str]]
    # Of author and content: the same for a resource that stands in the load twice.
    digest: bytes
    # What its source said of its version: when, and the number; None where it said nothing.
    updated_ms: int | None = None
    version: int | None = None


@dataclass(frozen=True)
class LoadRow:
    """A prepared resource in the spool: all that is stored of it except version and time."""

    record: Record
    meta: bytes
    content: bytes
    index: IndexValues
    words: FullText
    rules: tuple[RuleRow, ...]
    # The resources that it inherits facts from.
    fact_targets: FactTargets
    # Of author and content, to tell in the next load whether the resource has changed.
    digest: bytes


@dataclass(frozen=True)
class UnitResult:
    """The result of a unit; its spool file holds the candidates and their rows in that order.

    `existing` counts entries whose `ifNoneExist` matches in the store.
    """

    candidates: tuple[LoadCandidate, ...]
    rejects: tuple[LoadReject, ...]
    existing: int


def start_worker() -> None:
    """Set up a worker process."""
    end_with_parent()
    # Objects are created and dropped by the thousand and hold no cycles: garbage collection only
    # costs time.
    gc.disable()


def prepare_unit(unit: Unit, spool: Path, plan: Path) -> UnitResult:
    """Validate and prepare the resources of a unit, each by itself; write them to the spool."""
    load_plan = _read_plan(plan)
    resolved = load_plan.resolved
    candidates: list[LoadCandidate] = []
    rows: list[LoadRow] = []
    rejects: list[LoadReject] = []
    existing = 0
    for item in read_items(unit):
        if isinstance(item, LoadReject):
            rejects.append(item)
        elif item.full_url in resolved.existing:
            existing += 1
        else:
            try:
                prepared = _prepare_item(item, load_plan)
            except EhrError as error:
                rejects.append(_reject_item(unit, item, error))
            else:
                rows.append(_load_row(prepared, load_plan.parameter_ids))
                candidates.append(_load_candidate(item, prepared, rows[-1].digest))
    with spool.open("wb") as out:
        pickle.dump(candidates, out, pickle.HIGHEST_PROTOCOL)
        pickle.dump(rows, out, pickle.HIGHEST_PROTOCOL)
    return UnitResult(tuple(candidates), tuple(rejects), existing)


def read_candidates(spool: Path) -> list[LoadCandidate]:
    """Read the candidates of a unit from its spool file."""
    # Unpickling is safe: the spool is this load's own, in a private folder.
    with spool.open("rb") as stream:
        candidates: list[LoadCandidate] = pickle.load(stream)  # noqa: S301
    return candidates


def read_rows(spool: Path) -> list[LoadRow]:
    """Read the prepared resources of a unit from its spool file."""
    with spool.open("rb") as stream:
        pickle.load(stream)  # noqa: S301 - as above
        rows: list[LoadRow] = pickle.load(stream)  # noqa: S301
    return rows


def _prepare_item(item: Item, plan: LoadPlan) -> PreparedResource:
    resolved = plan.resolved
    # An id that is no text is refused like any other element.
    resource = {**item.resource, "id": item.resource.get("id", item.id)}
    names = ChainMap(resolved.existing, item.entry_references or {})
    if names:
        replace_links(resource, EntryNames(names, service_root(item.full_url)))
    if resolved.references:
        replace_references(resource, resolved.references)
    if plan.source:
        resource = _with_source(resource, plan.source)
    prepared = prepare_resource(resource, source_author(resource) or plan.organization)
    if len(prepared.content) > MAX_LINE_BYTES:
        raise Unprocessable(f"The resource is larger than {MAX_LINE_BYTES // 1024 // 1024} MiB.")
    for expression, reference in prepared.references:
        if split_conditional_reference(reference):
            raise Unprocessable(f"{expression} is a search that finds nothing, or more than one.")
        if fault := reference_fault(reference, prepared.contained):
            raise Unprocessable(f"{expression} {fault}.")
    return prepared


def _with_source(resource: dict[str, Any], source: str) -> dict[str, Any]:
    """Return a resource with a `meta.source`, its own if it has one."""
    meta = resource.get("meta", {})
    if not isinstance(meta, dict) or "source" in meta or "_source" in meta:
        return resource
    return {**resource, "meta": {**meta, "source": source}}


def _load_candidate(item: Item, prepared: PreparedResource, digest: bytes) -> LoadCandidate:
    local = (local_target(reference) for _, reference in prepared.references)
    targets = frozenset((target.type, target.id) for target in local if target)
    updated_ms, version = _source_version(item.resource.get("meta", {}))
    return LoadCandidate(
        item.line, prepared.record.type, item.id, targets, digest, updated_ms, version
    )


def _source_version(meta: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return when a resource was changed at its source, and the number of that version."""
    updated_ms, number = None, str(meta.get("versionId", ""))
    with suppress(EhrError):
        if "lastUpdated" in meta:
            updated_ms = datetime_interval(str(meta["lastUpdated"]))[0]
    is_number = number.isascii() and number.isdigit() and len(number) < 10
    return updated_ms, int(number) if is_number else None


def _load_row(prepared: PreparedResource, parameters: Mapping[tuple[str, str], int]) -> LoadRow:
    digest = hashlib.blake2b(digest_size=16)
    for part in (str(prepared.record.author).encode(), prepared.meta, prepared.content):
        digest.update(part)
    return LoadRow(
        prepared.record,
        prepared.meta,
        prepared.content,
        group_by_table(parameters, prepared.record.type, prepared.rows),
        prepared.words,
        prepared.rules,
        prepared.fact_targets,
        digest.digest(),
    )


def _reject_item(unit: Unit, item: Item, error: EhrError) -> LoadReject:
    kind = item.resource.get("resourceType")
    more = f" (and {len(error.issues) - 1} more)" if len(error.issues) > 1 else ""
    return LoadReject(
        unit.file, item.line, kind if isinstance(kind, str) else None, item.id, f"{error}{more}"
    )


@lru_cache(maxsize=1)
def _read_plan(path: Path) -> LoadPlan:
    plan: LoadPlan = pickle.loads(path.read_bytes())  # noqa: S301
    return plan
