"""Preview of access: what an organisation sees of a record now, and after a change of Consents.

There is no second rule engine: the compiled consent condition of reads and searches is evaluated
over the rule tables, once as they are and once with the rows that the changed Consents would have.
A common table expression of a rule table's name stands in its place, so nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from ehr_gateway.access import Access
from ehr_gateway.database import Connection, Dialect
from ehr_gateway.store.merging import linked_accounts
from ehr_privacy.consent import (
    TABLES,
    Predicate,
    Requester,
    RuleRow,
    compile_predicate,
    parse_scopes,
    rule_rows,
)
from ehr_privacy.consent.merged_accounts import is_closing

__all__ = ["DomainCounts", "HypotheticalConsents", "count_by_domain"]

# What a patient may preview: the tables that sharing, joining and restrictions have rows in.
PREVIEWED_TABLES = ("consent_joining", "consent_sharing", "consent_restriction")
# Wide enough that consent alone decides: the question is not about a token.
_SCOPES = parse_scopes("user/*.rs")
_RECORDS_OF_PATIENT = (
    "FROM record_patient p JOIN resource r ON r.pk = p.pk WHERE p.patient = :of"
    " AND r.current = 1 AND r.deleted = 0 AND r.directory = 0"
)
_CO_PATIENTS = (
    "SELECT DISTINCT other.patient FROM record_patient own"
    " JOIN record_patient other ON other.pk = own.pk WHERE own.patient = ?"
)


@dataclass(frozen=True)
class DomainCounts:
    """How many records of one domain an organisation sees now and after, and which it wrote."""

    domain: str
    now: int
    after: int
    # Of those, what the organisation wrote itself: it sees that whatever the patient chooses.
    own: int


@dataclass(frozen=True)
class HypotheticalConsents:
    """Consents of one patient that are not stored: each has the id of the one it replaces."""

    replaced: frozenset[str]
    rows: tuple[RuleRow, ...]

    @classmethod
    def from_resources(
        cls, connection: Connection, patient: str, consents: Iterable[Mapping[str, Any]]
    ) -> HypotheticalConsents:
        """Read the rule rows of Consents, on every account of the patient's person.

        Raises Unprocessable, with the element's path, for what the rules cannot enforce.
        """
        read = [(str(consent["id"]), rule_rows(consent)) for consent in consents]
        others = linked_accounts(connection, patient)[1:]
        rows = [row for _, consent_rows in read for row in consent_rows]
        # As the store does: what closes one account of a person closes the others.
        copies = [
            RuleRow(row.table, {**row.values, "patient": other})
            for row in rows
            if is_closing(row)
            for other in others
        ]
        return cls(frozenset(identity for identity, _ in read), (*rows, *copies))


def count_by_domain(
    connection: Connection,
    access: Access,
    patient: str,
    *,
    organization: str,
    profession: str,
    consents: HypotheticalConsents,
) -> list[DomainCounts]:
    """Count, for each domain, what an organisation's people see now and would see.

    Counted are records that the asking person sees too: a preview shows nobody more than they see.
    The people asked about hold no grant and declared no emergency, which are personal.
    """
    reader = Requester("clinician", "", organization, profession, "TREAT", scopes=_SCOPES)
    seen_by_reader = compile_predicate(reader, "search", access.now_ms, prefix="reader")
    seen_by_caller = access.search_predicate
    rows = connection.execute(
        f"SELECT r.pk, r.domain, r.author, CASE WHEN ({seen_by_reader.sql}) THEN 1 ELSE 0 END"
        f" AS seen {_RECORDS_OF_PATIENT} AND ({seen_by_caller.sql})",
        {"of": patient, **seen_by_reader.params, **seen_by_caller.params},
    ).fetchall()
    seen_after = _find_visible(connection, patient, seen_by_reader, consents)
    now, after, own = Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        domain = row["domain"] or "other"
        now[domain] += row["seen"]
        after[domain] += row["pk"] in seen_after
        own[domain] += row["author"] == organization
    return [
        DomainCounts(domain, now[domain], after[domain], own[domain])
        for domain in sorted(now)
        if now[domain] or after[domain]
    ]


def _find_visible(
    connection: Connection, patient: str, visible: Predicate, consents: HypotheticalConsents
) -> set[int]:
    """Return the keys of the patient's records that are visible under hypothetical Consents."""
    names = (f"h{number}" for number in count())
    values: dict[str, str | int | None] = {}

    def bind(value: str | int | None) -> str:
        name = next(names)
        values[name] = value
        return f":{name}"

    patients = [bind(account) for account in _find_patients_of_records(connection, patient)]
    replaced = [bind(identity) for identity in sorted(consents.replaced)]
    restrictions = _stored_table("consent_restriction", connection.dialect)
    tables = [
        *(
            _replacement_table(
                table,
                f"patient IN ({', '.join(patients)})",
                replaced,
                [_select_row(row, bind) for row in consents.rows if row.table == table],
                connection.dialect,
            )
            for table in PREVIEWED_TABLES
        ),
        _replacement_table(
            "consent_exception",
            f"consent IN (SELECT consent FROM {restrictions}"  # noqa: S608
            f" WHERE patient IN ({', '.join(patients)}))",
            replaced,
            [_select_row(row, bind) for row in consents.rows if row.table == "consent_exception"],
            connection.dialect,
        ),
    ]
    found = connection.execute(
        f"WITH {', '.join(tables)} SELECT r.pk {_RECORDS_OF_PATIENT} AND ({visible.sql})",
        {"of": patient, **values, **visible.params},
    ).fetchall()
    return {int(row["pk"]) for row in found}


def _replacement_table(
    table: str, condition: str, replaced: Sequence[str], rows: Sequence[str], dialect: Dialect
) -> str:
    """Return a common table expression that stands in the place of a rule table.

    Its body reads the stored table. SQLite takes the bare name for the expression itself there, so
    the table is named with its schema; PostgreSQL takes it for the table.
    """
    columns = ", ".join(column.name for column in TABLES[table])
    if replaced:
        condition += f" AND consent NOT IN ({', '.join(replaced)})"
    selects = [f"SELECT {columns} FROM {_stored_table(table, dialect)} WHERE {condition}", *rows]  # noqa: S608
    return f"{table} ({columns}) AS MATERIALIZED ({' UNION ALL '.join(selects)})"


def _stored_table(table: str, dialect: Dialect) -> str:
    return f"main.{table}" if dialect == "sqlite" else table


def _select_row(row: RuleRow, bind: Any) -> str:
    # Typed, since PostgreSQL takes a bare parameter of a UNION for text.
    types = {"TEXT": "TEXT", "INTEGER": "BIGINT"}
    values = [
        f"CAST({bind(row.values.get(column.name))} AS {types[column.type]})"
        for column in TABLES[row.table]
    ]
    return f"SELECT {', '.join(values)}"


def _find_patients_of_records(connection: Connection, patient: str) -> list[str]:
    """Return every patient that a record of this one is about; each has a say."""
    rows = connection.execute(_CO_PATIENTS, (patient,)).fetchall()
    return sorted({patient, *(str(row["patient"]) for row in rows)})
