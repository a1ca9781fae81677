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
from ehr_inbound.bulk_files.items import Item, items
from ehr_inbound.bulk_files.resolve_references import Meanings
from ehr_privacy.consent import Record, RuleRow

__all__ = ["Judged", "Plan", "Ready", "Verdict", "judge", "judged_of", "ready_of", "start_worker"]


@dataclass(frozen=True)
class Plan:
    """What is the same for every unit of a load."""

    meanings: Meanings
    parameters: Mapping[tuple[str, str], int]
    organization: str


@dataclass(frozen=True)
class Judged:
    """One resource that may be loaded, if what it refers to may be."""

    line: int
    type: str
    id: str
    targets: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Ready:
    """One resource as it waits in the spool."""

    record: Record
    meta: bytes
    content: bytes
    index: IndexValues
    words: FullText
    rules: tuple[RuleRow, ...]
    digest: bytes


@dataclass(frozen=True)
class Verdict:
    """What came of a unit; the spool file holds the judged too, and them ready in that order."""

    judged: tuple[Judged, ...]
    rejects: tuple[LoadReject, ...]
    existing: int


def start_worker() -> None:
    """Set up a worker process."""
    # Models are made and dropped by the thousand and hold no cycles: the collector only costs.
    gc.disable()


def judge(unit: Unit, spool: Path, plan: Path) -> Verdict:
    """Judge and prepare the resources of a unit, each for itself."""
    load = _plan(plan)
    known = load.meanings
    judged: list[Judged] = []
    ready: list[Ready] = []
    rejects: list[LoadReject] = []
    existing = 0
    for item in items(unit):
        if isinstance(item, LoadReject):
            rejects.append(item)
        elif item.full_url in known.existing:
            existing += 1
        else:
            try:
                prepared = _prepared(item, known, load.organization)
            except EhrError as error:
                rejects.append(_reject(unit, item, error))
            else:
                judged.append(_judged(item, prepared))
                ready.append(_ready(prepared, load.parameters))
    with spool.open("wb") as out:
        pickle.dump(judged, out, pickle.HIGHEST_PROTOCOL)
        pickle.dump(ready, out, pickle.HIGHEST_PROTOCOL)
    return Verdict(tuple(judged), tuple(rejects), existing)


def judged_of(spool: Path) -> list[Judged]:
    """Read the judged resources of a unit back from the spool."""
    # The spool is this load's own, made a moment ago in a private folder.
    with spool.open("rb") as stream:
        judged: list[Judged] = pickle.load(stream)  # noqa: S301
    return judged


def ready_of(spool: Path) -> list[Ready]:
    """Read the resources of a unit back from the spool, ready to be stored."""
    with spool.open("rb") as stream:
        pickle.load(stream)  # noqa: S301 - as above
        ready: list[Ready] = pickle.load(stream)  # noqa: S301
    return ready


def _prepared(item: Item, known: Meanings, organization: str) -> PreparedResource:
    resource = {**item.resource, "id": item.id}
    names: Mapping[str, str] = ChainMap(known.existing, item.names or {}, known.searches)
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
    return Judged(item.line, prepared.record.type, item.id, targets)


def _ready(prepared: PreparedResource, parameters: Mapping[tuple[str, str], int]) -> Ready:
    digest = hashlib.blake2b(digest_size=16)
    for part in (str(prepared.record.author).encode(), prepared.meta, prepared.content):
        digest.update(part)
    return Ready(
        prepared.record,
        prepared.meta,
        prepared.content,
        group_by_table(parameters, prepared.record.type, prepared.rows),
        prepared.words,
        prepared.rules,
        digest.digest(),
    )


def _reject(unit: Unit, item: Item, error: EhrError) -> LoadReject:
    kind = item.resource.get("resourceType")
    more = f" (and {len(error.issues) - 1} more)" if len(error.issues) > 1 else ""
    return LoadReject(
        unit.file, item.line, kind if isinstance(kind, str) else None, item.id, f"{error}{more}"
    )


@lru_cache(maxsize=1)
def _plan(path: Path) -> Plan:
    found: Plan = pickle.loads(path.read_bytes())  # noqa: S301
    return found
