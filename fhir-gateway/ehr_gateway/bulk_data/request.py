"""What a kick-off of `$export` asks for, checked (Bulk Data Access 2.0 §2.4, 3.0 for the rest)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import orjson

from ehr_fhir import definitions
from ehr_fhir.dates import datetime_interval
from ehr_fhir.errors import EhrError, Invalid, Issue
from ehr_fhir.references import local_target
from ehr_fhir.search.compartment_filters import compartment_types
from ehr_fhir.search.filters import RESULT_PARAMETERS
from ehr_fhir.search.includes import INCLUDES
from ehr_fhir.search.query import SearchQuery
from ehr_fhir.search.query_string import parse_query_pairs
from ehr_fhir.search_parameters import AddedParameters, use_added_parameters
from ehr_fhir.subset import Subset, parse_elements
from ehr_gateway.access import Access
from ehr_gateway.search.criteria import parse_criteria
from ehr_gateway.search.scope_check import require_search_scopes
from ehr_privacy.consent.domain_rules import load_domains

__all__ = [
    "NDJSON",
    "PARQUET",
    "PROVENANCE",
    "ExportRequest",
    "Level",
    "ignored_issues",
    "parse_export_request",
    "parse_filters",
]

Level = Literal["system", "Patient", "Group"]
PROVENANCE = "Provenance"
PARQUET = "application/vnd.apache.parquet"
NDJSON = "application/fhir+ndjson"
_FORMATS = {
    NDJSON: NDJSON,
    "application/ndjson": NDJSON,
    "ndjson": NDJSON,
    PARQUET: PARQUET,
    "parquet": PARQUET,
}
_ASSOCIATED = ("LatestProvenanceResources", "RelevantProvenanceResources")
# The audit log is no record, and has addresses of its own.
_NOT_EXPORTED = frozenset({"AuditEvent"})
# A comma that ends one query of a list: what follows is the next one's type.
_NEXT_QUERY = re.compile(r",(?=[A-Z][A-Za-z]*\?)")
# Chosen: each query is a condition on every record that is read.
_MOST_QUERIES = 50
_MOST_PATIENTS = 10_000


@dataclass(frozen=True)
class ExportRequest:
    """A kick-off, kept as JSON until the export ends."""

    level: Level
    # Path and query of the address that was called.
    url: str
    types: tuple[str, ...]
    # Epoch milliseconds.
    since: int | None = None
    until: int | None = None
    # Queries of each type, one of which a resource has to match.
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # Elements of each type.
    elements: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # Whether Provenance is of the resources exported alone, and then the latest one alone.
    provenance: Literal["", "latest", "relevant"] = ""
    by_patient: bool = False
    in_pages: bool = False
    # Patients by id: those asked for.
    patients: tuple[str, ...] | None = None
    # The Group and its version, whose members are exported.
    group: tuple[str, int] | None = None
    # Positions of the feed: it holds what was written after the one, up to the other.
    bounds: tuple[int, int] = (0, 0)
    # What was asked for and is passed over, as handling=lenient allows.
    ignored: tuple[str, ...] = ()
    # The media type of its output; deletions and errors are NDJSON always.
    output_format: str = NDJSON

    def to_json(self) -> str:
        """Return the request as it is kept."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> ExportRequest:
        """Return a request that was kept."""
        values: dict[str, Any] = orjson.loads(text)
        for name in ("types", "patients", "group", "bounds", "ignored"):
            if values[name] is not None:
                values[name] = tuple(values[name])
        return cls(**values)

    def subset(self, resource_type: str) -> Subset | None:
        """Return the part of each resource of a type that was asked for; None for all of it."""
        elements = self.elements.get(resource_type)
        return None if elements is None else Subset(elements=frozenset(elements))

    @property
    def patient_types(self) -> tuple[str, ...]:
        """Return the types that are exported of each patient."""
        known = frozenset(compartment_types("Patient"))
        return tuple(kind for kind in self.types if kind in known)

    @property
    def has_members(self) -> bool:
        """Say whether it is of certain patients, and not of all."""
        return self.patients is not None or self.group is not None

    @property
    def names_patients(self) -> bool:
        """Say whether it may hold something of a patient: ids or search criteria."""
        return self.patients is not None or "_typeFilter" in self.url or bool(self.filters)


@dataclass
class _Refusals:
    """What is not served: an error, or passed over where the client says handling=lenient."""

    lenient: bool
    ignored: list[str] = field(default_factory=list)

    def refuse(self, name: str, why: str) -> None:
        """Refuse a parameter, or note that it is passed over."""
        self.raise_unless_lenient(Invalid(why, expression=name, issue_code="not-supported"))

    def raise_unless_lenient(self, error: EhrError) -> None:
        """Raise an error, or note what it says."""
        if not self.lenient:
            raise error
        self.ignored.append(f"{error} It was passed over.")


def parse_export_request(
    access: Access,
    level: Level,
    pairs: Sequence[tuple[str, str]],
    *,
    url: str,
    lenient: bool,
    added: AddedParameters,
) -> ExportRequest:
    """Check the parameters of a kick-off; refuse what is not served, or pass over it if lenient.

    `Group` and patients are the caller's to find.
    """
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    refusals = _Refusals(lenient)
    output_format = _read_format(values)
    types = _read_types(access, level, values, refusals)
    provenance = _read_provenance(values, refusals)
    if provenance and PROVENANCE not in types:
        access.require_scope("search", PROVENANCE)
        types = (*types, PROVENANCE)
    filters = _read_filters(access, types, values, added, refusals)
    organized = _read_once(values, "organizeOutputBy")
    by_patient = organized == "Patient" and level != "system"
    if organized is not None and not by_patient:
        refusals.refuse(
            "organizeOutputBy",
            "`organizeOutputBy` takes Patient, in an export of patients or of a Group.",
        )
    if by_patient and output_format == PARQUET:
        raise Invalid("A Parquet file has one type: leave `organizeOutputBy` out.")
    return ExportRequest(
        level=level,
        output_format=output_format,
        url=url,
        types=types,
        since=_read_instant(values, "_since"),
        until=_read_instant(values, "_until"),
        filters=filters,
        elements=_read_elements(types, values, refusals),
        provenance=provenance,
        by_patient=by_patient,
        in_pages=_read_once(values, "allowPartialManifests") == "true",
        patients=_read_patients(access, values),
        ignored=tuple(refusals.ignored),
    )


def parse_filters(
    access: Access, resource_type: str, queries: Iterable[str], added: AddedParameters
) -> list[SearchQuery]:
    """Parse queries of one type, such as `Observation?code=718-7`, and note whom they name.

    `added` are the search parameters that the installation added.
    """
    with use_added_parameters(added):
        return [_parse_filter(access, resource_type, query) for query in queries]


def _parse_filter(access: Access, resource_type: str, query: str) -> SearchQuery:
    try:
        pairs = parse_query_pairs(query.partition("?")[2])
    except ValueError:
        raise Invalid("A query of `_typeFilter` is not valid percent-encoded UTF-8.") from None
    for name, _ in pairs:
        if name in RESULT_PARAMETERS or name.partition(":")[0] in INCLUDES:
            raise Invalid(f"No parameter that shapes an answer is taken, such as `{name[:64]}`.")
    parsed = parse_criteria(access, resource_type, pairs)
    require_search_scopes(access, parsed)
    return parsed


def _read_once(values: Mapping[str, Sequence[str]], name: str) -> str | None:
    sent = values.get(name, ())
    if len(sent) > 1:
        raise Invalid(f"`{name}` is given once.", expression=name)
    return sent[0] if sent else None


def _read_list(values: Mapping[str, Sequence[str]], name: str) -> list[str]:
    """Return the parts of a parameter between commas; given several times they are one list."""
    return [word.strip() for text in values.get(name, ()) for word in text.split(",") if word]


def _read_format(values: Mapping[str, Sequence[str]]) -> str:
    # A plus sign in a query means a space; many clients leave it unescaped.
    chosen = _read_once(values, "_outputFormat")
    found = _FORMATS.get((chosen or NDJSON).strip().replace(" ", "+"))
    if found is None:
        raise Invalid(
            f"`_outputFormat` takes {NDJSON} or {PARQUET}.",
            expression="_outputFormat",
            issue_code="not-supported",
        )
    return found


def _read_instant(values: Mapping[str, Sequence[str]], name: str) -> int | None:
    text = _read_once(values, name)
    if text is None:
        return None
    try:
        return datetime_interval(text.strip().replace(" ", "+"))[0] + _milliseconds(text)
    except Invalid as error:
        raise Invalid(f"`{name}`: {error}", expression=name) from None


def _milliseconds(text: str) -> int:
    """Return the part of a second that an instant has.

    >>> _milliseconds("2026-01-01T00:00:00.25Z"), _milliseconds("2026-01-01T00:00:00Z")
    (250, 0)
    """
    fraction = re.search(r":\d\d\.(\d{1,9})", text)
    return int(fraction[1].ljust(3, "0")[:3]) if fraction else 0


def _read_types(
    access: Access,
    level: Level,
    values: Mapping[str, Sequence[str]],
    refusals: _Refusals,
) -> tuple[str, ...]:
    known = definitions.resource_types() - _NOT_EXPORTED
    served = set(known) if level == "system" else {*compartment_types("Patient"), *_directory()}
    asked = _read_list(values, "_type")
    if not asked:
        types = known if level == "system" else set(compartment_types("Patient"))
        covered = tuple(sorted(kind for kind in types if access.covers("search", kind)))
        if not covered:
            raise access.insufficient_scope("search", ["*"])
        return covered
    found = []
    for name in dict.fromkeys(asked):
        if name not in known:
            refusals.refuse(
                "_type", f"`_type`: `{name[:64]}` is no resource type that is exported."
            )
        elif name not in served:
            refusals.refuse(
                "_type", f"`_type`: no patient's record holds {name}; export it from the system."
            )
        elif not access.covers("search", name):
            refusals.raise_unless_lenient(access.insufficient_scope("search", [name]))
        else:
            found.append(name)
    if not found:
        raise Invalid("`_type` names no type that is exported.", expression="_type")
    return tuple(found)


def _directory() -> frozenset[str]:
    """Return the types that are about nobody, which help to read patients' records."""
    return frozenset(load_domains().directory) - _NOT_EXPORTED


def _read_filters(
    access: Access,
    types: Collection[str],
    values: Mapping[str, Sequence[str]],
    added: AddedParameters,
    refusals: _Refusals,
) -> dict[str, list[str]]:
    queries = [
        query
        for text in values.get("_typeFilter", ())
        for query in _NEXT_QUERY.split(text)
        if query
    ]
    if len(queries) > _MOST_QUERIES:
        raise Invalid(
            f"`_typeFilter` takes at most {_MOST_QUERIES} queries.",
            expression="_typeFilter",
            issue_code="too-costly",
        )
    found: dict[str, list[str]] = {}
    for query in queries:
        kind = query.partition("?")[0]
        if kind not in types:
            refusals.refuse(
                "_typeFilter", "`_typeFilter`: a query begins with a type that is exported."
            )
            continue
        try:
            parse_filters(access, kind, [query], added)
        except Invalid as error:
            refusals.refuse("_typeFilter", f"`_typeFilter`: {error}")
            continue
        found.setdefault(kind, []).append(query)
    return found


def _read_elements(
    types: Iterable[str], values: Mapping[str, Sequence[str]], refusals: _Refusals
) -> dict[str, list[str]]:
    """Return the elements to keep of each type; types that none is named for stay whole."""
    found: dict[str, list[str]] = {}
    types = tuple(types)
    for word in _read_list(values, "_elements"):
        kind, dot, name = word.rpartition(".")
        wanted = [kind] if dot else types
        is_known = False
        for resource_type in wanted:
            if resource_type not in types:
                continue
            try:
                found.setdefault(resource_type, []).extend(parse_elements(resource_type, name))
                is_known = True
            except Invalid:
                # Of some types, as an element without a type is meant.
                continue
        if not is_known:
            refusals.refuse(
                "_elements", f"`_elements`: no type that is exported has `{word[:64]}`."
            )
    return found


def _read_provenance(
    values: Mapping[str, Sequence[str]], refusals: _Refusals
) -> Literal["", "latest", "relevant"]:
    words = _read_list(values, "includeAssociatedData")
    for word in words:
        if word not in _ASSOCIATED:
            refusals.refuse(
                "includeAssociatedData",
                f"`includeAssociatedData` takes {' or '.join(_ASSOCIATED)}.",
            )
    if "RelevantProvenanceResources" in words:
        return "relevant"
    return "latest" if "LatestProvenanceResources" in words else ""


def _read_patients(access: Access, values: Mapping[str, Sequence[str]]) -> tuple[str, ...] | None:
    references = values.get("patient")
    if references is None:
        return None
    if len(references) > _MOST_PATIENTS:
        raise Invalid(
            f"`patient` is given at most {_MOST_PATIENTS} times.",
            expression="patient",
            issue_code="too-costly",
        )
    found = []
    for reference in references:
        target = local_target(reference.removeprefix(f"{access.base}/"))
        if target is None or target.type != "Patient":
            raise Invalid(
                "`patient` takes references to Patients of this server.", expression="patient"
            )
        access.inquiry.name_target(target.type, target.id)
        found.append(target.id)
    return tuple(dict.fromkeys(found))


def ignored_issues(request: ExportRequest) -> tuple[Issue, ...]:
    """Return what an export passed over as issues of an OperationOutcome."""
    return tuple(Issue(text, None, "not-supported", "warning") for text in request.ignored)
