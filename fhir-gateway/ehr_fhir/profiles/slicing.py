"""Which slice a value is of: discriminators as functions of a value (R4 §5.1.0.15)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ehr_fhir import definitions
from ehr_fhir.fhirpath.datatypes import base_types
from ehr_fhir.profiles.findings import Place, Run
from ehr_fhir.profiles.r4 import r4_definition, r4_element
from ehr_fhir.profiles.rules import KeyRule, Matcher, Node, check_node, items_of
from ehr_fhir.profiles.structure import (
    Discriminator,
    ElementDefinition,
    ElementNode,
    Profile,
    Slicing,
)
from ehr_fhir.profiles.type_profiles import conforms
from ehr_fhir.profiles.value_checks import contains_pattern
from ehr_fhir.references import referenced_type

__all__ = ["make_matcher"]

_STEP = re.compile(r"([\w$]+)(?:\('?([^')]*)'?\))?(?:\.|$)")
FindProfile = Callable[[str], Profile | None]
CompileNode = Callable[[ElementNode, str, ElementDefinition | None], Node]
_Step = tuple[str, str]


def make_matcher(
    slicing: Slicing, node: ElementNode, find_profile: FindProfile, compile_node: CompileNode
) -> Matcher | None:
    """Return what says whether a value is in a slice; None where the definitions do not tell."""
    parts = [
        _make_part(discriminator, node, find_profile, compile_node)
        for discriminator in slicing.discriminators
    ]
    if not parts or None in parts:
        return None
    known = [part for part in parts if part is not None]
    if len(known) == 1:
        return known[0]
    return lambda place, run: all(part(place, run) for part in known)


def _make_part(
    discriminator: Discriminator,
    node: ElementNode,
    find_profile: FindProfile,
    compile_node: CompileNode,
) -> Matcher | None:
    steps = _split(discriminator.path)
    kind = discriminator.type
    if kind in ("value", "pattern") and steps == [("url", "")] and _is_extension(node):
        urls = {url.partition("|")[0] for url in node.definition.types[0].profiles}
        return lambda place, run: type(place.value) is dict and place.value.get("url") in urls
    inner = _follow(node, steps, find_profile)
    if inner is None:
        return None
    if kind == "exists":
        is_wanted = inner.definition.most != 0
        return lambda place, run: any(_select(place, steps, run)) is is_wanted
    if kind == "type":
        return _match_types(inner, steps, find_profile)
    if kind == "profile":
        return _match_profiles(inner, steps)
    return _match_values(inner, steps, compile_node)


def _match_types(
    inner: ElementNode, steps: list[_Step], find_profile: FindProfile
) -> Matcher | None:
    if ("resolve", "") in steps:
        profiles = [
            find_profile(url) for kind in inner.definition.types for url in kind.target_profiles
        ]
        types = frozenset(profile.type for profile in profiles if profile is not None)
    else:
        types = frozenset(kind.code for kind in inner.definition.types)
    if not types:
        return None
    return lambda place, run: any(
        not types.isdisjoint(base_types(item.type)) for item in _select(place, steps, run)
    )


def _match_profiles(inner: ElementNode, steps: list[_Step]) -> Matcher | None:
    is_resolved = ("resolve", "") in steps
    urls = [
        url
        for kind in inner.definition.types
        for url in (kind.target_profiles if is_resolved else kind.profiles)
    ]
    if not urls:
        return None

    def match(place: Place, run: Run) -> bool:
        return any(_meets(item, url, run) for item in _select(place, steps, run) for url in urls)

    return match


def _meets(item: Place, url: str, run: Run) -> bool:
    if item.type in definitions.resource_types():
        is_of_type = run.library.resource_type(url) in base_types(item.type)
        return is_of_type and conforms(item.value, url, run)
    node = run.library.node(url)
    if node is None or run.is_deep:
        return False
    trial = run.trial()
    check_node(node, item, trial)
    return trial.is_sound


def _match_values(
    inner: ElementNode, steps: list[_Step], compile_node: CompileNode
) -> Matcher | None:
    definition = inner.definition
    if definition.fixed or definition.pattern:
        (wanted,) = definition.fixed or definition.pattern
        return lambda place, run: any(
            contains_pattern(item.value, wanted) for item in _select(place, steps, run)
        )
    type_name = definition.types[0].code if len(definition.types) == 1 else ""
    # Only what it says beyond R4 tells it from the other slices.
    node = compile_node(inner, type_name, r4_definition(definition.path))
    if node.is_empty:
        return None

    def match(place: Place, run: Run) -> bool:
        for item in _select(place, steps, run):
            trial = run.trial()
            check_node(node, item, trial)
            if trial.is_sound:
                return True
        return False

    return match


def _split(path: str) -> list[_Step]:
    """Split a discriminator's path into names and calls.

    >>> _split("extension('http://e/x').value"), _split("$this")
    ([('extension', 'http://e/x'), ('value', '')], [])
    """
    steps, place = list[_Step](), 0
    while found := _STEP.match(path, place):
        steps.append((found[1], found[2] or ""))
        place = found.end()
    return [step for step in steps if step[0] != "$this"]


def _is_extension(node: ElementNode) -> bool:
    types = node.definition.types
    return len(types) == 1 and types[0].code == "Extension" and bool(types[0].profiles)


def _follow(node: ElementNode, steps: list[_Step], find_profile: FindProfile) -> ElementNode | None:
    """Return the definition at the end of a path, from the slice, its profiles or its datatype."""
    found: ElementNode | None = node
    for name, argument in steps:
        if found is None:
            return None
        if name in ("resolve", "ofType"):
            continue
        if name == "extension":
            found = _find_extension(found, argument)
        else:
            found = _find_child(found, name, find_profile)
    return found


def _find_extension(node: ElementNode, url: str) -> ElementNode | None:
    extensions = node.children.get("extension")
    for one in extensions.slices if extensions else ():
        if any(url in kind.profiles for kind in one.definition.types):
            return one
    return None


def _find_child(node: ElementNode, name: str, find_profile: FindProfile) -> ElementNode | None:
    child = node.children.get(name) or node.children.get(f"{name}[x]")
    for kind in node.definition.types if child is None else ():
        for url in kind.profiles:
            profile = find_profile(url)
            if profile is not None:
                child = child or _find_child(profile.root, name, find_profile)
        child = child or r4_element(kind.code, name)
    return child


def _select(place: Place, steps: list[_Step], run: Run) -> list[Place]:
    """Return the values at the end of a path."""
    found = [place]
    for name, argument in steps:
        if name == "ofType":
            found = [item for item in found if item.type == argument]
        elif name == "resolve":
            found = [target for item in found for target in _resolve(item, run)]
        else:
            found = [inner for item in found for inner in _children(item, name)]
            if name == "extension":
                found = [item for item in found if item.value.get("url") == argument]
    return found


def _resolve(place: Place, run: Run) -> Iterator[Place]:
    address = place.value.get("reference") if isinstance(place.value, dict) else None
    if not isinstance(address, str):
        return
    target = run.resolve(address)
    kind = referenced_type(address) if target is None else target.get("resourceType")
    if isinstance(kind, str):
        # Of a resource that is not here its type alone is known.
        yield Place(target or {}, None, kind, kind, kind)


def _children(place: Place, name: str) -> Iterator[Place]:
    holder = place.value if isinstance(place.value, dict) else place.extension
    if not isinstance(holder, dict):
        return
    for key, element in definitions.json_elements(place.type).items():
        if element.name == name and (key in holder or f"_{key}" in holder):
            yield from items_of(KeyRule(key, element.type, "", ()), holder, place)
