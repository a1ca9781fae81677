"""Where a code stands in its code system, for `:above` and `:below`: stored ones that say so.

No terminology service: a code system that is not stored with all its concepts, or whose levels mean
something else than "is a", is refused, never guessed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ehr_fhir.errors import Invalid

__all__ = ["related_codes"]

# Child and parent.
_Edge = tuple[str, str]


def related_codes(code_system: Mapping[str, Any], code: str, direction: str) -> list[str]:
    """Return a code with all that it is (`above`), or all that is it (`below`), itself first.

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
    if all(one["code"] != code for one, _ in concepts):
        raise Invalid("The code system has no such code.")
    next_to: dict[str, list[str]] = defaultdict(list)
    for child, parent in _edges(concepts):
        start, end = (child, parent) if direction == "above" else (parent, child)
        next_to[start].append(end)
    found = {code: None}
    waiting = [code]
    while waiting:
        new = [one for one in next_to[waiting.pop()] if one not in found]
        found |= dict.fromkeys(new)
        waiting += new
    return list(found)


def _flatten(
    concepts: Iterable[Mapping[str, Any]], parent: str | None = None
) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    for one in concepts:
        yield one, parent
        yield from _flatten(one.get("concept", ()), one["code"])


def _edges(concepts: Iterable[tuple[Mapping[str, Any], str | None]]) -> Iterator[_Edge]:
    """Yield what is said by nesting, and by the properties that HL7 names for it."""
    for one, parent in concepts:
        if parent is not None:
            yield one["code"], parent
        for said in one.get("property", ()):
            if said.get("code") in ("parent", "subsumedBy") and "valueCode" in said:
                yield one["code"], said["valueCode"]
            elif said.get("code") == "child" and "valueCode" in said:
                yield said["valueCode"], one["code"]
