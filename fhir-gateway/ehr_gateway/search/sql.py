"""Compile the filters of a search to SQL: each as a condition on `r` and as a candidate list.

The condition checks one resource, through the index from resource to values. It decides what
matches, and applies the consent condition to every resource that a chain or `_has` passes through:
a resource that the requester cannot find leads nowhere. The candidate list is a SELECT of primary
keys, through the index from values to resources, that leaves out no match. It says where to look,
never what to show. `plan.py` chooses the one list to start from.
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
from ehr_gateway.search.contained import ContainedCompiler
from ehr_gateway.search.values import (
    Params,
    clause_conditions,
    clause_table,
    count_condition,
    instant_condition,
    value_tables,
)
from ehr_gateway.store import full_text
from ehr_privacy.consent import BY_ROW

__all__ = ["FilterCompiler", "FilterSql"]

# Ranks of filters that match few resources by their kind, the most selective first: an id, what
# refers to one encounter, what refers to one patient. Others must be counted.
_IDENTITY, _ENCOUNTER, _PATIENT = range(3)
_SELECTIVE_TARGETS = {"Encounter": _ENCOUNTER, "Patient": _PATIENT}
# The visible resources, for those that chains pass through. A CTE, because SQLite's parser allows
# about a hundred levels of nesting; it is never materialized, only looked up by key.
_VISIBLE_TABLE = (
    "visible AS NOT MATERIALIZED (SELECT r.pk FROM resource r"
    " WHERE r.current = 1 AND r.deleted = 0 AND ({visible}))"
)
_R_IS_VISIBLE = "EXISTS (SELECT 1 FROM visible WHERE visible.pk = r.pk)"
_D_IS_VISIBLE = "EXISTS (SELECT 1 FROM visible WHERE visible.pk = d.pk)"


@dataclass(frozen=True)
class FilterSql:
    """One filter: a condition on `r`, and a SELECT of primary keys that leaves out no match."""

    condition: str
    candidates: str | None = None
    # Whether the list holds the matches and nothing else.
    is_exact: bool = False
    # Whether the condition reads indexes alone, by `r.pk`: then it is met or not by a primary key,
    # and the resource itself need not be fetched.
    reads_index_only: bool = False
    # Whether deleted resources cannot match, since they have no values in the index.
    excludes_deleted: bool = False
    # `_IDENTITY` and so on if the list is short by its kind; None if it must be counted.
    rank: int | None = None
    # The filters whose lists this one is built on: it is counted only if those are short.
    nested: tuple[FilterSql, ...] = ()
    # What to count in place of the list, where that is quicker.
    counted_candidates: str | None = None


class FilterCompiler:
    """Compiles filters to SQL, binding their values to parameters."""

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
        # `+ 0` keeps SQLite from using the index by time: it would in searches of any order, and
        # then sort all that it finds. Only a search in the order of time is to use it.
        self._last_updated = "r.last_updated" if by_time else "(r.last_updated + 0)"
        self._passes_through = False
        self._contained = ContainedCompiler(params, self._number_of, self._compile_target)

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the CTEs that the conditions need."""
        return (_VISIBLE_TABLE.format(visible=self._visible),) if self._passes_through else ()

    def compile(self, kind: str, search_filter: Filter) -> FilterSql:
        """Compile one filter of a search for a resource type."""
        if isinstance(search_filter, Chain):
            return self._chain(search_filter)
        if isinstance(search_filter, ReverseChain):
            return self._has(search_filter)
        if isinstance(search_filter, AnyOf):
            return self._any_of(kind, search_filter)
        if isinstance(search_filter, Not):
            return FilterSql(f"NOT ({self.compile(kind, search_filter.filter).condition})")
        if isinstance(search_filter, Composite):
            return self._composite(search_filter)
        if isinstance(search_filter, InCompartment):
            of_patient = f"patient = {self._bind(search_filter.patient)}"
            return FilterSql(
                f"EXISTS (SELECT 1 FROM record_patient WHERE pk = r.pk AND {of_patient} {BY_ROW})",  # noqa: S608
                f"SELECT pk FROM record_patient WHERE {of_patient}",  # noqa: S608
                is_exact=True,
                reads_index_only=True,
                rank=_PATIENT,
            )
        if search_filter.parameter.code in ("_id", "_lastUpdated") and search_filter.modifier:
            # `:missing`: every resource has both.
            return FilterSql("FALSE" if search_filter.values[0].code == "true" else "TRUE")
        if search_filter.parameter.code == "_id":
            names = ", ".join(self._bind(value.code) for value in search_filter.values)
            condition = f"r.id IN ({names})"
            return FilterSql(
                condition, self._current(kind, condition), is_exact=True, rank=_IDENTITY
            )
        if search_filter.parameter.code == "_lastUpdated":
            return self._last_updated_filter(kind, search_filter)
        if search_filter.parameter.is_full_text:
            return self._full_text(kind, search_filter)
        return self._clause(search_filter)

    def _bind(self, value: object) -> str:
        return self._params.bind(value)

    def _current(self, kind: str, condition: str) -> str:
        return (
            f"SELECT r.pk FROM resource r WHERE r.type = {self._bind(kind)}"  # noqa: S608
            f" AND r.current = 1 AND {condition}"
        )

    def _last_updated_filter(self, kind: str, clause: Clause) -> FilterSql:
        condition, in_list = (
            _or([instant_condition(self._params, column, value) for value in clause.values])
            for column in (self._last_updated, "r.last_updated")
        )
        return FilterSql(condition, self._current(kind, in_list), is_exact=True)

    def _full_text(self, kind: str, clause: Clause) -> FilterSql:
        expression = full_text.build_expression(
            self._dialect,
            kind,
            [group for value in clause.values for group in value.conjunctions],
            narrative=clause.parameter.code == "_text",
        )
        name = self._bind(expression)
        condition, candidates = (
            full_text.match_condition(self._dialect, name),
            full_text.matching_pks_sql(self._dialect, name),
        )
        return FilterSql(condition, candidates, is_exact=True, excludes_deleted=True)

    def _clause(self, clause: Clause) -> FilterSql:
        parameter = clause.parameter
        kind = clause_table(clause)
        param = self._param(parameter)
        if clause.modifier == "missing":
            return self._missing(clause, param)
        conditions = clause_conditions(self._params, clause)
        values = self._values_of_r(kind, param) if kind == "token" else f"idx_{kind}"
        condition = (
            f"EXISTS (SELECT 1 FROM {values} WHERE pk = r.pk AND param = {param}"  # noqa: S608
            f" AND {_or(conditions)} {BY_ROW})"
        )
        if clause.modifier in ("not", "not-in"):
            # No candidate list: nearly every resource lacks a value.
            return FilterSql(f"NOT {condition}", reads_index_only=True)
        candidates = [
            f"SELECT pk FROM idx_{kind} WHERE param = {param} AND {value_sql}"  # noqa: S608
            for value_sql in conditions
        ]
        return _indexed_filter(
            condition,
            candidates,
            rank=_selectivity(clause),
            counted_candidates=self._count_sql(kind, param, clause),
        )

    def _values_of_r(self, kind: str, param: str) -> str:
        """Return a table of the index values of `r` that can be read only from the resource.

        PostgreSQL might otherwise look, for each resource, among all that have the code or refer to
        the type.
        """
        if self._dialect == "sqlite":
            return f"idx_{kind} i"
        table = f"idx_{kind} WHERE pk = r.pk AND param = {param}"
        return f"(SELECT * FROM {table} {BY_ROW}) i"  # noqa: S608

    def _count_sql(self, kind: str, param: str, clause: Clause) -> str | None:
        for value in clause.values:
            if condition := count_condition(self._params, kind, value):
                return f"SELECT pk FROM idx_{kind} WHERE param = {param} AND {condition}"  # noqa: S608
        return None

    def _missing(self, clause: Clause, param: str) -> FilterSql:
        tables = value_tables(clause.parameter)
        if clause.parameter.points_inside:
            # `composition` and `message` share their rows, and differ in what they point to.
            (target,) = clause.parameter.targets
            tables = ("reference",)
            param = f"{param} AND target_type = {self._bind(f'#{target}')}"
        conditions = [
            f"EXISTS (SELECT 1 FROM idx_{table} WHERE pk = r.pk AND param = {param} {BY_ROW})"  # noqa: S608
            for table in tables
        ]
        if clause.values[0].code == "true":
            return FilterSql(f"NOT {_or(conditions)}", reads_index_only=True)
        lists = [f"SELECT pk FROM idx_{table} WHERE param = {param}" for table in tables]  # noqa: S608
        return _indexed_filter(_or(conditions), lists)

    def _composite(self, composite: Composite) -> FilterSql:
        pairs = [
            compile_composite(self._params, self._param, composite.parameter, components)
            for components in composite.values
        ]
        condition = _or(
            [f"EXISTS ({pair.of_resource} WHERE {pair.join_condition} {BY_ROW})" for pair in pairs]
        )
        lists = [f"{pair.of_all} WHERE {pair.join_condition}" for pair in pairs]
        return _indexed_filter(condition, lists)

    def _any_of(self, kind: str, any_of: AnyOf) -> FilterSql:
        groups = [[self.compile(kind, part) for part in group] for group in any_of.groups]
        condition = _or([" AND ".join(sql.condition for sql in group) for group in groups])
        # Every match is in one list of some group, so one list of each makes a list of the whole;
        # with no list in one of the groups there is none.
        selective = [_most_selective(group) for group in groups]
        nested = tuple(sql for sql in selective if sql is not None)
        if len(nested) < len(groups):
            return FilterSql(condition)
        return FilterSql(condition, _union_candidates(nested), nested=nested)

    def _chain(self, chain: Chain) -> FilterSql:
        param = self._param(chain.parameter)
        conditions, lists, nested = [], [], []
        contained_lists: list[str] = []
        # `i` is the index row of the reference, `t` the resource it points to, `d` the candidates
        # among those. Inside the EXISTS the target is named `r`, as every compiled filter expects.
        stored_targets = () if chain.parameter.points_inside else chain.targets
        for kind, target_filter in stored_targets:
            sql, target = self._compile_linked(kind, target_filter), self._bind(kind)
            refers = f"i.param = {param} AND i.target_type = {target}"
            conditions.append(
                f"EXISTS (SELECT 1 FROM {self._values_of_r('reference', param)}"  # noqa: S608
                f" WHERE i.pk = r.pk AND {refers}"
                f" AND EXISTS (SELECT 1 FROM resource r WHERE r.type = {target}"
                f" AND r.id = i.target_id AND r.current = 1 AND {sql.condition}"
                f" AND {_R_IS_VISIBLE} {BY_ROW})"
                f" {BY_ROW})"
            )
            if sql.candidates:
                nested.append(sql)
                # SQLite keeps the order of a CROSS JOIN: from the targets of the chain backwards.
                lists.append(
                    f"SELECT i.pk FROM ({sql.candidates}) d CROSS JOIN resource t"  # noqa: S608
                    f" CROSS JOIN idx_reference i WHERE t.pk = d.pk AND t.type = {target}"
                    f" AND i.target_id = t.id AND {refers}"
                )
        targets = len(conditions)
        for kind, target_filter in chain.targets:
            if inside := self._contained.compile(chain.parameter, kind, target_filter):
                conditions.append(inside.condition)
                contained_lists.append(inside.candidates)
        if not conditions:
            return FilterSql("FALSE")
        # Each is an EXISTS and needs no parentheses, of which SQLite's parser has room for few.
        condition = conditions[0] if len(conditions) == 1 else f"({' OR '.join(conditions)})"
        if len(lists) < targets:
            # A target type without a list could hold matches that no list would name.
            return FilterSql(condition, excludes_deleted=True)
        return _linked_filter(
            condition, lists, nested, excludes_deleted=True, own_lists=contained_lists
        )

    def _has(self, has: ReverseChain) -> FilterSql:
        kind = has.parameter.resource_type
        if has.parameter.points_inside:
            # No document names a resource outside of it by these.
            return FilterSql("FALSE")
        sql = self._compile_linked(kind, has.filter)
        param, referred = self._param(has.parameter), self._bind(has.referred)
        refers = f"i.param = {param} AND i.target_type = {referred}"
        condition = (
            f"EXISTS (SELECT 1 FROM idx_reference i WHERE i.target_id = r.id AND {refers}"  # noqa: S608
            f" AND EXISTS (SELECT 1 FROM resource r WHERE r.pk = i.pk"
            f" AND {sql.condition} AND {_R_IS_VISIBLE} {BY_ROW}) {BY_ROW})"
        )
        if not sql.candidates:
            return FilterSql(condition)
        candidates = (
            f"SELECT t.pk FROM ({sql.candidates}) d CROSS JOIN idx_reference i"  # noqa: S608
            f" CROSS JOIN resource t WHERE i.pk = d.pk AND {refers}"
            f" AND t.type = {referred} AND t.id = i.target_id AND t.current = 1"
        )
        # Deleted resources can match: they have no values, but others may still refer to them.
        return _linked_filter(condition, [candidates], [sql], excludes_deleted=False)

    def _compile_linked(self, kind: str, search_filter: Filter) -> FilterSql:
        if kind == "AuditEvent":
            raise Invalid("The audit log is searched at its own address, not through others.")
        self._passes_through = True
        return self.compile(kind, search_filter)

    def _compile_target(self, kind: str, search_filter: Filter) -> str:
        """Return the condition on a resource that a contained one refers to."""
        return f"{self._compile_linked(kind, search_filter).condition} AND {_R_IS_VISIBLE}"

    def _number_of(self, parameter: SearchParameter) -> int:
        return self._parameter_ids[parameter.resource_type, parameter.code]

    def _param(self, parameter: SearchParameter) -> str:
        return self._bind(self._number_of(parameter))


def _indexed_filter(
    condition: str,
    lists: Sequence[str],
    *,
    rank: int | None = None,
    counted_candidates: str | None = None,
) -> FilterSql:
    """Return a filter whose condition and lists read the values of an index table alone."""
    return FilterSql(
        condition,
        " UNION ALL ".join(lists),
        is_exact=True,
        reads_index_only=True,
        excludes_deleted=True,
        rank=rank,
        counted_candidates=counted_candidates,
    )


def _linked_filter(
    condition: str,
    lists: Sequence[str],
    nested: Sequence[FilterSql],
    *,
    excludes_deleted: bool,
    own_lists: Sequence[str] = (),
) -> FilterSql:
    """Return the filter of a chain or `_has`, whose list is exact if those it is built on are.

    Consent is then checked once for each resource passed through, not once for each that refers to
    it. `own_lists` pass through no other resource, and are exact.
    """
    every_candidate = " UNION ALL ".join([*lists, *own_lists])
    is_exact = all(sql.is_exact for sql in nested)
    candidates = (
        " UNION ALL ".join([*(f"{select} AND {_D_IS_VISIBLE}" for select in lists), *own_lists])
        if is_exact
        else every_candidate
    )
    return FilterSql(
        condition,
        candidates,
        is_exact=is_exact,
        excludes_deleted=excludes_deleted,
        nested=tuple(nested),
        counted_candidates=every_candidate,
    )


def _or(conditions: Sequence[str]) -> str:
    if len(conditions) == 1:
        return conditions[0]
    return "(" + " OR ".join(f"({condition})" for condition in conditions) + ")"


def _union_candidates(filters: Sequence[FilterSql]) -> str:
    return " UNION ALL ".join(f"SELECT pk FROM ({sql.candidates}) u" for sql in filters)  # noqa: S608


def _selectivity(clause: Clause) -> int | None:
    """Return the rank of a clause that matches few resources by its kind, else None."""
    parameter, values = clause.parameter, clause.values
    if parameter.type == "reference" and clause.modifier != "identifier":
        kinds = {value.system for value in values}
        if all(value.code for value in values) and kinds <= _SELECTIVE_TARGETS.keys():
            return max(_SELECTIVE_TARGETS[str(kind)] for kind in kinds)
    identifies = clause.modifier in (None, "identifier", "of-type")
    if parameter.datatypes == {"Identifier"} and identifies and all(value.code for value in values):
        return _IDENTITY
    return None


def _most_selective(filters: Sequence[FilterSql]) -> FilterSql | None:
    """Return the filter whose list is most likely the shortest."""
    candidates = [sql for sql in filters if sql.candidates]
    return min(
        candidates, key=lambda sql: _PATIENT + 1 if sql.rank is None else sql.rank, default=None
    )
