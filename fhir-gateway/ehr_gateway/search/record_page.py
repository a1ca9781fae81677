"""A page of all that belongs to one patient or one encounter, of every type in one statement.

It is the search of a compartment (`across_types`) without its plans type by type: the keys of the
compartment are sorted first, and consent is asked of them in order until the page is full, by the
same condition as of every search. What a page refers to comes along as includes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from ehr_fhir import definitions
from ehr_fhir.errors import Issue
from ehr_fhir.search.compartment_filters import compartment_references
from ehr_fhir.search.includes import Include, parse_include
from ehr_fhir.search_parameters import use_added_parameters
from ehr_gateway.access import Access
from ehr_gateway.database import Connection, encode_list, in_list
from ehr_gateway.search.cursor import Position, open_cursor, seal_cursor
from ehr_gateway.search.include import find_included
from ehr_gateway.search.page import SearchPage
from ehr_gateway.search.plan import join_from
from ehr_gateway.search.statements import SearchLimits
from ehr_gateway.store.disclosure import Disclosure, reader_parameters
from ehr_gateway.store.search_registry import SearchRegistry
from ehr_gateway.store.store import Store, Version

__all__ = [
    "SUPPORTING_TYPES",
    "RecordQuery",
    "find_record_page",
    "find_supporting",
    "find_whole_record",
]

# What records refer to and no patient's record holds: who, where, with what.
SUPPORTING_TYPES = frozenset(
    {
        "Device", "HealthcareService", "Location", "Medication", "Organization", "Practitioner",
        "PractitionerRole", "Substance",
    }
)  # fmt: skip
# Of these, what the supporting resources themselves refer to.
_LEADING_ON = ("HealthcareService", "Location", "Organization", "PractitionerRole")
_AUDIT_EVENT = "AuditEvent"
# The resource that the record is of comes first, then type by type.
_TYPE_KEY = "CASE WHEN r.type = :owner_type AND r.id = :owner_id THEN '' ELSE r.type END"
# Keys are read this many pages at a time: what is hidden makes a page wait for more. Chosen.
_PAGES_AHEAD = 4


@dataclass(frozen=True)
class RecordQuery:
    """What of a record is asked for."""

    # Type and id of the Patient or the Encounter.
    owner: tuple[str, str]
    # The parameters as they were sent, for the links; the cursor is bound to them.
    pairs: tuple[tuple[str, str], ...] = ()
    types: frozenset[str] | None = None
    # Changed at this instant or later, in milliseconds since 1970.
    since_ms: int | None = None
    # The days of care: from this instant on, and before that one. A record whose day is not known
    # is in every period.
    care_from_ms: int | None = None
    care_before_ms: int | None = None
    count: int = 50
    cursor: str | None = None


def find_record_page(
    store: Store, access: Access, query: RecordQuery, limits: SearchLimits
) -> SearchPage:
    """Return a page of what the requester may find of a record, with what it refers to.

    Raises InsufficientScope for a type that is asked for by name and not covered.
    """
    access.inquiry.name_target(*query.owner)
    types, issues = _covered_types(access, query.types)
    scope = ["$everything", *query.owner, query.pairs]
    after = open_cursor(store.cursor_key, scope, query.cursor) if query.cursor else None
    with store.read_transaction() as connection:
        registry = store.registry(connection)
        finder = _RecordFinder(connection, registry, access, query, types)
        found = finder.find(after, query.count + 1)
        matches = found[: query.count]
        includes = _supporting_includes(registry, matches, query)
        included, include_issues = find_included(
            connection, registry.ids, access, includes, matches, limits
        )
    cursor = None
    if len(found) > query.count:
        cursor = seal_cursor(store.cursor_key, scope, finder.position_of(matches[-1]))
    return SearchPage(
        matches=tuple(matches),
        included=tuple(one for one in included if not _belongs(one, query.owner)),
        total=None,
        next_cursor=cursor,
        self_pairs=query.pairs,
        issues=(*issues, *include_issues),
    )


def find_whole_record(
    connection: Connection,
    store: Store,
    access: Access,
    patient: str,
    types: Iterable[str],
    *,
    most: int,
    care_ms: tuple[int | None, int | None] = (None, None),
) -> list[Version]:
    """Return up to `most` of what the requester may find of a patient's record, of some types.

    `care_ms`: the days of care, as in `RecordQuery`.
    """
    access.inquiry.name_target("Patient", patient)
    covered = frozenset(name for name in types if access.covers("search", name))
    query = RecordQuery(
        ("Patient", patient), types=covered, care_from_ms=care_ms[0], care_before_ms=care_ms[1]
    )
    finder = _RecordFinder(connection, store.registry(connection), access, query, covered)
    return finder.find(None, most)


def find_supporting(
    connection: Connection,
    store: Store,
    access: Access,
    records: Sequence[Version],
    limits: SearchLimits,
) -> tuple[Version, ...]:
    """Return what records refer to that is no patient's: organisations, people, medicines."""
    registry = store.registry(connection)
    with use_added_parameters(registry.served):
        includes = list(_includes_of(sorted({one.type for one in records}), SUPPORTING_TYPES))
    return find_included(connection, registry.ids, access, includes, records, limits)[0]


@dataclass(frozen=True)
class _RecordFinder:
    """Finds what belongs to one record, on one connection for one requester."""

    connection: Connection
    registry: SearchRegistry
    access: Access
    query: RecordQuery
    types: frozenset[str]

    def find(self, after: Position | None, limit: int) -> list[Version]:
        """Return up to `limit` versions after a position that the requester can find."""
        found: list[Version] = []
        position, step = after, limit * _PAGES_AHEAD
        while len(found) < limit:
            keys = self._read_keys(position, step)
            found += self._read_visible([pk for pk, *_ in keys], limit - len(found))
            if len(keys) < step:
                break
            position = keys[-1][1:]
        return found

    def position_of(self, version: Version) -> Position:
        """Return where a version stands in the order of the record."""
        is_owner = (version.type, version.id) == self.query.owner
        return ["" if is_owner else version.type, version.id]

    def _read_keys(self, after: Position | None, limit: int) -> list[tuple[int, str, str]]:
        """Return primary keys after a position in order, with their positions; not yet judged."""
        query, dialect = self.query, self.connection.dialect
        members, params = self._members()
        params |= {
            "owner_type": query.owner[0],
            "owner_id": query.owner[1],
            "limit": limit,
        }
        conditions = ["r.current = 1", "r.deleted = 0"]
        if self.types != _all_types():
            # Names of R4's types only.
            names = ", ".join(f"'{name}'" for name in sorted(self.types))
            conditions.append(f"r.type IN ({names})")
        if query.since_ms is not None:
            conditions.append("r.last_updated >= :since")
            params["since"] = query.since_ms
        if query.care_from_ms is not None:
            conditions.append("(r.clinical_date IS NULL OR r.clinical_date >= :care_from)")
            params["care_from"] = query.care_from_ms
        if query.care_before_ms is not None:
            conditions.append("(r.clinical_date IS NULL OR r.clinical_date < :care_before)")
            params["care_before"] = query.care_before_ms
        if after is not None:
            conditions.append(f"({_TYPE_KEY}, r.id) > (:after_type, :after_id)")
            params |= {"after_type": after[0], "after_id": after[1]}
        rows = self.connection.execute(
            f"WITH members AS MATERIALIZED ({members})"  # noqa: S608 - names of ours
            f" SELECT r.pk, {_TYPE_KEY} AS type_key, r.id FROM {join_from(dialect, 'members')}"
            f" WHERE {' AND '.join(conditions)} ORDER BY type_key, r.id LIMIT :limit",
            params,
        )
        return [(int(row[0]), str(row[1]), str(row[2])) for row in rows]

    def _members(self) -> tuple[str, dict[str, object]]:
        """Return a SELECT of the primary keys of all that belongs to the record."""
        if self.query.owner[0] == "Patient":
            return "SELECT pk FROM record_patient WHERE patient = :owner_id", {}
        references = ", ".join(
            str(self.registry.ids[reference])
            for reference in compartment_references(self.query.owner[0])
        )
        return (
            f"SELECT pk FROM idx_reference WHERE param IN ({references})"  # noqa: S608
            " AND target_id = :owner_id AND target_type = :owner_type"
            " UNION SELECT pk FROM resource"
            " WHERE type = :owner_type AND id = :owner_id AND current = 1",
            {},
        )

    def _read_visible(self, pks: list[int], limit: int) -> list[Version]:
        """Return the first of some primary keys that the requester can find, as versions."""
        if not pks:
            return []
        dialect, visible = self.connection.dialect, self.access.search_predicate
        requester = self.access.requester
        rows = self.connection.execute(
            f"SELECT r.*{Disclosure.columns(dialect)} FROM resource r"  # noqa: S608
            f" WHERE r.pk {in_list(dialect, 'pks')} AND r.current = 1 AND ({visible.sql})",
            {
                **visible.params,
                "pks": encode_list(dialect, pks),
                **reader_parameters(
                    requester.person, requester.organization, self.access.now_ms
                ),
            },
        )  # fmt: skip
        versions = {row["pk"]: Version.from_row(row, has_disclosure=True) for row in rows}
        return [versions[pk] for pk in pks if pk in versions][:limit]


def _covered_types(
    access: Access, asked: frozenset[str] | None
) -> tuple[frozenset[str], tuple[Issue, ...]]:
    """Return the types that are searched, with a warning where the token covers not all."""
    if asked is not None:
        access.require_scope("search", *sorted(asked))
        return asked, ()
    covered = frozenset(name for name in _all_types() if access.covers("search", name))
    if not covered:
        raise access.insufficient_scope("search", ["*"])
    if covered == _all_types():
        return covered, ()
    text = f"The access token's scopes cover {', '.join(sorted(covered))}; the rest is left out."
    return covered, (Issue(text, None, "suppressed", "warning"),)


@cache
def _all_types() -> frozenset[str]:
    """Return the types of records; the audit log has a search of its own."""
    return frozenset(definitions.resource_types() - {_AUDIT_EVENT})


def _supporting_includes(
    registry: SearchRegistry, matches: Iterable[Version], query: RecordQuery
) -> list[Include]:
    """Return the includes of what a page refers to, where its type is asked for."""
    targets = SUPPORTING_TYPES if query.types is None else SUPPORTING_TYPES & query.types
    sources = sorted({version.type for version in matches})
    with use_added_parameters(registry.served):
        found = list(_includes_of(sources, targets))
        if query.owner[0] == "Encounter" and (query.types is None or "Patient" in query.types):
            found.append(parse_include("Encounter", "_include", "Encounter:subject:Patient"))
    return found


def _includes_of(sources: Iterable[str], targets: frozenset[str]) -> Iterator[Include]:
    if not targets:
        return
    narrowed = tuple(sorted(targets))
    for name, kinds in (("_include", sources), ("_include:iterate", _LEADING_ON)):
        for kind in kinds:
            include = parse_include(kind, name, f"{kind}:*")
            if include.parameters:
                yield include.narrow(narrowed)


def _belongs(version: Version, owner: tuple[str, str]) -> bool:
    """Say whether what a page refers to belongs to the record, and so has a place of its own."""
    disclosure = version.disclosure
    return owner[0] == "Patient" and disclosure is not None and owner[1] in disclosure.patients
