"""The rows of one type that an export holds, as SQL: as of one position, judged at one instant.

An export is of the versions that were the newest at its position. One that was replaced since is
still read, if the version that replaced it is open to the requester too; of a resource that was
deleted since, nothing is. Criteria of a search are judged on the current version, since it alone
is in the index.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import orjson

from ehr_gateway.access import Access
from ehr_gateway.bulk_data.request import PROVENANCE, ExportRequest, parse_filters
from ehr_gateway.database import Connection, Dialect, Row, array_literal, encode_list, in_list
from ehr_gateway.search.statements import CompiledCriteria, SearchExecutor, SearchLimits
from ehr_gateway.store.store import Store

__all__ = ["ExportedRow", "RowSelection", "encode_texts", "list_stored_types", "text_list"]

# Patients of a version, with bars between them.
_JOIN_TEXTS: Mapping[Dialect, str] = {"sqlite": "group_concat", "postgresql": "string_agg"}
_PATIENTS: Mapping[Dialect, str] = {
    dialect: f"(SELECT {join}(p.patient, '|') FROM record_patient p WHERE p.pk = r.pk)"  # noqa: S608
    for dialect, join in _JOIN_TEXTS.items()
}
_ABOUT_A_PATIENT = "EXISTS (SELECT 1 FROM record_patient q WHERE q.pk = r.pk)"
# `version > 0` makes the planner use the partial index `resource_history`.
_IN_RANGE = "r.type = :type AND r.version > 0 AND r.position > :after AND r.position <= :until"


@dataclass(frozen=True, slots=True)
class ExportedRow:
    """A version that the requester may have."""

    position: int
    id: str
    body: bytes
    author: str | None
    domain: str | None
    patients: tuple[str, ...]


@dataclass(frozen=True)
class RowSelection:
    """The rows of a type that an export holds, for one requester at one instant."""

    connection: Connection
    store: Store
    access: Access
    request: ExportRequest
    resource_type: str
    deleted: bool = False
    # Whether only what is about some patient is wanted.
    about_patients: bool = False

    def find_positions(self, after: int, until: int) -> list[int]:
        """Return the positions of a range, in order; criteria are not judged of replaced ones."""
        rows = self.connection.execute(
            f"{self._with_clause}SELECT r.position FROM resource r WHERE {_IN_RANGE}"  # noqa: S608
            f" AND {self._conditions} ORDER BY r.position",
            {**self._params, "after": after, "until": until},
        )
        return [int(row[0]) for row in rows]

    def load_range(self, after: int, until: int) -> list[ExportedRow]:
        """Return the rows of a range of positions, in order."""
        return self._load(_IN_RANGE, {"after": after, "until": until})

    def load_positions(self, positions: Sequence[int]) -> list[ExportedRow]:
        """Return the rows at some positions, in order."""
        dialect = self.connection.dialect
        condition = f"r.type = :type AND r.position {in_list(dialect, 'positions')}"
        return self._load(condition, {"positions": encode_list(dialect, positions)})

    def find_ids(self, ids: Iterable[str]) -> frozenset[str]:
        """Return those of some ids whose resources the export holds."""
        dialect = self.connection.dialect
        rows = self.connection.execute(
            f"{self._with_clause}SELECT r.id FROM resource r"  # noqa: S608
            f" WHERE r.type = :type AND r.id {text_list(dialect, 'ids')}"
            " AND r.position > :after AND r.position <= :until"
            f" AND {self._conditions}",
            {
                **self._params,
                "ids": encode_texts(dialect, ids),
                "after": self.request.bounds[0],
                "until": self.request.bounds[1],
            },
        )
        return frozenset(row[0] for row in rows)

    def has_any_of(self, patients: Sequence[str]) -> bool:
        """Say whether some row is about one of some patients."""
        dialect = self.connection.dialect
        first, last = self.request.bounds
        row = self.connection.execute(
            f"{self._with_clause}SELECT 1 FROM record_patient q JOIN resource r ON r.pk = q.pk"  # noqa: S608
            f" WHERE q.patient {text_list(dialect, 'patients')} AND r.type = :type"
            " AND r.position > :after AND r.position <= :until"
            f" AND {self._conditions} LIMIT 1",
            {
                **self._params,
                "patients": encode_texts(dialect, patients),
                "after": 0 if self.is_associated else first,
                "until": last,
            },
        ).fetchone()
        return row is not None

    @property
    def is_associated(self) -> bool:
        """Say whether it is of what is said of other resources, whenever it was written."""
        return self.resource_type == PROVENANCE and bool(self.request.provenance)

    def find_window(self, after: int, until: int, most: int) -> int:
        """Return where a range of at most so many rows ends, whether they are visible or not."""
        row = self.connection.execute(
            f"SELECT r.position FROM resource r WHERE {_IN_RANGE}"  # noqa: S608
            " ORDER BY r.position LIMIT 1 OFFSET :most",
            {"type": self.resource_type, "after": after, "until": until, "most": most - 1},
        ).fetchone()
        return until if row is None else int(row[0])

    def find_window_of_bytes(self, after: int, until: int, rows: int, size: int) -> int:
        """Return where a range of so many rows and bytes ends, but of one row at least."""
        found = self.connection.execute(
            "SELECT r.position, length(r.body) AS size FROM resource r"  # noqa: S608
            f" WHERE {_IN_RANGE} ORDER BY r.position LIMIT :rows",
            {"type": self.resource_type, "after": after, "until": until, "rows": rows},
        ).fetchall()
        total = 0
        for place, row in enumerate(found):
            total += row[1]
            if total > size and place:
                return int(found[place - 1][0])
        return until if len(found) < rows else int(found[-1][0])

    def _load(self, place: str, params: Mapping[str, object]) -> list[ExportedRow]:
        patients = _PATIENTS[self.connection.dialect]
        columns = f"r.position, r.id, r.body, r.author, r.domain, {patients}, r.current"
        found = self.connection.execute(
            f"{self._with_clause}SELECT {columns} FROM resource r"  # noqa: S608
            f" WHERE {place} AND {self._conditions} ORDER BY r.position",
            {**self._params, **params},
        ).fetchall()
        if self._criteria is not None:
            found = self._drop_replaced(found)
        return [
            ExportedRow(
                position, name, bytes(body), author, domain,
                tuple(patients.split("|")) if patients else (),
            )
            for position, name, body, author, domain, patients, _ in found
        ]  # fmt: skip

    def _drop_replaced(self, rows: Sequence[Row]) -> list[Row]:
        """Leave out replaced versions of resources whose current version meets no criteria."""
        replaced = [row[1] for row in rows if not row[6]]
        if not replaced or self._criteria is None:
            return list(rows)
        dialect = self.connection.dialect
        matching = self.connection.execute(
            f"{self._criteria.with_clause}SELECT r.id FROM resource r"  # noqa: S608
            f" WHERE r.type = :type AND r.current = 1 AND r.id {text_list(dialect, 'ids')}"
            f" AND {self._criteria.condition}",
            {**self._params, "ids": encode_texts(dialect, replaced)},
        )
        known = {row[0] for row in matching}
        return [row for row in rows if row[6] or row[1] in known]

    @cached_property
    def _criteria(self) -> CompiledCriteria | None:
        texts = self.request.filters.get(self.resource_type)
        if not texts or self.deleted:
            # What was deleted has no values to meet criteria by.
            return None
        registry = self.store.registry(self.connection)
        limits = SearchLimits(self.access.base)
        executor = SearchExecutor(self.connection, registry, self.access, limits)
        return executor.compile_any(
            parse_filters(self.access, self.resource_type, texts, registry.served)
        )

    @property
    def _with_clause(self) -> str:
        return "" if self._criteria is None else self._criteria.with_clause

    @cached_property
    def _conditions(self) -> str:
        visible = self.access.search_predicate.sql
        later = self.access.later_version_predicate("search").sql
        condition = _select_snapshot(visible, later)
        if self.about_patients:
            condition = f"{condition} AND {_ABOUT_A_PATIENT}"
        if self._criteria is not None:
            condition = f"{condition} AND (r.current = 0 OR {self._criteria.condition})"
        return condition

    @cached_property
    def _params(self) -> Mapping[str, object]:
        return {
            **(self._criteria.params if self._criteria is not None else {}),
            **self.access.search_predicate.params,
            **self.access.later_version_predicate("search").params,
            "type": self.resource_type,
            "deleted": int(self.deleted),
            "snapshot": self.request.bounds[1],
        }


# Cached: the consent condition is a long text.
@lru_cache(maxsize=256)
def _select_snapshot(visible: str, later: str) -> str:
    """Return the condition on versions that were the newest ones and may be seen now."""
    return (
        "r.deleted = :deleted AND (r.current = 1 OR ("  # noqa: S608
        "NOT EXISTS (SELECT 1 FROM resource newer WHERE newer.type = r.type AND newer.id = r.id"
        " AND newer.version > r.version AND newer.position <= :snapshot)"
        " AND EXISTS (SELECT 1 FROM resource later WHERE later.type = r.type AND later.id = r.id"
        f" AND later.current = 1 AND later.deleted = 0 AND ({later}))))"
        f" AND ({visible})"
    )


def list_stored_types(connection: Connection, patients: Iterable[str]) -> frozenset[str]:
    """Return the types of all versions about some patients, visible or not."""
    dialect = connection.dialect
    rows = connection.execute(
        "SELECT DISTINCT r.type FROM record_patient q JOIN resource r ON r.pk = q.pk"  # noqa: S608
        f" WHERE q.patient {text_list(dialect, 'patients')}",
        {"patients": encode_texts(dialect, patients)},
    )
    return frozenset(row[0] for row in rows)


def text_list(dialect: Dialect, name: str) -> str:
    """Return the SQL operator that tests membership in the texts bound to a parameter."""
    if dialect == "sqlite":
        return f"IN (SELECT value FROM json_each(:{name}))"  # noqa: S608 - a name of ours
    return f"= ANY(CAST(:{name} AS text[]))"


def encode_texts(dialect: Dialect, texts: Iterable[str]) -> str:
    """Encode texts as the parameter's value."""
    return orjson.dumps(list(texts)).decode() if dialect == "sqlite" else array_literal(texts)
