"""A code system in the tables, as `ehr_fhir.terminology` asks it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import orjson

from ehr_fhir.errors import TooCostly
from ehr_fhir.terminology.code_system import (
    HIERARCHY_OPERATORS,
    OWN_CODE,
    CodeSystem,
    ConceptFilter,
    Selection,
    SystemHeader,
    check_filters,
    satisfies,
)
from ehr_fhir.terminology.concepts import Concept
from ehr_fhir.terminology.library import version_key
from ehr_gateway.database import Connection
from ehr_gateway.terminology.load import LoadedSystem, code_key, read_header

__all__ = ["StoredCodeSystem", "find_loaded_system"]

# Intervals of a concept never overlap, so the last that begins before a position is the only one
# that may hold it: one look-up, however many there are.
_BELOW = (
    "COALESCE((SELECT i.high FROM terminology_interval i WHERE i.system = {system}"
    " AND i.ancestor = {ancestor} AND i.low <= {position} ORDER BY i.low DESC LIMIT 1), -1)"
    " >= {position}"
)
_ANCESTORS = (
    "WITH RECURSIVE above (position) AS (SELECT CAST(? AS {integer}) UNION"
    " SELECT e.parent FROM terminology_edge e JOIN above a ON e.child = a.position"
    " AND e.system = ?) SELECT position FROM above"
)
# After every text that begins with what stands before it.
_LAST = "\U0010ffff"
_PAGE = 2000
# Concepts that Python goes through. Chosen: about two seconds.
_MAX_JUDGED = 100_000
# Values of one filter that are bound to a statement; of more, Python judges.
_MAX_BOUND = 500
# Names by which filters mean a column of the concept, and what is worked out.
_COLUMNS = {"inactive": "inactive", "notSelectable": "abstract"}
_DERIVED = frozenset({*OWN_CODE, *_COLUMNS, "display", "parent", "child"})


@dataclass
class _Query:
    """A selection as SQL over positions, and the filters that only Python can judge.

    `source` is what is gone through: the words of a prefix, the intervals below a concept, or all
    concepts. Its positions are `p.position`.
    """

    system: int
    params: dict[str, object] = field(default_factory=dict)
    source: str = "terminology_concept p"
    order: str = "p.position"
    conditions: list[str] = field(default_factory=list)
    # Conditions on columns of the concept, `c`.
    of_concept: list[str] = field(default_factory=list)
    others: list[ConceptFilter] = field(default_factory=list)

    def bind(self, value: object) -> str:
        """Bind a value and return its placeholder."""
        name = f"t{len(self.params)}"
        self.params[name] = value
        return f":{name}"

    def sql(self, columns: str) -> str:
        """Return the statement that reads columns of `p`."""
        source, conditions = self.source, self.conditions
        if self.of_concept:
            # CROSS keeps the order of the join on SQLite.
            source = f"{source} CROSS JOIN terminology_concept c"
            same = (f"c.system = {self.bind(self.system)}", "c.position = p.position")
            conditions = [*conditions, *same, *self.of_concept]
        return f"SELECT {columns} FROM {source} WHERE {' AND '.join(conditions) or 'TRUE'}"  # noqa: S608


class StoredCodeSystem:
    """One loaded version of a code system, on the connection of one request."""

    def __init__(self, connection: Connection, loaded: LoadedSystem) -> None:
        self._connection = connection
        self._number = loaded.number
        self._header = loaded.header
        self._concepts = loaded.concepts

    @property
    def header(self) -> SystemHeader:
        """What it says of itself."""
        return self._header

    def find(self, code: str) -> Concept | None:
        """Return the concept of a code, in any case where case means nothing."""
        row = self._connection.execute(
            "SELECT detail FROM terminology_concept WHERE system = ? AND code_key = ?",
            (self._number, code_key(self._header, code)),
        ).fetchone()
        return self._concept(row["detail"]) if row else None

    def select(self, selection: Selection) -> Iterable[Concept]:
        """Return concepts in their order."""
        query = self._query(selection)
        if query.others:
            end = None if selection.limit is None else selection.offset + selection.limit
            return islice(self._select_judged(query), selection.offset, end)
        return self._rows(query, selection.offset, selection.limit)

    def count(self, selection: Selection) -> int:
        """Return how many concepts there are, on all pages."""
        if not (selection.filters or selection.words or selection.active_only):
            return self._concepts
        if (below := self._count_below(selection)) is not None:
            return below
        query = self._query(selection)
        if query.others:
            return sum(1 for _ in self._select_judged(query))
        return int(self._connection.execute(query.sql("COUNT(*)"), query.params).fetchone()[0])

    def _count_below(self, selection: Selection) -> int | None:
        """Return how many concepts are below one, by the lengths of its intervals alone."""
        check_filters(self, selection.filters)
        if selection.words or selection.active_only or len(selection.filters) != 1:
            return None
        (one,) = selection.filters
        position = self._position(one.value)
        if one.operator not in ("is-a", "descendent-of") or position is None:
            return None
        row = self._connection.execute(
            "SELECT COALESCE(SUM(high - low + 1), 1) FROM terminology_interval"
            " WHERE system = ? AND ancestor = ?",
            (self._number, position),
        )
        return int(row.fetchone()[0]) - (one.operator == "descendent-of")

    def parents(self, code: str) -> Sequence[str]:
        """Return the codes next above one."""
        return self._neighbours(code, "child", "parent")

    def children(self, code: str) -> Sequence[str]:
        """Return the codes next below one."""
        return self._neighbours(code, "parent", "child")

    def is_below(self, code: str, ancestor: str) -> bool:
        """Say whether a code is a descendant of another, and not the same."""
        low, high = self._position(code), self._position(ancestor)
        if low is None or high is None or low == high:
            return False
        below = _BELOW.format(system="?", ancestor="?", position="?")
        values = (self._number, high, low, low)
        return self._connection.execute(f"SELECT 1 WHERE {below}", values).fetchone() is not None

    def lineage(self, code: str, direction: str) -> Sequence[str]:
        """Return the codes `above` or `below` one, itself first."""
        position = self._position(code)
        if position is None:
            return [code]
        if direction == "above":
            # The recursion begins with the code itself.
            return self._codes(self._ancestors(position))
        below = Selection((ConceptFilter("concept", "is-a", code),))
        codes = dict.fromkeys(one.code for one in self.select(below))
        own = self._codes([position])
        return list(dict.fromkeys([*own, *codes]))

    def _concept(self, detail: str) -> Concept:
        content = orjson.loads(detail)
        return Concept(self._header.url, content["code"], content)

    def _position(self, code: str) -> int | None:
        row = self._connection.execute(
            "SELECT position FROM terminology_concept WHERE system = ? AND code_key = ?",
            (self._number, code_key(self._header, code)),
        ).fetchone()
        return int(row["position"]) if row else None

    def _neighbours(self, code: str, of: str, wanted: str) -> list[str]:
        position = self._position(code)
        if position is None:
            return []
        rows = self._connection.execute(
            f"SELECT {wanted} FROM terminology_edge WHERE system = ? AND {of} = ?"  # noqa: S608
            f" ORDER BY {wanted}",
            (self._number, position),
        )
        return self._codes(row[0] for row in rows.fetchall())

    def _ancestors(self, position: int) -> list[int]:
        integer = "INTEGER" if self._connection.dialect == "sqlite" else "bigint"
        statement = _ANCESTORS.format(integer=integer)
        rows = self._connection.execute(statement, (position, self._number)).fetchall()
        return [row["position"] for row in rows]

    def _codes(self, positions: Iterable[int]) -> list[str]:
        found = []
        for position in positions:
            row = self._connection.execute(
                "SELECT detail FROM terminology_concept WHERE system = ? AND position = ?",
                (self._number, position),
            ).fetchone()
            found.append(self._concept(row["detail"]).code)
        return found

    def _select_judged(self, query: _Query) -> Iterator[Concept]:
        """Yield the concepts that also meet the filters which no index answers."""
        for number, concept in enumerate(self._rows(query, 0, None)):
            if number >= _MAX_JUDGED:
                raise TooCostly(
                    "A filter of the value set is one that no index answers, over too many codes."
                )
            if all(satisfies(self, concept, one) for one in query.others):
                yield concept

    def _rows(self, query: _Query, offset: int, limit: int | None) -> Iterator[Concept]:
        """Yield concepts in steps, so that one who stops early reads no more."""
        positions, system = query.sql("p.position"), query.bind(self._number)
        remaining = limit
        while remaining is None or remaining > 0:
            size = _PAGE if remaining is None else min(remaining, _PAGE)
            rows = self._connection.execute(
                "SELECT found.detail FROM"  # noqa: S608
                f" ({positions} ORDER BY {query.order} LIMIT {size} OFFSET {offset}) page"
                " CROSS JOIN terminology_concept found"
                f" WHERE found.system = {system} AND found.position = page.position"
                " ORDER BY page.position",
                query.params,
            ).fetchall()
            yield from (self._concept(row["detail"]) for row in rows)
            if len(rows) < size:
                return
            offset += size
            remaining = None if remaining is None else remaining - size

    def _query(self, selection: Selection) -> _Query:
        check_filters(self, selection.filters)
        query = _Query(self._number)
        system = query.bind(self._number)
        # The longest word is the rarest, most likely: its concepts are gone through.
        words = sorted(selection.words, key=len, reverse=True)
        for number, word in enumerate(words):
            low, high = query.bind(word), query.bind(word + _LAST)
            found = (
                "SELECT DISTINCT w.position FROM terminology_word w"  # noqa: S608
                f" WHERE w.system = {system} AND w.word >= {low} AND w.word < {high}"
            )
            if number == 0:
                query.source = f"({found}) p"
            else:
                query.conditions.append(f"p.position IN ({found})")
        if not words:
            query.conditions.append(f"p.system = {system}")
        if selection.active_only:
            query.of_concept.append("c.inactive = 0")
        for one in selection.filters:
            if one.operator in HIERARCHY_OPERATORS:
                self._add_hierarchy(query, system, one)
            else:
                self._add_filter(query, system, one)
        return query

    def _add_filter(self, query: _Query, system: str, one: ConceptFilter) -> None:
        listed = [one.value] if one.operator == "=" else one.value.split(",")
        values = [value.strip() for value in listed]
        by_code = one.property in OWN_CODE and one.operator in ("=", "in", "not-in")
        if by_code and len(values) <= _MAX_BOUND:
            keys = [query.bind(code_key(self._header, value)) for value in values]
            sign = "NOT IN" if one.operator == "not-in" else "IN"
            query.of_concept.append(f"c.code_key {sign} ({', '.join(keys)})")
        elif one.property in _COLUMNS and one.operator == "=":
            wanted = 1 if one.value == "true" else 0
            query.of_concept.append(f"c.{_COLUMNS[one.property]} = {wanted}")
        elif one.property in _DERIVED or one.operator == "regex" or len(values) > _MAX_BOUND:
            query.others.append(one)
        else:
            places = f"w.system = {system} AND w.name = {query.bind(one.property)}"
            is_without = one.operator == "not-in"
            if one.operator == "exists":
                is_without = one.value == "false"
            else:
                places += f" AND w.value IN ({', '.join(map(query.bind, values))})"
            sign = "NOT IN" if is_without else "IN"
            query.conditions.append(
                f"p.position {sign} (SELECT w.position FROM terminology_property w WHERE {places})"  # noqa: S608
            )

    def _add_hierarchy(self, query: _Query, system: str, one: ConceptFilter) -> None:
        # `check_filters` has found it.
        position = self._position(one.value) or 0
        if one.operator == "generalizes":
            above = ", ".join(str(found) for found in self._ancestors(position))
            query.conditions.append(f"p.position IN ({above})")
            return
        ancestor = query.bind(position)
        if one.operator == "descendent-of":
            query.conditions.append(f"p.position <> {ancestor}")
        below = _BELOW.format(system=system, ancestor=ancestor, position="p.position")
        if one.operator == "is-not-a":
            query.conditions.append(f"NOT (p.position = {ancestor} OR {below})")
        elif not self._has_below(position):
            query.conditions.append(f"p.position = {ancestor}")
        elif query.source == "terminology_concept p":
            # Nothing shorter to go through yet: the intervals, which are in the order of positions.
            query.source = "terminology_interval r CROSS JOIN terminology_concept p"
            query.order = "r.low, p.position"
            query.conditions += [
                f"r.system = {system}",
                f"r.ancestor = {ancestor}",
                "p.position BETWEEN r.low AND r.high",
            ]
        else:
            query.conditions.append(below)

    def _has_below(self, position: int) -> bool:
        row = self._connection.execute(
            "SELECT 1 FROM terminology_interval WHERE system = ? AND ancestor = ? LIMIT 1",
            (self._number, position),
        )
        return row.fetchone() is not None


def find_loaded_system(
    connection: Connection, url: str, version: str | None = None
) -> CodeSystem | None:
    """Return a loaded code system, the newest version where none is named."""
    rows = connection.execute(
        "SELECT number, version, header, concepts FROM terminology_system"
        " WHERE url = ? AND ready = 1",
        (url,),
    ).fetchall()
    matching = [row for row in rows if version in (None, row["version"])]
    if not matching:
        return None
    newest = max(matching, key=lambda row: version_key(row["version"]))
    header = read_header(newest["header"])
    return StoredCodeSystem(connection, LoadedSystem(newest["number"], header, newest["concepts"]))
