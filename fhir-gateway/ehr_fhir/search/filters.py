"""Search filters: a parameter and its values, alone, at the end of a chain, or by `_has`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid, TooCostly
from ehr_fhir.search.full_text_query import MAX_WORDS
from ehr_fhir.search.value_parser import SearchValue, parse_value, split_unescaped
from ehr_fhir.search_parameters import SearchParameter, parameters_of

__all__ = [
    "MAX_HOPS",
    "MAX_VALUES",
    "RESULT_PARAMETERS",
    "SPECIAL_PARAMETERS",
    "AnyOf",
    "Chain",
    "Clause",
    "Composite",
    "Filter",
    "InCompartment",
    "Not",
    "ReverseChain",
    "UnknownParameter",
    "allowed_modifiers",
    "count_hops",
    "parse_chain",
    "parse_filter",
    "served_parameter",
]

# Steps of one search from one resource to another; each is judged by consent, and costs.
MAX_HOPS = 12
# Values of one parameter; a database joins a bounded number of alternatives.
MAX_VALUES = 200
# A chain may fork at each step into every type its reference leads to.
_MAX_CHAIN_LENGTH = 4
# Beyond these a chain must name the type it goes to: R4's "any resource" is 145 types.
_MAX_CHAIN_TARGETS = 4
RESULT_PARAMETERS = frozenset(
    {"_count", "_cursor", "_elements", "_include", "_revinclude", "_sort", "_summary", "_total"}
)
_WITHOUT_MODIFIERS = frozenset({"_content", "_text"})
# Every resource has an id and a time, so that none is missing; no other modifier fits them.
_ALWAYS_PRESENT = frozenset({"_id", "_lastUpdated"})
_MODIFIERS: dict[str, set[str]] = {
    "composite": set(),
    "date": {"missing"},
    "number": {"missing"},
    "quantity": {"missing"},
    "reference": {"identifier", "missing"},
    "string": {"contains", "exact", "missing"},
    "special": {"missing"},
    "token": {"above", "below", "in", "missing", "not", "not-in", "of-type", "text"},
    "uri": {"above", "below", "missing"},
}
_CODED = frozenset({"CodeableConcept", "Coding"})
# Parameters of every search that filter by no values of their own, and the type they are said to
# have. `_type` is for searches of several types.
SPECIAL_PARAMETERS = {name: "special" for name in ("_explain", "_filter", "_has", "_list", "_type")}
_NOT_SERVED = frozenset({"_contained", "_containedType", "_query", "_score"})


class UnknownParameter(Exception):
    """A parameter that this server does not know or serve; lenient handling ignores it."""


@dataclass(frozen=True)
class Clause:
    """One parameter of a search: any of its values must hold; all clauses must."""

    parameter: SearchParameter
    modifier: str | None
    values: tuple[SearchValue, ...]


@dataclass(frozen=True)
class Chain:
    """A chain: a reference to a resource of one of the types, which meets its filter."""

    parameter: SearchParameter
    targets: tuple[tuple[str, Filter], ...]


@dataclass(frozen=True)
class ReverseChain:
    """A reverse chain (`_has`): a resource that meets the filter refers to this one."""

    referred: str
    parameter: SearchParameter
    filter: Filter


@dataclass(frozen=True)
class AnyOf:
    """All filters of at least one of these groups must hold."""

    groups: tuple[tuple[Filter, ...], ...]


@dataclass(frozen=True)
class Composite:
    """The parts of at least one of these values must hold in one element of the resource."""

    parameter: SearchParameter
    values: tuple[tuple[Clause, ...], ...]


@dataclass(frozen=True)
class Not:
    """The filter must not hold."""

    filter: Filter


@dataclass(frozen=True)
class InCompartment:
    """The resource must belong to the record of one patient."""

    patient: str


Filter = AnyOf | Chain | Clause | Composite | ReverseChain | InCompartment | Not


def parse_filter(resource_type: str, name: str, text: str, depth: int = 0) -> Filter | None:
    """Parse one filtering parameter; None without a value, which filters nothing (R4 §3.1.1.2)."""
    if depth > _MAX_CHAIN_LENGTH:
        raise Invalid(f"A chain has at most {_MAX_CHAIN_LENGTH} steps.", issue_code="too-costly")
    if name == "_has" or name.startswith("_has:"):
        return _has(resource_type, name, text, depth)
    if name == "_list":
        return _in_list(resource_type, text)
    if name == "_contained":
        _check_contained(text)
        return None
    head, dot, rest = name.partition(".")
    code, _, modifier = head.partition(":")
    parameter = served_parameter(resource_type, code)
    if dot:
        return parse_chain(
            parameter, modifier, depth, lambda kind: parse_filter(kind, rest, text, depth + 1)
        )
    if text == "":
        return None
    _check_modifier(parameter, modifier)
    if parameter.components:
        return _composite(parameter, name, text)
    return Clause(parameter, modifier or None, _values(parameter, modifier, name, text))


def served_parameter(resource_type: str, code: str) -> SearchParameter:
    """Return a search parameter by its name; raise UnknownParameter with the nearest name."""
    found = parameters_of(resource_type)
    if code in found and found[code].is_searchable:
        return found[code]
    if code in found or code in _NOT_SERVED:
        raise UnknownParameter(
            f"The search parameter `{code}` is not served; no other replaces it."
        )
    if code == "_explain":
        raise UnknownParameter("`_explain` is for a search of one type at its own address.")
    if code == "_type":
        raise UnknownParameter(
            "`_type` is for a search of several types: ask at the address of all."
        )
    names = [
        *(name for name, parameter in found.items() if parameter.is_searchable),
        *RESULT_PARAMETERS,
        *SPECIAL_PARAMETERS,
    ]
    nearest = difflib.get_close_matches(code, names, 1, 0)
    raise UnknownParameter(
        f"{resource_type} has no search parameter `{code}`; the nearest name is `{nearest[0]}`."
    )


def allowed_modifiers(parameter: SearchParameter) -> list[str]:
    """Return the modifiers that a parameter takes, without the types of a reference.

    >>> allowed_modifiers(served_parameter("Patient", "identifier"))
    ['in', 'missing', 'not', 'not-in', 'of-type', 'text']
    >>> allowed_modifiers(served_parameter("Observation", "code"))
    ['above', 'below', 'in', 'missing', 'not', 'not-in', 'text']
    """
    if parameter.code in _WITHOUT_MODIFIERS:
        return []
    if parameter.code in _ALWAYS_PRESENT:
        return ["missing"]
    found = set(_MODIFIERS[parameter.type])
    if "Identifier" not in parameter.datatypes:
        found -= {"of-type"}
    if parameter.type == "token" and not parameter.datatypes & _CODED:
        # Where a code stands in its code system is asked of codes alone.
        found -= {"above", "below"}
    return sorted(found)


def count_hops(filters: Sequence[Filter]) -> int:
    """Count the references that filters follow from one resource to another."""
    found = 0
    for current in filters:
        if isinstance(current, Chain):
            found += len(current.targets) + count_hops([after for _, after in current.targets])
        elif isinstance(current, ReverseChain):
            found += 1 + count_hops([current.filter])
        elif isinstance(current, AnyOf):
            found += sum(map(count_hops, current.groups))
        elif isinstance(current, Not):
            found += count_hops([current.filter])
    return found


def parse_chain(
    parameter: SearchParameter,
    modifier: str,
    depth: int,
    parse: Callable[[str], Filter | None],
) -> Filter | None:
    """Parse a chain; `parse` reads what follows the reference, for one target type."""
    if depth >= _MAX_CHAIN_LENGTH:
        raise Invalid(f"A chain has at most {_MAX_CHAIN_LENGTH} steps.", issue_code="too-costly")
    if parameter.type != "reference":
        raise Invalid(f"A chain needs a reference; `{parameter.code}` is a {parameter.type}.")
    _check_target(parameter, modifier)
    types = [modifier] if modifier else _chained_types(parameter)
    if len(types) == 1:
        after = parse(types[0])
        return after and Chain(parameter, ((types[0], after),))
    targets, refused = [], []
    for kind in types:
        # The chain goes to those types that know what follows.
        try:
            after = parse(kind)
        except (Invalid, UnknownParameter) as error:
            refused.append(error)
            continue
        if after is None:
            return None
        targets.append((kind, after))
    if not targets:
        raise refused[0]
    return Chain(parameter, tuple(targets))


def _chained_types(parameter: SearchParameter) -> list[str]:
    if 0 < len(parameter.targets) <= _MAX_CHAIN_TARGETS:
        return sorted(parameter.targets, key=lambda kind: (kind != "Patient", kind))
    raise Invalid(
        f"`{parameter.code}` leads to many types; name one, as in `{parameter.code}:Patient.`."
    )


def _has(resource_type: str, name: str, text: str, depth: int) -> Filter | None:
    parts = name.split(":", 3)
    if len(parts) < 4 or parts[1] not in definitions.resource_types():
        raise Invalid("`_has` has the form `_has:Type:reference:parameter`.")
    parameter = served_parameter(parts[1], parts[2])
    if parameter.type != "reference":
        raise Invalid(f"`_has` needs a reference; `{parameter.code}` is a {parameter.type}.")
    if parameter.targets and resource_type not in parameter.targets:
        raise Invalid(f"`{parts[1]}:{parameter.code}` does not refer to a {resource_type}.")
    after = parse_filter(parts[1], parts[3], text, depth + 1)
    return after and ReverseChain(resource_type, parameter, after)


def _check_contained(text: str) -> None:
    """Take what is so anyway: matches are no contained resources (R4 §3.1.1.5.5)."""
    if text not in ("", "false"):
        raise UnknownParameter(
            "`_contained` is served as `false` alone: search for what contains the resource by a"
            " chain, such as `MedicationRequest?medication.code=x`."
        )


def _in_list(resource_type: str, text: str) -> Filter | None:
    if text.startswith("$"):
        raise Invalid("`_list` takes the id of a List; there are no functional lists here.")
    identity = text and Clause(served_parameter("List", "_id"), None, (SearchValue(code=text),))
    return (
        ReverseChain(resource_type, served_parameter("List", "item"), identity)
        if identity
        else None
    )


def _values(
    parameter: SearchParameter, modifier: str, name: str, text: str
) -> tuple[SearchValue, ...]:
    if modifier == "missing":
        if text not in ("true", "false"):
            raise Invalid(f"`{name}` takes `true` or `false`.")
        return (SearchValue(code=text),)
    try:
        found = [
            parse_value(parameter, modifier or None, value_text)
            for value_text in _any_of(name, text)
        ]
    except Invalid as error:
        raise Invalid(f"`{name}`: {error}") from None
    if sum(group.size for value in found for group in value.conjunctions) > MAX_WORDS:
        raise TooCostly(f"`{name}` searches for at most {MAX_WORDS} words.")
    return tuple(found)


def _any_of(name: str, text: str) -> list[str]:
    values = split_unescaped(text, ",")
    if len(values) > MAX_VALUES:
        raise TooCostly(f"`{name}` takes at most {MAX_VALUES} values.")
    return values


def _composite(parameter: SearchParameter, name: str, text: str) -> Composite:
    """Read `code$value`: every part of one value must hold in one element."""
    known = parameters_of(parameter.resource_type)
    values = []
    for value_text in _any_of(name, text):
        parts = split_unescaped(value_text, "$")
        if len(parts) != len(parameter.components):
            raise Invalid(f"`{name}` takes {len(parameter.components)} parts, `$` between them.")
        clauses = []
        for component, part in zip(parameter.components, parts, strict=True):
            of_part = known[component.code]
            clauses.append(Clause(of_part, None, _values(of_part, "", name, part)))
        values.append(tuple(clauses))
    return Composite(parameter, tuple(values))


def _check_target(parameter: SearchParameter, kind: str) -> None:
    if kind and kind not in definitions.resource_types():
        raise Invalid(f"In a chain `:` is followed by a resource type; `{kind[:64]}` is none.")
    if kind and parameter.targets and kind not in parameter.targets:
        raise Invalid(f"`{parameter.code}` does not refer to a {kind}.")


def _check_modifier(parameter: SearchParameter, modifier: str) -> None:
    if not modifier:
        return
    if parameter.code in _WITHOUT_MODIFIERS:
        raise Invalid(
            f"`{parameter.code}:{modifier[:64]}` is not served: `{parameter.code}` asks for words,"
            " of no element of its own, and takes no modifier.",
            issue_code="not-supported",
        )
    if modifier in allowed_modifiers(parameter):
        return
    if parameter.code in _ALWAYS_PRESENT:
        raise Invalid(f"`{parameter.code}` takes no modifier but `:missing`.")
    if parameter.type == "reference" and modifier in definitions.resource_types():
        return _check_target(parameter, modifier)
    if modifier == "below" and parameter.datatypes & {"canonical", "uri"}:
        return
    raise Invalid(
        f"`:{modifier[:64]}` is not served on `{parameter.code}`, which is of type"
        f" {parameter.type}.",
        issue_code="not-supported",
    )
