"""Compile what a chain asks of a contained resource, such as `medication.code` of `#m`.

The values of contained resources stand in the index under the resource that contains them, with the
negative number of their parameter and the number of the contained resource in `slot`, to which
ordinals of repeating elements are added (`MAX_CONTAINED`). A reference
to one has the type `#Medication` and the id `#1` (`ehr_fhir.index.rows`). What may be seen
of a contained resource is what may be seen of the one that contains it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ehr_fhir.index.rows import MAX_CONTAINED
from ehr_fhir.search.filters import AnyOf, Chain, Clause, Composite, Filter, Not, ReverseChain
from ehr_fhir.search_parameters import SearchParameter
from ehr_gateway.search.composites import compile_composite
from ehr_gateway.search.values import Params, clause_conditions, clause_table, value_tables
from ehr_privacy.consent import BY_ROW

__all__ = ["ContainedCompiler", "ContainedSql"]

_NEGATIVE_MODIFIERS = frozenset({"not", "not-in"})
# A contained resource has neither an id nor a time by which it could be searched, and no words.
_OF_STORED_RESOURCES = frozenset({"_content", "_id", "_lastUpdated", "_text"})


@dataclass(frozen=True)
class ContainedSql:
    """A condition on `r`, and a SELECT of the keys of exactly the resources that meet it."""

    condition: str
    candidates: str


class ContainedCompiler:
    """Compiles filters that the target of a reference must meet, where it is contained."""

    def __init__(
        self,
        params: Params,
        number_of: Callable[[SearchParameter], int],
        compile_target: Callable[[str, Filter], str],
    ) -> None:
        self._params = params
        self._number_of = number_of
        # Compiles the condition on a resource of its own that a contained one refers to.
        self._compile_target = compile_target

    def compile(
        self, parameter: SearchParameter, kind: str, search_filter: Filter
    ) -> ContainedSql | None:
        """Compile a chain to a contained resource of one type; None if none can meet it."""
        if (met := self._condition(search_filter, "i.target_id", 1)) is None:
            return None
        refers = (
            f"i.param = {self._params.bind(self._number_of(parameter))}"
            f" AND i.target_type = {self._params.bind(f'#{kind}')}"
        )
        condition = (
            f"EXISTS (SELECT 1 FROM idx_reference i WHERE i.pk = r.pk AND {refers}"  # noqa: S608
            f" AND {met} {BY_ROW})"
        )
        if isinstance(search_filter, Clause) and not _is_negative(search_filter):
            # From the values backwards: contained resources of a type may be many.
            candidates = (
                f"SELECT i.pk FROM ({self._rows(search_filter)}) c CROSS JOIN idx_reference i"  # noqa: S608
                f" WHERE i.pk = c.pk AND i.target_id = {_number('c')} AND {refers}"
            )
        else:
            candidates = (
                f"SELECT i.pk FROM idx_reference i CROSS JOIN resource r"  # noqa: S608
                f" WHERE r.pk = i.pk AND {refers} AND {met}"
            )
        return ContainedSql(condition, candidates)

    def _condition(self, search_filter: Filter, number: str, depth: int) -> str | None:
        """Return the condition on the contained resource of `r` that has a number; None if never.

        `number` is the column of the reference to it, as `#1`.
        """
        if isinstance(search_filter, Clause):
            return self._clause(search_filter, number)
        if isinstance(search_filter, Not):
            inner = self._condition(search_filter.filter, number, depth)
            return None if inner is None else f"NOT ({inner})"
        if isinstance(search_filter, AnyOf):
            groups = [
                [self._condition(part, number, depth) for part in group]
                for group in search_filter.groups
            ]
            possible = [" AND ".join(filter(None, group)) for group in groups if None not in group]
            return f"({' OR '.join(f'({group})' for group in possible)})" if possible else None
        if isinstance(search_filter, Chain):
            return self._chain(search_filter, number, depth)
        if isinstance(search_filter, Composite):
            return self._composite(search_filter, number)
        if isinstance(search_filter, ReverseChain):
            return self._has(search_filter, number, depth)
        # A compartment is of resources of their own.
        return None

    def _clause(self, clause: Clause, number: str) -> str | None:
        if clause.parameter.code in _OF_STORED_RESOURCES:
            return None
        if clause.modifier == "missing":
            param = self._params.bind(-self._number_of(clause.parameter))
            rows = [
                f"EXISTS (SELECT 1 FROM idx_{table} c WHERE c.pk = r.pk AND c.param = {param}"  # noqa: S608
                f" AND {_number('c')} = {number})"
                for table in value_tables(clause.parameter)
            ]
            condition = f"({' OR '.join(rows)})"
            return f"NOT {condition}" if clause.values[0].code == "true" else condition
        condition = (
            f"EXISTS (SELECT 1 FROM ({self._rows(clause)} AND pk = r.pk) c"  # noqa: S608
            f" WHERE {_number('c')} = {number})"
        )
        return f"NOT {condition}" if clause.modifier in _NEGATIVE_MODIFIERS else condition

    def _rows(self, clause: Clause) -> str:
        """Return the SELECT of the index rows of contained resources that a clause finds."""
        param = self._params.bind(-self._number_of(clause.parameter))
        conditions = " OR ".join(f"({one})" for one in clause_conditions(self._params, clause))
        return (
            f"SELECT pk, slot FROM idx_{clause_table(clause)}"  # noqa: S608
            f" WHERE param = {param} AND ({conditions})"
        )

    def _composite(self, composite: Composite, number: str) -> str:
        pairs = [
            compile_composite(
                self._params, self._param_inside, composite.parameter, components, inside=True
            )
            for components in composite.values
        ]
        found = [
            f"EXISTS ({pair.of_resource} WHERE {pair.join_condition}"
            f" AND {_number('c0')} = {number})"
            for pair in pairs
        ]
        return f"({' OR '.join(found)})"

    def _has(self, has: ReverseChain, number: str, depth: int) -> str:
        """Return the condition that the resource which contains it, or another in it, refers to it.

        Nothing else can: a contained resource has no name outside.
        """
        alias, kind = f"i{depth}", has.parameter.resource_type
        param = self._number_of(has.parameter)
        refers = (
            f"{alias}.pk = r.pk AND {alias}.target_type = {self._params.bind(f'#{has.referred}')}"
            f" AND {alias}.target_id = {number}"
        )
        met = self._compile_target(kind, has.filter)
        found = [
            f"r.type = {self._params.bind(kind)} AND {met} AND EXISTS (SELECT 1"  # noqa: S608
            f" FROM idx_reference {alias} WHERE {alias}.param = {self._params.bind(param)}"
            f" AND {refers})"
        ]
        if inner := self._condition(has.filter, _number(alias), depth + 1):
            found.append(
                f"EXISTS (SELECT 1 FROM idx_reference {alias}"  # noqa: S608
                f" WHERE {alias}.param = {self._params.bind(-param)} AND {refers} AND {inner})"
            )
        return f"({' OR '.join(f'({condition})' for condition in found)})"

    def _param_inside(self, parameter: SearchParameter) -> str:
        return self._params.bind(-self._number_of(parameter))

    def _chain(self, chain: Chain, number: str, depth: int) -> str | None:
        """Return the condition that a contained resource refers to one that meets a filter."""
        alias = f"i{depth}"
        param = self._params.bind(-self._number_of(chain.parameter))
        refers = f"{alias}.pk = r.pk AND {alias}.param = {param} AND {_number(alias)} = {number}"
        targets = []
        for kind, target_filter in chain.targets:
            bound = self._params.bind(kind)
            targets.append(
                f"{alias}.target_type = {bound} AND EXISTS (SELECT 1 FROM resource r"  # noqa: S608
                f" WHERE r.type = {bound} AND r.id = {alias}.target_id AND r.current = 1"
                f" AND {self._compile_target(kind, target_filter)} {BY_ROW})"
            )
            inner = self._condition(target_filter, f"{alias}.target_id", depth + 1)
            if inner is not None:
                contained = self._params.bind(f"#{kind}")
                targets.append(f"{alias}.target_type = {contained} AND {inner}")
        met = " OR ".join(f"({target})" for target in targets)
        return f"EXISTS (SELECT 1 FROM idx_reference {alias} WHERE {refers} AND ({met}))"  # noqa: S608


def _number(alias: str) -> str:
    """Return the SQL of the contained resource that an index row is of, as `#1`."""
    return f"'#' || ({alias}.slot % {MAX_CONTAINED})"


def _is_negative(clause: Clause) -> bool:
    return clause.modifier in _NEGATIVE_MODIFIERS or clause.modifier == "missing"
