"""A profile compiled to a node: what it says beyond R4's own definition of its type.

R4's own rules are checked of every resource (`base_rules`), so that a profile's node is small.
"""

from __future__ import annotations

from collections.abc import Callable

from ehr_fhir import definitions
from ehr_fhir.definitions import JsonElement
from ehr_fhir.profiles.findings import Place, Run
from ehr_fhir.profiles.r4 import TYPE_BASE, find_r4_profile, r4_element
from ehr_fhir.profiles.rules import (
    Check,
    ElementRule,
    KeyRule,
    Matcher,
    Node,
    SliceRule,
    check_node,
)
from ehr_fhir.profiles.slicing import make_matcher
from ehr_fhir.profiles.structure import ElementDefinition, ElementNode, Profile, TypeReference
from ehr_fhir.profiles.type_profiles import make_target_check, make_type_profile_check
from ehr_fhir.profiles.value_checks import (
    make_binding_check,
    make_constraint_check,
    make_value_checks,
)

__all__ = ["compile_profile"]

# Rules of every element, checked with the structure.
_OF_EVERY_ELEMENT = frozenset({"ele-1", "ext-1"})


def compile_profile(profile: Profile, find_profile: Callable[[str], Profile | None]) -> Node:
    """Compile a profile of a type of R4."""
    return _Compiler(profile.url, find_profile).compile_root(profile)


class _Compiler:
    def __init__(self, url: str, find_profile: Callable[[str], Profile | None]) -> None:
        self.url = url
        self.find_profile = find_profile

    def compile_root(self, profile: Profile) -> Node:
        base = find_r4_profile(TYPE_BASE + profile.type)
        definition = None if base is None else base.root.definition
        return self.compile_node(profile.root, profile.type, definition)

    def compile_node(
        self, node: ElementNode, type_name: str, base: ElementDefinition | None = None
    ) -> Node:
        """Compile an element of a type, with what is below it; `base` is R4's definition of it."""
        made = Node(checks=self._checks(node.definition, type_name, base))
        for name, child in node.children.items():
            self._add_child(made, type_name, name, child)
        return made

    def _checks(
        self, definition: ElementDefinition, type_name: str, base: ElementDefinition | None
    ) -> list[Check]:
        checks = make_value_checks(definition, self.url)
        known = self._known_rules(type_name, base)
        for constraint in definition.constraints:
            if constraint.key not in known:
                if (check := make_constraint_check(constraint, self.url)) is not None:
                    checks.append(check)
        binding = definition.binding
        if binding is not None and (base is None or binding != base.binding):
            if (bound := make_binding_check(binding, self.url)) is not None:
                checks.append(bound)
        kinds = [kind for kind in definition.types if kind.code == type_name]
        of_base = [] if base is None else [kind for kind in base.types if kind.code == type_name]
        if kinds and kinds != of_base:
            checks += self._type_checks(kinds[0], of_base)
        return checks

    def _known_rules(self, type_name: str, base: ElementDefinition | None) -> frozenset[str]:
        """Return the keys of R4's own rules, which a snapshot repeats."""
        of_type = find_r4_profile(TYPE_BASE + type_name) if "." not in type_name else None
        rules = [] if base is None else list(base.constraints)
        rules += [] if of_type is None else of_type.root.definition.constraints
        return _OF_EVERY_ELEMENT | {rule.key for rule in rules}

    def _type_checks(self, kind: TypeReference, of_base: list[TypeReference]) -> list[Check]:
        checks = []
        known = of_base[0] if of_base else TypeReference(kind.code)
        # An extension is judged by the definition of its url, wherever it is.
        if kind.profiles and kind.profiles != known.profiles and kind.code != "Extension":
            checks.append(make_type_profile_check(kind.profiles))
        is_reference = kind.code == "Reference"
        if is_reference and kind.target_profiles and kind.target_profiles != known.target_profiles:
            checks.append(make_target_check(kind.target_profiles, self.url))
        return checks

    def _add_child(self, made: Node, owner: str, name: str, child: ElementNode) -> None:
        elements = [
            element
            for element in definitions.json_elements(owner).values()
            if element.name == name.removesuffix("[x]")
        ]
        if not elements:
            return
        of_r4 = r4_element(owner, name.removesuffix("[x]"))
        base = None if of_r4 is None else of_r4.definition
        rules = [self._key_rule(owner, element, child, base) for element in elements]
        definition = child.definition
        types = _narrowed_types(definition, elements)
        slices = self._slice_rules(child, elements[0], base)
        if child.definition.slicing is not None and len(slices) < len(child.slices):
            made.checks.append(_make_unclear_check(name, self.url))
        is_limited = (definition.least, definition.most) != (
            (base.least, base.most) if base else (0, None)
        )
        if is_limited or types is not None or slices:
            slicing = definition.slicing
            made.elements.append(
                ElementRule(
                    name,
                    tuple(rules),
                    definition.least,
                    definition.most,
                    types,
                    slices,
                    slicing.rules if slicing else "open",
                    slicing.ordered if slicing else False,
                    self.url,
                )
            )
            return
        for rule in rules:
            if any(not node.is_empty for node in rule.nodes):
                made.keys[rule.key] = made.keys[f"_{rule.key}"] = rule

    def _key_rule(
        self,
        owner: str,
        element: JsonElement,
        child: ElementNode,
        base: ElementDefinition | None,
    ) -> KeyRule:
        node = self.compile_node(child, element.type, base)
        defined_at = f"{owner}.{child.definition.name}"
        nodes = () if node.is_empty else (node,)
        return KeyRule(element.key, element.type, defined_at, nodes)

    def _slice_rules(
        self, child: ElementNode, element: JsonElement, base: ElementDefinition | None
    ) -> tuple[SliceRule, ...]:
        slicing = child.definition.slicing
        if slicing is None or not child.slices:
            return ()
        made = []
        for one in child.slices:
            matches = make_matcher(slicing, one, self.find_profile, self.compile_node)
            definition = one.definition
            if matches is None:
                continue
            # Of a choice, the slice's own datatype.
            types = [kind.code for kind in definition.types]
            type_name = types[0] if element.is_choice and len(types) == 1 else element.type
            node = self.compile_node(one, type_name, base)
            self._add_inner_slices(node, one, element, base)
            made.append(
                SliceRule(definition.slice_name, matches, definition.least, definition.most, node)
            )
        return tuple(made)

    def _add_inner_slices(
        self, node: Node, one: ElementNode, element: JsonElement, base: ElementDefinition | None
    ) -> None:
        """Check a value of a slice by the slice's own slices, whose numbers are not counted."""
        inner = self._slice_rules(one, element, base)
        if inner:
            node.checks.append(_make_inner_check([(rule.matches, rule.node) for rule in inner]))


def _make_inner_check(slices: list[tuple[Matcher, Node]]) -> Check:
    def check(place: Place, run: Run) -> None:
        for matches, node in slices:
            if matches(place, run):
                check_node(node, place, run)
                return

    return check


def _make_unclear_check(name: str, profile: str) -> Check:
    text = f"Slices of {name} cannot be told apart here (profile {profile})."

    def check(place: Place, run: Run) -> None:
        if type(place.value) is dict and name.removesuffix("[x]") in place.value:
            run.add("information", "not-supported", f"{place.path}.{name}", text)

    return check


def _narrowed_types(
    definition: ElementDefinition, elements: list[JsonElement]
) -> frozenset[str] | None:
    """Return the datatypes that a profile allows, None where they are all of R4's."""
    allowed = frozenset(kind.code for kind in definition.types)
    if not elements[0].is_choice or not allowed:
        return None
    return None if allowed >= {element.type for element in elements} else allowed
