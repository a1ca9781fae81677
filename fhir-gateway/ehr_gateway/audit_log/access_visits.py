"""The access history of one patient: rows of the log grouped into visits, newest first, paged.

A visit is what one person of one organisation did for one purpose, with no longer pause than
`VISIT_GAP` between one row and the next; what was refused is a visit of its own. Rows are those
that the requester may read (`read_policy`), so a visit never says more than the AuditEvents would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from ehr_gateway.audit_log.listed_patients import list_size
from ehr_gateway.audit_log.queries import AuditRow
from ehr_gateway.audit_log.read_policy import ReadableRows
from ehr_gateway.audit_log.reasons import COUNTED, NAMED
from ehr_gateway.database import Connection
from ehr_gateway.interaction_codes import WRITES
from ehr_gateway.schema.audit_log import LIST_QUERY
from ehr_gateway.search.cursor import Position

__all__ = [
    "AccessVisit",
    "VisitPage",
    "exclude_logins",
    "find_own_logins",
    "find_visits",
    "list_distinct_codes",
]

# The longest pause within a visit. Chosen: half of the portal's idle limit (PortalSettings.idle).
VISIT_GAP_MS = 15 * 60_000
# Rows of one statement, and of one page at most. A program that asks every few minutes makes one
# visit without end; after so many rows a page ends wherever it is, and that visit goes on in the
# next page. Chosen: 25 visits of a clinician have some 750 rows.
_ROWS_PER_STATEMENT, _ROWS_PER_PAGE = 200, 5_000
# The row of a Bundle does not say which of the records it read and which it wrote.
_BUNDLES = frozenset({"batch", "transaction"})
_SEARCHES = frozenset({"search-type", "search-system"})
# Of these nothing of the record was shown.
_WITHOUT_RECORDS = frozenset({NAMED, COUNTED})
# No data domain of care covers these, so they are told beside the domains.
_TYPES_WITHOUT_DOMAIN = frozenset(
    {"AuditEvent", "Consent", "Patient", "Provenance", "RelatedPerson", "RiskAssessment"}
)


@dataclass
class AccessVisit:
    """Consecutive rows of one person, from one organisation and for one purpose."""

    # The newest row; who asked is in it.
    newest: AuditRow
    start_ms: int
    has_search: bool = False
    # How many patients the longest list had that the patient was on; 0 without any.
    list_size: int = 0
    # Codes in the order they were met, newest row first: data domains, and resource types for what
    # has none. In Bundles it is not known which were read and which written.
    looked_at: list[Sequence[str]] = field(default_factory=list)
    changed: list[Sequence[str]] = field(default_factory=list)
    in_bundles: list[Sequence[str]] = field(default_factory=list)
    # Names of operations without `$`, and ids of the Consents that these named.
    operations: list[Sequence[str]] = field(default_factory=list)
    consents: list[Sequence[str]] = field(default_factory=list)
    reasons: list[Sequence[str]] = field(default_factory=list)

    @property
    def is_refused(self) -> bool:
        """Whether the requests were refused or failed."""
        return self.newest.outcome != "0"

    def add(self, row: AuditRow) -> None:
        """Take in a row that is older than all before."""
        self.start_ms = row.at_ms
        self.has_search = self.has_search or row.interaction in _SEARCHES
        self.reasons.append((row.reason,) if row.reason else ())
        if row.query == LIST_QUERY:
            self.list_size = max(self.list_size, list_size(row.entities) or 0)
        if operation := _find_operation_name(row):
            self.operations.append((operation,))
            self.consents.append(_list_named_consents(row))
        if (not operation or row.query == LIST_QUERY) and row.reason not in _WITHOUT_RECORDS:
            self._codes_for(row).append(_list_disclosed_codes(row))

    def _codes_for(self, row: AuditRow) -> list[Sequence[str]]:
        if row.interaction in _BUNDLES:
            return self.in_bundles
        return self.changed if row.interaction in WRITES else self.looked_at


@dataclass(frozen=True)
class VisitPage:
    """A page of visits, and the position of the next one if there is one."""

    visits: list[AccessVisit]
    next_position: Position | None


def find_own_logins(connection: Connection, patient: str) -> tuple[str, ...]:
    """Return the log-ins of the patient's own accounts."""
    rows = connection.execute(
        "SELECT login FROM account WHERE patient = ? AND role = 'patient'", (patient,)
    )
    # By this name an account is known that is no more: AuditEvents name the Patient by it, too.
    return tuple(dict.fromkeys([f"p.{patient}", *(str(row["login"]) for row in rows)]))


def find_visits(
    connection: Connection, readable: ReadableRows, count: int, position: Position | None = None
) -> VisitPage:
    """Return at most `count` visits that are older than a position, whole.

    A page may hold fewer visits, or more, where one of them has very many rows.
    """
    grouping = _VisitGrouping(before=position)
    rows_read, is_last = 0, False
    while not is_last and rows_read < _ROWS_PER_PAGE and not grouping.has_complete_visits(count):
        batch = grouping.rows_after(readable).rows(connection, _ROWS_PER_STATEMENT)
        for row in batch:
            grouping.add(row)
        rows_read, is_last = rows_read + len(batch), len(batch) < _ROWS_PER_STATEMENT
    visits = grouping.visits
    if is_last or grouping.has_complete_visits(count):
        shown = visits[:count]
        has_more = len(visits) > count or not is_last
        return VisitPage(
            shown, _build_position(shown[-1].newest, is_cut=False) if has_more else None
        )
    # Too many rows: the next page goes on after the last of them.
    return VisitPage(visits, _build_position(grouping.last_row, is_cut=True))


def list_distinct_codes(codes: Iterable[Sequence[str]]) -> list[str]:
    """Return codes without repetitions, those of the oldest row first.

    >>> list_distinct_codes([("allergy",), ("person", "allergy"), ("laboratory",)])
    ['laboratory', 'person', 'allergy']
    """
    return list(dict.fromkeys(chain.from_iterable(reversed(list(codes)))))


class _VisitGrouping:
    """Visits from rows that come newest first.

    A page that follows another begins with the rows of the pause before its position: a row belongs
    to a visit of the page before if such a row links it to that visit, which is then left out.
    """

    def __init__(self, before: Position | None) -> None:
        self._before = before
        self._open: dict[tuple[object, ...], AccessVisit] = {}
        # In the order of their newest rows.
        self._visits: list[AccessVisit] = []
        self._last_row: AuditRow | None = None

    @property
    def last_row(self) -> AuditRow:
        """Return the row that came last; there was one."""
        if self._last_row is None:
            raise LookupError("No row was read.")
        return self._last_row

    @property
    def visits(self) -> list[AccessVisit]:
        """Return the visits that are older than the position."""
        if self._before is None:
            return self._visits
        at_ms, seq, _, is_cut = self._before
        if is_cut:
            return self._visits
        return [
            visit for visit in self._visits if (visit.newest.at_ms, visit.newest.seq) < (at_ms, seq)
        ]

    def rows_after(self, readable: ReadableRows) -> ReadableRows:
        """Return the rows to read next."""
        audit_filter = readable.audit_filter
        if self._last_row is not None:
            audit_filter = replace(audit_filter, before=self._last_row.id)
        elif self._before is not None:
            at_ms, _, row_id, is_cut = self._before
            if is_cut:
                audit_filter = replace(audit_filter, before=str(row_id))
            else:
                until = int(str(at_ms)) + VISIT_GAP_MS + 1
                asked = audit_filter.until_ms
                until = until if asked is None else min(until, asked)
                audit_filter = replace(audit_filter, until_ms=until)
        return replace(readable, audit_filter=audit_filter)

    def add(self, row: AuditRow) -> None:
        """Add a row to its visit."""
        key = (row.login, row.organization, row.purpose, row.outcome != "0")
        visit = self._open.get(key)
        if visit is None or visit.start_ms - row.at_ms > VISIT_GAP_MS:
            visit = self._open[key] = AccessVisit(row, row.at_ms)
            self._visits.append(visit)
        visit.add(row)
        self._last_row = row

    def has_complete_visits(self, count: int) -> bool:
        """Say whether so many visits are there to which no row can be added any more."""
        first = self.visits[:count]
        if len(first) < count or self._last_row is None:
            return False
        at_ms = self._last_row.at_ms
        return all(visit.start_ms - at_ms > VISIT_GAP_MS for visit in first)


def _build_position(row: AuditRow, *, is_cut: bool) -> Position:
    return row.at_ms, row.seq, row.id, is_cut


def _find_operation_name(row: AuditRow) -> str:
    """Return the operation of a row, such as declare-emergency; empty if it is of none."""
    path = (row.query or "").partition("?")[0]
    return path.rpartition("$")[2] if "$" in path else ""


def _list_named_consents(row: AuditRow) -> tuple[str, ...]:
    named = [reference for reference in row.entities if reference.startswith("Consent/")]
    return tuple(reference.removeprefix("Consent/") for reference in named) + (
        (row.consent,) if row.consent else ()
    )


def _list_disclosed_codes(row: AuditRow) -> tuple[str, ...]:
    """Return the data domains of what was disclosed, and the types of what no domain covers."""
    # A search names hundreds of records, and a page of visits has a thousand rows: looking for few
    # types in one text is ten times as fast as taking each reference apart (measured).
    if row.domains:
        types = {kind for kind in _TYPES_WITHOUT_DOMAIN if row.names_type(kind)}
    else:
        types = {name.partition("/")[0] for name in row.entities if "/" in name}
    if row.consent:
        types.add("Consent")
    query = row.query or ""
    if query.startswith("AuditEvent?"):
        # Who looked is about the patient as well, though it is no record of theirs.
        types.add("AuditEvent")
    # Each row about a patient names them; that alone is not having seen the personal details.
    types.discard("Patient")
    if query.startswith(("Patient?", LIST_QUERY)) or (
        row.query is None and not types and not _names_others(row)
    ):
        types.add("Patient")
    return (*row.domains, *sorted(types))


def _names_others(row: AuditRow) -> bool:
    """Say whether a row concerns anything but Patients."""
    return any(not name.startswith("Patient/") for name in row.entities)


def exclude_logins(readable: ReadableRows, logins: Sequence[str]) -> ReadableRows:
    """Return the readable rows but those of some log-ins."""
    return replace(
        readable, audit_filter=replace(readable.audit_filter, except_logins=tuple(logins))
    )
