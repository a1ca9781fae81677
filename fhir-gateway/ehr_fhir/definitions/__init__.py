"""The R4 definitions the code is driven by, as data: see NOTICE.md."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

__all__ = [
    "JsonElement",
    "code_systems",
    "elements",
    "json_elements",
    "load_definition",
    "marked_elements",
    "reference_targets",
    "required_codes",
    "resource_types",
]


@dataclass(frozen=True, slots=True)
class JsonElement:
    """One key of a type's JSON object; a choice of datatypes has a key for each of them."""

    key: str  # `valueQuantity`
    name: str  # the element's name without `[x]`: `value`
    type: str  # its FHIR datatype, or `Patient.contact` for a part defined in place
    repeats: bool
    is_choice: bool


def load_definition(name: str) -> Any:  # Any: each file has its own shape, known to its one reader
    """Read one definition file."""
    content = (files(__name__) / name).read_bytes()
    return json.loads(gzip.decompress(content) if name.endswith(".gz") else content)


@cache
def elements() -> dict[str, dict[str, tuple[tuple[str, ...], int, int]]]:
    """Return owner -> element -> (datatypes, min, max); a max of 0 means no limit."""
    return {
        owner: {name: (tuple(kinds), low, high) for name, (kinds, low, high) in parts.items()}
        for owner, parts in load_definition("elements.json.gz").items()
    }


@cache
def json_elements(owner: str) -> Mapping[str, JsonElement]:
    """Return the elements of a type by their JSON keys, none for a type that R4 does not have.

    >>> [(key, one.name, one.type) for key, one in json_elements("Patient").items() if "dec" in key]
    [('deceasedBoolean', 'deceased', 'boolean'), ('deceasedDateTime', 'deceased', 'dateTime')]
    >>> json_elements("Patient")["contact"].type, json_elements("Patient")["contact"].repeats
    ('Patient.contact', True)
    """
    found: dict[str, JsonElement] = {}
    for element, (types, _, most) in elements().get(owner, {}).items():
        name = element.removesuffix("[x]")
        is_choice = name != element
        for datatype in types:
            key = name + datatype[0].upper() + datatype[1:] if is_choice else name
            found[key] = JsonElement(key, name, datatype, most != 1, is_choice)
    return found


@cache
def marked_elements(owner: str, mark: str) -> frozenset[str]:
    """Return the elements of a resource or its parts that bear `isSummary` or `isModifier`.

    >>> sorted(marked_elements("Patient", "isModifier"))
    ['active', 'deceased[x]', 'implicitRules', 'link', 'modifierExtension']
    """
    return frozenset(_marks().get(owner, {}).get(mark, ()))


@cache
def _marks() -> dict[str, dict[str, list[str]]]:
    marks: dict[str, dict[str, list[str]]] = load_definition("marks.json.gz")
    return marks


@cache
def reference_targets(owner: str, name: str) -> frozenset[str] | None:
    """Return the resource types that an element's reference may name, None for any.

    >>> sorted(reference_targets("AllergyIntolerance", "patient"))
    ['Patient']
    >>> reference_targets("Observation", "focus") is None
    True
    """
    targets = _targets().get(owner, {})
    types = targets.get(name) or targets.get(f"{name}[x]")
    return frozenset(types) if types else None


@cache
def _targets() -> dict[str, dict[str, list[str]]]:
    targets: dict[str, dict[str, list[str]]] = load_definition("targets.json.gz")
    return targets


@cache
def required_codes(owner: str, name: str) -> frozenset[str] | None:
    """Return the codes that an element may have, where R4 binds it to a list of them.

    >>> sorted(required_codes("Patient", "gender"))
    ['female', 'male', 'other', 'unknown']
    """
    bindings = _bindings()
    known = bindings["elements"].get(owner, {}).get(name)
    return frozenset(bindings["sets"][known]) if known else None


@cache
def _bindings() -> dict[str, Any]:
    bindings: dict[str, Any] = load_definition("bindings.json.gz")
    return bindings


@cache
def code_systems() -> Mapping[str, frozenset[str]]:
    """Return the codes of each code system of HL7's own that an element of R4 is bound to.

    >>> sorted(code_systems()["http://hl7.org/fhir/administrative-gender"])
    ['female', 'male', 'other', 'unknown']
    """
    found = load_definition("code-systems.json.gz")
    return {system: frozenset(codes) for system, codes in found.items()}


@cache
def resource_types() -> frozenset[str]:
    """Return the names of R4's concrete resource types.

    >>> "Patient" in resource_types(), "HumanName" in resource_types()
    (True, False)
    """
    return frozenset(
        owner
        for owner, parts in elements().items()
        if "implicitRules" in parts
        and "." not in owner
        and owner not in ("Resource", "DomainResource")
    )
