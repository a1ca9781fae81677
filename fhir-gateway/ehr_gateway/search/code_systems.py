"""Ancestors and descendants of a code in a stored CodeSystem, for `:above` and `:below`.

There is no terminology service: a code system that is not stored with all its concepts, or whose
hierarchy means something else than "is-a", is refused, never guessed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ehr_fhir.errors import Invalid

__all__ = ["related_codes"]

# (child, parent)
_Edge = tuple[str, str]


def related_codes(code_system: Mapping[str, Any], code: str, direction: str) -> list[str]:
    """Return a code with its ancestors (`above`) or its descendants (`below`), itself first.

    >>> animal = {"code": "animal", "concept": [{"code": "cat"}, {"code": "dog"}]}
    >>> system = {"content": "complete", "concept": [animal]}
    >>> related_codes(system, "animal", "below"), related_codes(system, "cat", "above")
    (['animal', 'cat', 'dog'], ['cat', 'animal'])
    """
    if code_system.get("content") != "complete":
        raise Invalid(
            "The code system is stored without all of its concepts.", issue_code="not-supported"
        )
    if code_system.get("hierarchyMeaning", "is-a") != "is-a":
        raise Invalid(
            "The levels of the code system do not mean that one code is another.",
            issue_code="not-supported",
        )
    concepts = list(_flatten(code_system.get("concept", ())))
    if all(concept["code"] != code for concept, _ in concepts):
        raise Invalid("The code system has no such code.")
    neighbours: dict[str, list[str]] = defaultdict(list)
    for child, parent in _edges(concepts):
        start, end = (child, parent) if direction == "above" else (parent, child)
        neighbours[start].append(end)
    # A walk of the graph that visits each code once: concepts may have several parents.
    visited = {code: None}
    to_visit = [code]
    while to_visit:
        new = [other for other in neighbours[to_visit.pop()] if other not in visited]
        visited |= dict.fromkeys(new)
        to_visit += new
    return list(visited)


def _flatten(
    concepts: Iterable[Mapping[str, Any]], parent: str | None = None
) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """Yield each concept with the code of the one it is nested in."""
    for concept in concepts:
        yield concept, parent
        yield from _flatten(concept.get("concept", ()), concept["code"])


def _edges(concepts: Iterable[tuple[Mapping[str, Any], str | None]]) -> Iterator[_Edge]:
    """Yield the edges that nesting gives, and those of HL7's properties for them."""
    for concept, parent in concepts:
        if parent is not None:
            yield concept["code"], parent
        for concept_property in concept.get("property", ()):
            if "valueCode" not in concept_property:
                continue
            name, value = concept_property.get("code"), concept_property["valueCode"]
            if name in ("parent", "subsumedBy"):
                yield concept["code"], value
            elif name == "child":
                yield value, concept["code"]
