"""A composite as SQL: rows of its parts that stand in one element, so under one number (`slot`).

A part of the resource as a whole (`%resource…` in its definition) goes with every element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ehr_fhir.search.filters import Clause
from ehr_fhir.search_parameters import SearchParameter
from ehr_gateway.search.values import Params, value_condition

__all__ = ["CompositeSql", "compile_composite"]


@dataclass(frozen=True)
class CompositeSql:
    """Two SELECTs over the rows of all parts, and the condition that puts them together."""

    within: str  # of the resource `r`
    among: str  # of all resources
    same: str


def compile_composite(
    params: Params,
    param: Callable[[SearchParameter], str],
    composite: SearchParameter,
    parts: Sequence[Clause],
) -> CompositeSql:
    """Return one value of a composite, `code$value`."""
    within, among, same = [], [], []
    counted = None
    for number, (component, part) in enumerate(zip(composite.components, parts, strict=True)):
        kind = part.parameter.type
        # One value: alternatives stand between composites, not in their parts.
        test = value_condition(params, kind, part, part.values[0])
        rows = (
            f"SELECT pk, slot FROM idx_{kind}"  # noqa: S608
            f" WHERE param = {param(part.parameter)} AND {test}"
        )
        among.append(f"({rows}) c{number}")
        within.append(f"({rows} AND pk = r.pk) c{number}")
        if number:
            same.append(f"c{number}.pk = c0.pk")
        if not component.of_resource:
            same += [f"c{number}.slot = {counted}.slot"] if counted else []
            counted = f"c{number}"
    return CompositeSql(
        f"SELECT c0.pk FROM {', '.join(within)}",  # noqa: S608
        f"SELECT c0.pk FROM {', '.join(among)}",  # noqa: S608
        " AND ".join(same),
    )
