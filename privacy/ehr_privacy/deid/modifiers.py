"""Modifier elements (`isModifier` of R4): which of them a type has, and when one drops its record.

The R4 definitions name them. One that is in a record must come
through with its meaning, or the record is dropped: of a status that is not known, nobody can say
whether the record holds.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from ehr_fhir.definitions import json_elements, marked_elements
from ehr_privacy.deid.rules import Node

__all__ = ["VOID", "Modifier", "find_element_type", "find_modifiers", "is_void"]

# concept: a CodeableConcept of which something must be left, and no code may void the record.
# value: a code of a closed list, a boolean. unlisted: no rule keeps it, so the record is dropped.
Modifier = Literal["concept", "value", "unlisted"]
# The code by which every status of R4 voids its record.
VOID = "entered-in-error"
# Handled by rules of their own: any of them is an error wherever it stands, or has its own method.
_ELSEWHERE = frozenset({"implicitRules", "modifierExtension"})
_OWN_METHOD = {"Patient": frozenset({"link", "deceasedDateTime"})}


def find_modifiers(owner: str, node: Node) -> dict[str, Modifier]:
    """Return the modifier elements of a type or a part of one, by JSON key.

    >>> from ehr_privacy.deid.rules import load_rules
    >>> find_modifiers("Condition", load_rules().types["Condition"])
    {'clinicalStatus': 'concept', 'verificationStatus': 'concept'}
    """
    rules = node.elements or {}
    found: dict[str, Modifier] = {}
    for key, datatype in _list_modifiers(owner):
        if key not in rules:
            found[key] = "unlisted"
        else:
            found[key] = "concept" if datatype == "CodeableConcept" else "value"
    # R4 does not mark every status; its closed list says that another one turns the meaning.
    if "status" in rules and rules["status"].values:
        found["status"] = "value"
    return found


def find_element_type(owner: str, key: str) -> str:
    """Return the type of an element, by which its own elements are found; empty if unknown."""
    element = json_elements(owner).get(key) if owner else None
    return "" if element is None else element.type


def is_void(concept: object) -> bool:
    """Say whether a code of a CodeableConcept voids the record, in whatever system."""
    codings = concept.get("coding") if isinstance(concept, dict) else None
    return any(
        isinstance(coding, dict) and coding.get("code") == VOID
        for coding in (codings if isinstance(codings, list) else ())
    )


@cache
def _list_modifiers(owner: str) -> tuple[tuple[str, str], ...]:
    """Return the key and the datatype of each modifier element of a type."""
    marked = marked_elements(owner, "isModifier")
    own = _OWN_METHOD.get(owner, frozenset())
    return tuple(
        (key, element.type)
        for key, element in json_elements(owner).items()
        if (f"{element.name}[x]" if element.is_choice else element.name) in marked
        and key not in _ELSEWHERE | own
    )
