"""What a search filters by: a parameter and its values, alone, along a chain, or by `_has`.

Composites of repeating elements, `near` and text search are refused here, by name, until they are
served.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid, TooCostly
from ehr_fhir.query_values import SearchValue, parse_value, split
from ehr_fhir.search_parameters import SearchParameter, parameters, slots

__all__ = [
    "CONTROLS",
    "MOST_HOPS",
    "MOST_VALUES",
    "AnyOf",
    "Chain",
    "Clause",
    "Filter",
    "Has",
    "Unknown",
    "hops",
    "known",
]
__all__ += ["parse_filter"]

# Steps of one search from one resource to another; each is judged by consent, and costs.
MOST_HOPS = 12
# Values of one parameter; a database joins a bounded number of alternatives.
MOST_VALUES = 200
# A chain may fork at each step into every type its reference leads to.
_LONGEST = 4
# Beyond these a chain must name the type it goes to: R4's "any resource" is 145 types.
_MOST_TARGETS = 4
CONTROLS = frozenset(
    {"_count", "_cursor", "_elements", "_include", "_revinclude", "_sort", "_summary", "_total"}
)
_MODIFIERS: dict[str, set[str]] = {
    "composite": set(),
    "date": {"missing"},
    "number": {"missing"},
    "quantity": {"missing"},
    "reference": {"identifier", "missing"},
    "string": {"contains", "exact", "missing"},
    "token": {"missing", "not"},
    "uri": {"above", "below", "missing"},
}
_NOT_YET = frozenset(
    {"_contained", "_containedType", "_content", "_filter", "_query",
     "_score", "_text", "_type"}
)  # fmt: skip


class Unknown(Exception):
    """A parameter that this server does not know or serve; lenient handling passes over it."""


@dataclass(frozen=True)
class Clause:
    """One parameter of a search: any of its values must hold; all clauses must."""

    parameter: SearchParameter
    modifier: str | None
    values: tuple[SearchValue, ...]


@dataclass(frozen=True)
class Chain:
    """A reference must lead to a resource of one of these types that its filter holds for."""

    parameter: SearchParameter
    targets: tuple[tuple[str, Filter], ...]


@dataclass(frozen=True)
class Has:
    """A resource that the filter holds for must refer to this type by a parameter of its own."""

    referred: str
    parameter: SearchParameter
    filter: Filter


@dataclass(frozen=True)
class AnyOf:
    """All filters of at least one of these groups must hold."""

    groups: tuple[tuple[Filter, ...], ...]


@dataclass(frozen=True)
class InCompartment:
    """The resource must belong to the record of one patient."""

    patient: str


Filter = AnyOf | Chain | Clause | Has | InCompartment


def parse_filter(resource_type: str, name: str, text: str, depth: int = 0) -> Filter | None:
    """Understand one parameter that filters; without a value it filters nothing (R4 §3.1.1.2)."""
    if depth > _LONGEST:
        raise Invalid(f"A chain has at most {_LONGEST} steps.", issue_code="too-costly")
    if name == "_has" or name.startswith("_has:"):
        return _has(resource_type, name, text, depth)
    if name == "_list":
        return _in_list(resource_type, text)
    head, dot, rest = name.partition(".")
    code, _, modifier = head.partition(":")
    parameter = known(resource_type, code)
    if dot:
        return _chain(parameter, modifier, rest, text, depth)
    if text == "":
        return None
    _check_modifier(parameter, modifier)
    if parameter.components:
        return _composite(parameter, name, text)
    return Clause(parameter, modifier or None, _values(parameter, modifier, name, text))


def known(resource_type: str, code: str) -> SearchParameter:
    """Return a parameter that is served, or say which name comes nearest."""
    found = parameters(resource_type)
    if code in found and found[code].searched:
        return found[code]
    if code in found or code in _NOT_YET:
        raise Unknown(f"The search parameter `{code}` is not served yet.")
    names = [*(name for name, one in found.items() if one.searched), *CONTROLS, "_has", "_list"]
    nearest = difflib.get_close_matches(code, names, 1, 0)
    raise Unknown(
        f"{resource_type} has no search parameter `{code}`; the nearest name is `{nearest[0]}`."
    )


def hops(filters: Sequence[Filter]) -> int:
    """Count the steps from one resource to another."""
    found = 0
    for one in filters:
        if isinstance(one, Chain):
            found += len(one.targets) + hops([after for _, after in one.targets])
        elif isinstance(one, Has):
            found += 1 + hops([one.filter])
        elif isinstance(one, AnyOf):
            found += sum(map(hops, one.groups))
    return found


def _chain(
    parameter: SearchParameter, modifier: str, rest: str, text: str, depth: int
) -> Filter | None:
    if parameter.type != "reference":
        raise Invalid(f"A chain needs a reference; `{parameter.code}` is a {parameter.type}.")
    _check_target(parameter, modifier)
    types = [modifier] if modifier else _chained_types(parameter)
    if len(types) == 1:
        after = parse_filter(types[0], rest, text, depth + 1)
        return after and Chain(parameter, ((types[0], after),))
    targets, refused = [], []
    for kind in types:
        # The chain goes to those types that know what follows.
        try:
            after = parse_filter(kind, rest, text, depth + 1)
        except (Invalid, Unknown) as error:
            refused.append(error)
            continue
        if after is None:
            return None
        targets.append((kind, after))
    if not targets:
        raise refused[0]
    return Chain(parameter, tuple(targets))


def _chained_types(parameter: SearchParameter) -> list[str]:
    if 0 < len(parameter.targets) <= _MOST_TARGETS:
        return sorted(parameter.targets, key=lambda kind: (kind != "Patient", kind))
    raise Invalid(
        f"`{parameter.code}` leads to many types; name one, as in `{parameter.code}:Patient.`."
    )


def _has(resource_type: str, name: str, text: str, depth: int) -> Filter | None:
    parts = name.split(":", 3)
    if len(parts) < 4 or parts[1] not in definitions.resource_types():
        raise Invalid("`_has` has the form `_has:Type:reference:parameter`.")
    parameter = known(parts[1], parts[2])
    if parameter.type != "reference":
        raise Invalid(f"`_has` needs a reference; `{parameter.code}` is a {parameter.type}.")
    if parameter.targets and resource_type not in parameter.targets:
        raise Invalid(f"`{parts[1]}:{parameter.code}` does not refer to a {resource_type}.")
    after = parse_filter(parts[1], parts[3], text, depth + 1)
    return after and Has(resource_type, parameter, after)


def _in_list(resource_type: str, text: str) -> Filter | None:
    if text.startswith("$"):
        raise Invalid("`_list` takes the id of a List; there are no functional lists here.")
    identity = text and Clause(known("List", "_id"), None, (SearchValue(code=text),))
    return Has(resource_type, known("List", "item"), identity) if identity else None


def _values(
    parameter: SearchParameter, modifier: str, name: str, text: str
) -> tuple[SearchValue, ...]:
    if modifier == "missing":
        if text not in ("true", "false"):
            raise Invalid(f"`{name}` takes `true` or `false`.")
        return (SearchValue(code=text),)
    try:
        return tuple(parse_value(parameter, modifier or None, one) for one in _any_of(name, text))
    except Invalid as error:
        raise Invalid(f"`{name}`: {error}") from None


def _any_of(name: str, text: str) -> list[str]:
    values = split(text, ",")
    if len(values) > MOST_VALUES:
        raise TooCostly(f"`{name}` takes at most {MOST_VALUES} values.")
    return values


def _composite(parameter: SearchParameter, name: str, text: str) -> AnyOf:
    """Read `code$value`: every part of one value must hold for the resource."""
    known_here = parameters(parameter.resource_type)
    if any(one.code in slots(parameter.resource_type) for one in parameter.components):
        raise Unknown(f"The search parameter `{parameter.code}` is not served yet.")
    groups = []
    for one in _any_of(name, text):
        parts = split(one, "$")
        if len(parts) != len(parameter.components):
            raise Invalid(f"`{name}` takes {len(parameter.components)} parts, `$` between them.")
        groups.append(
            tuple(
                Clause(known_here[one.code], None, _values(known_here[one.code], "", name, part))
                for one, part in zip(parameter.components, parts, strict=True)
            )
        )
    return AnyOf(tuple(groups))


def _check_target(parameter: SearchParameter, kind: str) -> None:
    if kind and kind not in definitions.resource_types():
        raise Invalid(f"In a chain `:` is followed by a resource type; `{kind[:64]}` is none.")
    if kind and parameter.targets and kind not in parameter.targets:
        raise Invalid(f"`{parameter.code}` does not refer to a {kind}.")


def _check_modifier(parameter: SearchParameter, modifier: str) -> None:
    if not modifier or modifier in _MODIFIERS[parameter.type]:
        if modifier and parameter.code in ("_id", "_lastUpdated"):
            raise Invalid(f"`{parameter.code}` takes no modifier.")
        return
    if parameter.type == "reference" and modifier in definitions.resource_types():
        return _check_target(parameter, modifier)
    if modifier in ("above", "below", "in", "not-in") and parameter.type == "token":
        raise Invalid(
            f"`{parameter.code}:{modifier}` needs a terminology service; there is none here.",
            issue_code="not-supported",
        )
    raise Invalid(
        f"`:{modifier}` is not served on `{parameter.code}`, which is of type {parameter.type}.",
        issue_code="not-supported",
    )
