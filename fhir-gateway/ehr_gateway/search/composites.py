"""Compile a composite parameter: index rows of its components joined by element.

Rows of one repeating element have the same number in the column `slot`. A component that belongs to
the resource as a whole (`%resource…` in its definition) goes with every element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ehr_fhir.index.rows import MAX_CONTAINED
from ehr_fhir.search.filters import Clause
from ehr_fhir.search_parameters import SearchParameter
from ehr_gateway.search.values import Params, value_condition

__all__ = ["CompositeSql", "compile_composite"]


@dataclass(frozen=True)
class CompositeSql:
    """Two SELECTs over the index rows of all components, and the condition that joins them."""

    of_resource: str  # the rows of the resource `r` alone
    of_all: str
    join_condition: str


def compile_composite(
    params: Params,
    param: Callable[[SearchParameter], str],
    composite: SearchParameter,
    parts: Sequence[Clause],
    *,
    inside: bool = False,
) -> CompositeSql:
    """Compile one value of a composite, `code$value`; `parts` are its values by component.

    `inside` is for the values of contained resources, whose slots have their numbers, too.
    """
    of_resource, of_all, join_conditions = [], [], []
    # The alias of the first component whose slot the others must share.
    slot_owner = None
    for number, (component, part) in enumerate(zip(composite.components, parts, strict=True)):
        kind = part.parameter.type
        # One value each: alternatives are whole composites, `code$value,code$value`.
        condition = value_condition(params, kind, part, part.values[0])
        rows = (
            f"SELECT pk, slot FROM idx_{kind}"  # noqa: S608
            f" WHERE param = {param(part.parameter)} AND {condition}"
        )
        of_all.append(f"({rows}) c{number}")
        of_resource.append(f"({rows} AND pk = r.pk) c{number}")
        if number:
            # Values of one resource, contained or of its own.
            join_conditions.append(f"c{number}.pk = c0.pk")
            if component.of_resource or composite.components[0].of_resource:
                same = f"c{number}.slot % {MAX_CONTAINED} = c0.slot % {MAX_CONTAINED}"
                join_conditions += [same] if inside else []
        # And, unless the component is about the whole resource, of one element.
        if not component.of_resource:
            join_conditions += [f"c{number}.slot = {slot_owner}.slot"] if slot_owner else []
            slot_owner = f"c{number}"
    return CompositeSql(
        f"SELECT c0.pk FROM {', '.join(of_resource)}",  # noqa: S608
        f"SELECT c0.pk FROM {', '.join(of_all)}",  # noqa: S608
        " AND ".join(join_conditions),
    )
