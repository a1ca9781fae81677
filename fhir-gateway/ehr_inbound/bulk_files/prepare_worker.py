"""What a worker does with a unit: judge each resource, make it ready, put it in the spool."""

from __future__ import annotations

import gc
import hashlib
import pickle
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ehr_fhir.errors import EhrError, Unprocessable
from ehr_fhir.index.full_text import FullText
from ehr_fhir.json_text import LARGEST
from ehr_fhir.references import local_target, replace_references, split_conditional_reference
from ehr_gateway.store.version_rows import IndexValues, group_by_table
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
    """What is the same for every unit of a load."""

    resolved: ResolvedReferences
    parameter_ids: Mapping[tuple[str, str], int]
    organization: str


@dataclass(frozen=True)
class LoadCandidate:
    """One resource that may be loaded, if what it refers to may be."""

    line: int
    type: str
    id: str
    targets: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class LoadRow:
    """One resource as it waits in the spool."""

    record: Record
    meta: bytes
    content: bytes
    index: IndexValues
    words: FullText
    rules: tuple[RuleRow, ...]
    digest: bytes


@dataclass(frozen=True)
class UnitResult:
    """What came of a unit; the spool file holds the judged too, and them ready in that order."""

    candidates: tuple[LoadCandidate, ...]
    rejects: tuple[LoadReject, ...]
    existing: int


def start_worker() -> None:
    """Set up a worker process."""
    # Models are made and dropped by the thousand and hold no cycles: the collector only costs.
    gc.disable()


def prepare_unit(unit: Unit, spool: Path, plan: Path) -> UnitResult:
    """Judge and prepare the resources of a unit, each for itself."""
    load = _read_plan(plan)
    known = load.resolved
    judged: list[LoadCandidate] = []
    ready: list[LoadRow] = []
    rejects: list[LoadReject] = []
    existing = 0
    for item in read_items(unit):
        if isinstance(item, LoadReject):
            rejects.append(item)
        elif item.full_url in known.existing:
            existing += 1
        else:
            try:
                prepared = _prepare_item(item, known, load.organization)
            except EhrError as error:
                rejects.append(_reject_item(unit, item, error))
            else:
                judged.append(_load_candidate(item, prepared))
                ready.append(_load_row(prepared, load.parameter_ids))
    with spool.open("wb") as out:
        pickle.dump(judged, out, pickle.HIGHEST_PROTOCOL)
        pickle.dump(ready, out, pickle.HIGHEST_PROTOCOL)
    return UnitResult(tuple(judged), tuple(rejects), existing)


def read_candidates(spool: Path) -> list[LoadCandidate]:
    """Read the judged resources of a unit back from the spool."""
    # The spool is this load's own, made a moment ago in a private folder.
    with spool.open("rb") as stream:
        judged: list[LoadCandidate] = pickle.load(stream)  # noqa: S301
    return judged


def read_rows(spool: Path) -> list[LoadRow]:
    """Read the resources of a unit back from the spool, ready to be stored."""
    with spool.open("rb") as stream:
        pickle.load(stream)  # noqa: S301 - as above
        ready: list[LoadRow] = pickle.load(stream)  # noqa: S301
    return ready


def _prepare_item(item: Item, known: ResolvedReferences, organization: str) -> PreparedResource:
    resource = {**item.resource, "id": item.id}
    names: Mapping[str, str] = ChainMap(known.existing, item.entry_references or {}, known.searches)
    replace_references(resource, names)
    prepared = prepare_resource(resource, source_author(resource) or organization)
    if len(prepared.content) > LARGEST:
        raise Unprocessable(f"The resource is larger than {LARGEST // 1024 // 1024} MiB.")
    for expression, reference in prepared.references:
        if split_conditional_reference(reference):
            raise Unprocessable(f"{expression} is a search that finds nothing, or more than one.")
        if fault := reference_fault(reference, prepared.contained):
            raise Unprocessable(f"{expression} {fault}.")
    return prepared


def _load_candidate(item: Item, prepared: PreparedResource) -> LoadCandidate:
    found = (local_target(reference) for _, reference in prepared.references)
    targets = frozenset((one.type, one.id) for one in found if one)
    return LoadCandidate(item.line, prepared.record.type, item.id, targets)


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
    found: LoadPlan = pickle.loads(path.read_bytes())  # noqa: S301
    return found
