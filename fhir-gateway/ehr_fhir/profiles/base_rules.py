"""R4's own rules of a type as a node: what `validation` does not check of the structure.

Invariants, bindings, extensions, resources inside; cardinality, datatypes, forms and the bindings
of codes are `validation`'s. Made once for each type and kept.
"""

from __future__ import annotations

from threading import RLock

from ehr_fhir import definitions
from ehr_fhir.definitions import JsonElement
from ehr_fhir.fhirpath import PRIMITIVES
from ehr_fhir.profiles.extensions import make_extension_check
from ehr_fhir.profiles.inner_resources import check_inner_resource
from ehr_fhir.profiles.r4 import TYPE_BASE, find_r4_profile, r4_element
from ehr_fhir.profiles.rules import Check, KeyRule, Node
from ehr_fhir.profiles.structure import ElementDefinition
from ehr_fhir.profiles.type_profiles import make_type_profile_check
from ehr_fhir.profiles.value_checks import (
    check_canonical,
    check_coding,
    make_binding_check,
    make_constraint_check,
    make_value_checks,
)

__all__ = ["base_node"]

_NODES: dict[str, Node] = {}
# No thread may see a node that another one is still filling.
_FILLING = RLock()
# Checked with the structure.
_CHECKED_BEFORE = frozenset({"ele-1", "ext-1", "txt-1", "txt-2"})


def base_node(owner: str) -> Node:
    """Return the rules of a type, or of a part of a resource such as `Patient.contact`.

    >>> "birthDate" in base_node("Patient").keys, "_birthDate" in base_node("Patient").keys
    (False, True)
    """
    with _FILLING:
        if owner not in _NODES:
            # Known before it is filled, for a type may hold itself.
            _NODES[owner] = Node()
            _fill(_NODES[owner], owner)
        return _NODES[owner]


def _fill(node: Node, owner: str) -> None:
    if "." not in owner and (profile := find_r4_profile(TYPE_BASE + owner)) is not None:
        node.checks += _constraint_checks(profile.root.definition)
    if owner == "Coding":
        node.checks.append(check_coding)
    for key, element in definitions.json_elements(owner).items():
        inner = r4_element(owner, element.name)
        own = [] if inner is None else _element_checks(owner, element, inner.definition)
        nodes = [Node(checks=own)] if own else []
        defined_at = f"{owner}.{element.name}" + ("[x]" if element.is_choice else "")
        if element.type in PRIMITIVES:
            primitive = base_node("Element")
            rule = KeyRule(key, element.type, defined_at, (*nodes, primitive))
            if nodes:
                node.keys[key] = rule
            node.keys[f"_{key}"] = rule
            continue
        nodes += _type_nodes(owner, element)
        node.keys[key] = KeyRule(key, element.type, defined_at, tuple(nodes))


def _type_nodes(owner: str, element: JsonElement) -> list[Node]:
    if element.type == "Resource":
        return [Node(checks=[check_inner_resource])]
    if element.type not in definitions.elements():
        return []
    nodes = [base_node(element.type)]
    if element.type == "Extension":
        is_modifier = element.key == "modifierExtension"
        nodes.append(Node(checks=[make_extension_check(is_modifier=is_modifier)]))
    return nodes


def _element_checks(owner: str, element: JsonElement, definition: ElementDefinition) -> list[Check]:
    checks = _constraint_checks(definition)
    binding = definition.binding
    if binding is not None and not definitions.required_codes(owner, element.key):
        if (check := make_binding_check(binding)) is not None:
            checks.append(check)
    for kind in definition.types:
        # Simple quantities; the profiles of extensions are met by their url.
        if kind.code == element.type and kind.profiles and kind.code != "Extension":
            checks.append(make_type_profile_check(kind.profiles))
    if element.type == "canonical":
        checks.append(check_canonical)
    return checks + make_value_checks(definition, "of R4")


def _constraint_checks(definition: ElementDefinition) -> list[Check]:
    made = [
        make_constraint_check(constraint)
        for constraint in definition.constraints
        if constraint.key not in _CHECKED_BEFORE
    ]
    return [check for check in made if check is not None]
