"""`$translate`: what concept maps say of a code, forth and back (R4 ConceptMap/$translate)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ehr_fhir.terminology.library import Library
from ehr_fhir.terminology.value_sets import split_canonical

__all__ = ["Translation", "translate"]

# Equivalences that say that there is none.
_NO_MATCH = frozenset({"unmatched", "disjoint"})
# What an equivalence of source to target is of target to source.
_REVERSED = {
    "wider": "narrower", "narrower": "wider", "subsumes": "specializes", "specializes": "subsumes",
}  # fmt: skip
_MAX_MAPS = 8


@dataclass(frozen=True)
class Translation:
    """One match: how near it is, the code, and the map that says so."""

    equivalence: str
    system: str
    code: str | None
    display: str | None
    source: str
    products: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_match(self) -> bool:
        """Whether it says what the code is, and not that there is nothing."""
        return self.equivalence not in _NO_MATCH


def translate(
    maps: Sequence[Mapping[str, Any]],
    system: str,
    code: str,
    library: Library,
    *,
    target_system: str | None = None,
    reverse: bool = False,
) -> list[Translation]:
    """Return all that some concept maps say of a code, each once."""
    found: dict[Translation, None] = {}
    for concept_map in maps:
        for one in _translate_by(concept_map, system, code, library, (), reverse=reverse):
            if target_system in (None, one.system):
                found.setdefault(one)
    return list(found)


def _translate_by(
    concept_map: Mapping[str, Any],
    system: str,
    code: str,
    library: Library,
    within: tuple[str, ...],
    *,
    reverse: bool,
) -> Iterator[Translation]:
    url = str(concept_map.get("url", ""))
    for group in concept_map.get("group", ()):
        if reverse:
            if group.get("target", system) == system:
                yield from _reverse_matches(group, url, code)
        elif group.get("source", system) == system:
            matches = list(_matches(group, url, code))
            yield from matches or _apply_unmapped_rule(
                group, url, system, code, library, (*within, url)
            )


def _matches(group: Mapping[str, Any], url: str, code: str) -> Iterator[Translation]:
    for element in group.get("element", ()):
        if element.get("code") != code:
            continue
        for target in element.get("target", ()):
            yield Translation(
                str(target.get("equivalence", "equivalent")),
                str(group.get("target", "")),
                target.get("code"),
                target.get("display"),
                url,
                tuple(_Product(one) for one in target.get("product", ())),
            )


class _Product(dict[str, Any]):
    """A product of a match; matches are compared, so it has a hash."""

    def __hash__(self) -> int:  # type: ignore[override]  # values are not changed
        return hash(repr(sorted(self.items())))


def _reverse_matches(group: Mapping[str, Any], url: str, code: str) -> Iterator[Translation]:
    for element in group.get("element", ()):
        for target in element.get("target", ()):
            equivalence = str(target.get("equivalence", "equivalent"))
            if target.get("code") == code and equivalence not in _NO_MATCH:
                yield Translation(
                    _REVERSED.get(equivalence, equivalence),
                    str(group.get("source", "")),
                    element.get("code"),
                    element.get("display"),
                    url,
                )


def _apply_unmapped_rule(
    group: Mapping[str, Any],
    url: str,
    system: str,
    code: str,
    library: Library,
    within: tuple[str, ...],
) -> Iterable[Translation]:
    """Return what a group says of the codes that it does not map."""
    unmapped = group.get("unmapped")
    if not unmapped:
        return ()
    mode, target = unmapped.get("mode"), str(group.get("target", ""))
    if mode == "provided":
        return (Translation("equal", target, code, None, url),)
    if mode == "fixed":
        shown = unmapped.get("display")
        return (Translation("inexact", target, unmapped.get("code"), shown, url),)
    name = str(unmapped.get("url", ""))
    if mode != "other-map" or name in within or len(within) > _MAX_MAPS:
        return ()
    other = library.concept_map(*split_canonical(name))
    return _translate_by(other, system, code, library, within, reverse=False) if other else ()
