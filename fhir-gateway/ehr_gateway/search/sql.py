"""A search's filters as SQL on `r`, the current version: each as a test, and as a list to begin at.

The test asks one resource by the table's index from resource to values; it decides, and in it the
consent predicate stands at every resource that a chain or `_has` passes through: what the requester
may not find leads nowhere. The list holds at least the resources the test holds for, found from the
values; it says where to look, never what to show. `search_plan.py` chooses the one list to use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ehr_fhir.errors import Invalid
from ehr_fhir.search.filters import (
    AnyOf,
    Chain,
    Clause,
    Composite,
    Filter,
    InCompartment,
    Not,
    ReverseChain,
)
from ehr_fhir.search_parameters import SearchParameter
from ehr_gateway.database import Dialect
from ehr_gateway.search.composites import compile_composite
from ehr_gateway.search.value_sets import CODE_SET_MODIFIERS
from ehr_gateway.search.values import (
    Params,
    any_token_conditions,
    count_condition,
    instant_condition,
    value_condition,
)
from ehr_gateway.store import full_text
from ehr_privacy.consent import BY_ROW

__all__ = ["FilterCompiler", "FilterSql"]

# Known to be few without counting, the fewest first.
_IDENTITY, _STAY, _PATIENT = range(3)
_SELECTIVE_TARGETS = {"Encounter": _STAY, "Patient": _PATIENT}
# By modifier or type, where the table has another name.
_INDEX_TABLES = {"identifier": "token", "special": "position", "text": "string"}
# What the requester may find, for the resources on the way. A table of its own before the query,
# because SQLite's parser bears about a hundred open levels; it is never made, only looked into.
_VISIBLE_TABLE = (
    "seen AS NOT MATERIALIZED (SELECT r.pk FROM resource r"
    " WHERE r.current = 1 AND r.deleted = 0 AND ({visible}))"
)
_R_IS_VISIBLE = "EXISTS (SELECT 1 FROM seen WHERE seen.pk = r.pk)"
_D_IS_VISIBLE = "EXISTS (SELECT 1 FROM seen WHERE seen.pk = d.pk)"


@dataclass(frozen=True)
class FilterSql:
    """One filter: a condition on `r`, and a SELECT of pks that leaves out none it holds for."""

    test: str
    listed: str | None = None
    # Whether the list holds exactly what the test holds for.
    exact: bool = False
    # Whether it holds for no deleted resource: those have no values.
    excludes_deleted: bool = False
    # How surely the list is short; None when it must be counted.
    rank: int | None = None
    # What the list is built on: it is counted only if these are short.
    nested: tuple[FilterSql, ...] = ()
    # What is counted, where that is quicker than counting the list.
    counted_candidates: str | None = None


class FilterCompiler:
    """Turns filters into parts, and gathers their values."""

    def __init__(
        self,
        parameter_ids: Mapping[tuple[str, str], int],
        params: Params,
        visible: str,
        dialect: Dialect,
        *,
        by_time: bool = False,
    ) -> None:
        self._parameter_ids = parameter_ids
        self._params = params
        self._visible = visible
        self._dialect = dialect
        # Only a search in the order of time may walk along the times; SQLite would in any other
        # too, and then sort all that it finds.
        self._last_updated = "r.last_updated" if by_time else "(r.last_updated + 0)"
        self._passes_through = False

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the tables that the tests need before the query."""
        return (_VISIBLE_TABLE.format(visible=self._visible),) if self._passes_through else ()

    def compile(self, kind: str, one: Filter) -> FilterSql:
        """Return one filter of a search for a resource type."""
        if isinstance(one, Chain):
            return self._chain(one)
        if isinstance(one, ReverseChain):
            return self._has(one)
        if isinstance(one, AnyOf):
            return self._any_of(kind, one)
        if isinstance(one, Not):
            return FilterSql(f"NOT ({self.compile(kind, one.filter).test})")
        if isinstance(one, Composite):
            return self._composite(one)
        if isinstance(one, InCompartment):
            whose = f"patient = {self._bind(one.patient)}"
            return FilterSql(
                f"EXISTS (SELECT 1 FROM record_patient WHERE pk = r.pk AND {whose} {BY_ROW})",  # noqa: S608
                f"SELECT pk FROM record_patient WHERE {whose}",  # noqa: S608
                exact=True,
                rank=_PATIENT,
            )
        if one.parameter.code == "_id":
            names = ", ".join(self._bind(value.code) for value in one.values)
            test = f"r.id IN ({names})"
            return FilterSql(test, self._current(kind, test), exact=True, rank=_IDENTITY)
        if one.parameter.code == "_lastUpdated":
            return self._last_updated_filter(kind, one)
        if one.parameter.is_full_text:
            return self._full_text(kind, one)
        return self._clause(one)

    def _bind(self, value: object) -> str:
        return self._params.bind(value)

    def _current(self, kind: str, test: str) -> str:
        return (
            f"SELECT r.pk FROM resource r WHERE r.type = {self._bind(kind)}"  # noqa: S608
            f" AND r.current = 1 AND {test}"
        )

    def _last_updated_filter(self, kind: str, clause: Clause) -> FilterSql:
        walk, start = (
            _or([instant_condition(self._params, column, value) for value in clause.values])
            for column in (self._last_updated, "r.last_updated")
        )
        return FilterSql(walk, self._current(kind, start), exact=True)

    def _full_text(self, kind: str, clause: Clause) -> FilterSql:
        said = full_text.build_expression(
            self._dialect,
            kind,
            [group for value in clause.values for group in value.conjunctions],
            narrative=clause.parameter.code == "_text",
        )
        name = self._bind(said)
        test, listed = (
            full_text.match_condition(self._dialect, name),
            full_text.matching_pks_sql(self._dialect, name),
        )
        return FilterSql(test, listed, exact=True, excludes_deleted=True)

    def _clause(self, clause: Clause) -> FilterSql:
        parameter = clause.parameter
        kind = _INDEX_TABLES.get(
            clause.modifier or "", _INDEX_TABLES.get(parameter.type, parameter.type)
        )
        param = self._param(parameter)
        if clause.modifier == "missing":
            return self._missing(clause, param)
        if clause.parameter.type == "token" and clause.modifier in CODE_SET_MODIFIERS:
            tests = any_token_conditions(self._params, clause)
        else:
            tests = [value_condition(self._params, kind, clause, value) for value in clause.values]
        values = self._values_of_r(kind, param) if kind == "token" else f"idx_{kind}"
        test = (
            f"EXISTS (SELECT 1 FROM {values} WHERE pk = r.pk AND param = {param}"  # noqa: S608
            f" AND {_or(tests)} {BY_ROW})"
        )
        if clause.modifier in ("not", "not-in"):
            return FilterSql(f"NOT {test}")
        listed = [
            f"SELECT pk FROM idx_{kind} WHERE param = {param} AND {one}"  # noqa: S608
            for one in tests
        ]
        return FilterSql(
            test,
            " UNION ALL ".join(listed),
            exact=True,
            excludes_deleted=True,
            rank=_selectivity(clause),
            counted_candidates=self._count_sql(kind, param, clause),
        )

    def _values_of_r(self, kind: str, param: str) -> str:
        """Return the values of `r`, to be looked into from the resource and no other way.

        PostgreSQL might look among all that have a code, or refer to a type, for each resource.
        """
        if self._dialect == "sqlite":
            return f"idx_{kind} i"
        table = f"idx_{kind} WHERE pk = r.pk AND param = {param}"
        return f"(SELECT * FROM {table} {BY_ROW}) i"  # noqa: S608

    def _count_sql(self, kind: str, param: str, clause: Clause) -> str | None:
        for value in clause.values:
            if test := count_condition(self._params, kind, value):
                return f"SELECT pk FROM idx_{kind} WHERE param = {param} AND {test}"  # noqa: S608
        return None

    def _missing(self, clause: Clause, param: str) -> FilterSql:
        # A reference by identifier alone has its row among the tokens.
        kind = _INDEX_TABLES.get(clause.parameter.type, clause.parameter.type)
        kinds = ("reference", "token") if kind == "reference" else (kind,)
        tests = [
            f"EXISTS (SELECT 1 FROM idx_{one} WHERE pk = r.pk AND param = {param} {BY_ROW})"  # noqa: S608
            for one in kinds
        ]
        if clause.values[0].code == "true":
            return FilterSql(f"NOT {_or(tests)}")
        lists = [f"SELECT pk FROM idx_{one} WHERE param = {param}" for one in kinds]  # noqa: S608
        return FilterSql(_or(tests), " UNION ALL ".join(lists), exact=True, excludes_deleted=True)

    def _composite(self, one: Composite) -> FilterSql:
        pairs = [
            compile_composite(self._params, self._param, one.parameter, parts)
            for parts in one.values
        ]
        test = _or([f"EXISTS ({pair.within} WHERE {pair.same} {BY_ROW})" for pair in pairs])
        lists = [f"{pair.among} WHERE {pair.same}" for pair in pairs]
        return FilterSql(test, " UNION ALL ".join(lists), exact=True, excludes_deleted=True)

    def _any_of(self, kind: str, one: AnyOf) -> FilterSql:
        groups = [[self.compile(kind, filter_) for filter_ in group] for group in one.groups]
        test = _or([" AND ".join(part.test for part in group) for group in groups])
        firsts = [_most_selective(group) for group in groups]
        chosen = tuple(part for part in firsts if part is not None)
        if len(chosen) < len(groups):
            return FilterSql(test)
        return FilterSql(test, _union_candidates(chosen), nested=chosen)

    def _chain(self, chain: Chain) -> FilterSql:
        param = self._param(chain.parameter)
        tests, lists, inner = [], [], []
        for kind, after in chain.targets:
            part, target = self._compile_linked(kind, after), self._bind(kind)
            refers = f"i.param = {param} AND i.target_type = {target}"
            tests.append(
                f"EXISTS (SELECT 1 FROM {self._values_of_r('reference', param)}"  # noqa: S608
                f" WHERE i.pk = r.pk AND {refers}"
                f" AND EXISTS (SELECT 1 FROM resource r WHERE r.type = {target}"
                f" AND r.id = i.target_id AND r.current = 1 AND {part.test}"
                f" AND {_R_IS_VISIBLE} {BY_ROW})"
                f" {BY_ROW})"
            )
            if part.listed:
                inner.append(part)
                # CROSS JOIN: what the chain leads to comes first, and SQLite keeps the order.
                lists.append(
                    f"SELECT i.pk FROM ({part.listed}) d CROSS JOIN resource t"  # noqa: S608
                    f" CROSS JOIN idx_reference i WHERE t.pk = d.pk AND t.type = {target}"
                    f" AND i.target_id = t.id AND {refers}"
                )
        if len(lists) < len(tests):
            return FilterSql(_or(tests), excludes_deleted=True)
        return _linked_filter(_or(tests), lists, inner, alive=True)

    def _has(self, has: ReverseChain) -> FilterSql:
        kind = has.parameter.resource_type
        part = self._compile_linked(kind, has.filter)
        param, referred = self._param(has.parameter), self._bind(has.referred)
        refers = f"i.param = {param} AND i.target_type = {referred}"
        test = (
            f"EXISTS (SELECT 1 FROM idx_reference i WHERE i.target_id = r.id AND {refers}"  # noqa: S608
            f" AND EXISTS (SELECT 1 FROM resource r WHERE r.pk = i.pk"
            f" AND {part.test} AND {_R_IS_VISIBLE} {BY_ROW}) {BY_ROW})"
        )
        if not part.listed:
            return FilterSql(test)
        listed = (
            f"SELECT t.pk FROM ({part.listed}) d CROSS JOIN idx_reference i"  # noqa: S608
            f" CROSS JOIN resource t WHERE i.pk = d.pk AND {refers}"
            f" AND t.type = {referred} AND t.id = i.target_id AND t.current = 1"
        )
        # What was deleted has no values any more, but others may still refer to it.
        return _linked_filter(test, [listed], [part], alive=False)

    def _compile_linked(self, kind: str, after: Filter) -> FilterSql:
        if kind == "AuditEvent":
            raise Invalid("The audit log is searched at its own address, not through others.")
        self._passes_through = True
        return self.compile(kind, after)

    def _param(self, parameter: SearchParameter) -> str:
        return self._bind(self._parameter_ids[parameter.resource_type, parameter.code])


def _linked_filter(
    test: str, lists: Sequence[str], inner: Sequence[FilterSql], *, alive: bool
) -> FilterSql:
    """Return a part that passes through others; its list holds just what the test does if it can.

    Each resource passed through is then judged once, not once for each that refers to it.
    """
    counted = " UNION ALL ".join(lists)
    exact = all(part.exact for part in inner)
    listed = " UNION ALL ".join(f"{one} AND {_D_IS_VISIBLE}" for one in lists) if exact else counted
    return FilterSql(
        test,
        listed,
        exact=exact,
        excludes_deleted=alive,
        nested=tuple(inner),
        counted_candidates=counted,
    )


def _or(tests: Sequence[str]) -> str:
    return tests[0] if len(tests) == 1 else "(" + " OR ".join(f"({one})" for one in tests) + ")"


def _union_candidates(parts: Sequence[FilterSql]) -> str:
    return " UNION ALL ".join(f"SELECT pk FROM ({part.listed}) u" for part in parts)  # noqa: S608


def _selectivity(clause: Clause) -> int | None:
    """Say how surely few resources have these values."""
    parameter, values = clause.parameter, clause.values
    if parameter.type == "reference" and clause.modifier != "identifier":
        kinds = {value.system for value in values}
        if all(value.code for value in values) and kinds <= _SELECTIVE_TARGETS.keys():
            return max(_SELECTIVE_TARGETS[str(kind)] for kind in kinds)
    identifies = clause.modifier in (None, "identifier", "of-type")
    if parameter.datatypes == {"Identifier"} and identifies and all(value.code for value in values):
        return _IDENTITY
    return None


def _most_selective(parts: Sequence[FilterSql]) -> FilterSql | None:
    """Return the part whose list is most likely the shortest."""
    listed = [part for part in parts if part.listed]
    return min(
        listed, key=lambda part: _PATIENT + 1 if part.rank is None else part.rank, default=None
    )
