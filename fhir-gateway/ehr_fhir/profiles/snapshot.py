"""Snapshots: all elements of a profile, made from its differential and the profile it constrains.

What validation reads is carried over; texts, mappings and examples are as the base has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ehr_fhir.errors import Unprocessable
from ehr_fhir.profiles.r4 import TYPE_BASE
from ehr_fhir.profiles.structure import element_ids

__all__ = ["with_snapshot"]

# Any: a StructureDefinition or an element of one as parsed JSON, here and below.
Structure = Mapping[str, Any]
Find = Callable[[str], Structure | None]
# Chosen: no profile in use is as many away from a type of R4.
_MAX_BASES = 20
# Chosen: each change is looked for among all elements.
_MAX_CHANGES = 1000
_EXTENSION_SLICING = {"discriminator": [{"type": "value", "path": "url"}], "rules": "open"}
_TYPE_SLICING = {"discriminator": [{"type": "type", "path": "$this"}], "rules": "open"}


def with_snapshot(structure: Structure, find: Find) -> Structure:
    """Return a StructureDefinition with a snapshot, its own where it has one.

    Raises Unprocessable where its base is not known or an element has no place in it.
    """
    return _with_snapshot(structure, find, 0)


def _with_snapshot(structure: Structure, find: Find, depth: int) -> Structure:
    if structure.get("snapshot", {}).get("element"):
        return structure
    base = find(structure.get("baseDefinition", ""))
    if base is None or depth > _MAX_BASES:
        text = "The profile that it constrains is not loaded."
        raise Unprocessable(text, expression="StructureDefinition.baseDefinition")

    def find_whole(url: str) -> Structure | None:
        found = find(url)
        return None if found is None else _with_snapshot(found, find, depth + 1)

    snapshot = _Snapshot(_with_snapshot(base, find, depth + 1)["snapshot"]["element"], find_whole)
    differential = structure.get("differential", {}).get("element", [])
    if len(differential) > _MAX_CHANGES:
        text = f"A differential of more than {_MAX_CHANGES} elements needs a snapshot beside it."
        raise Unprocessable(text, expression="StructureDefinition.differential")
    for identity, element in zip(element_ids(differential), differential, strict=True):
        snapshot.apply(identity, element)
    return {**structure, "snapshot": {"element": list(snapshot.elements.values())}}


class _Snapshot:
    """The elements of a snapshot by id, in order; ids are made where elements have none."""

    def __init__(self, elements: list[Mapping[str, Any]], find: Find) -> None:
        self.find = find
        self.elements: dict[str, dict[str, Any]] = {
            identity: {**element, "id": identity}
            for identity, element in zip(element_ids(elements), elements, strict=True)
        }

    def apply(self, identity: str, changes: Mapping[str, Any]) -> None:
        """Put an element of a differential where it belongs."""
        place = self.locate(identity)
        element = self.elements[place]
        for key, value in changes.items():
            if key == "constraint":
                known = {rule["key"] for rule in value}
                kept = [rule for rule in element.get(key, ()) if rule["key"] not in known]
                element[key] = [*kept, *value]
            elif key == "binding":
                # One that changes the strength alone leaves the value set.
                element[key] = {**element.get(key, {}), **value}
            elif key not in ("id", "path", "sliceName"):
                element[key] = value
        self.narrow_choice(place, changes)
        for prefix in ("fixed", "pattern"):
            # One value takes the place of another one, whatever the datatype.
            given = [key for key in changes if key.startswith(prefix)]
            for key in [key for key in element if given and key.startswith(prefix)]:
                if key not in given:
                    del element[key]

    def narrow_choice(self, place: str, changes: Mapping[str, Any]) -> None:
        """Let a path such as `valueQuantity` allow no other datatype where HL7's publisher does.

        R4 §5.1.0.14 has it always so; HL7's own snapshots where it is required or inside a slice.
        """
        choice, _, slice_name = place.rpartition(":")
        name = changes["path"].rpartition(".")[2]
        if slice_name != name or not choice.endswith("[x]"):
            return
        if not changes.get("min") and ":" not in choice:
            return
        element, sliced = self.elements[choice], self.elements[place]
        element["type"] = sliced["type"]
        element["slicing"] = {**_TYPE_SLICING, "rules": "closed"}
        element["min"] = max(element.get("min", 0), changes.get("min", 0))

    def locate(self, identity: str) -> str:
        """Return the id under which an element is; bring it in where it is not yet."""
        if identity in self.elements:
            return identity
        before, _, last = identity.rpartition(".")
        if not before:
            text = "The differential is of another type than its base."
            raise Unprocessable(text, expression="StructureDefinition.differential.element")
        parent = self.locate(before)
        name, _, slice_name = last.partition(":")
        place = self.find_child(parent, name)
        if place is None:
            self.unfold(parent)
            place = self.find_child(parent, name)
        if place is None:
            text = f"The differential has an element that its base does not have: {name}."
            raise Unprocessable(text, expression="StructureDefinition.differential.element")
        if place.endswith("[x]") and not name.endswith("[x]"):
            # `valueQuantity`: short for the slice of that datatype.
            slice_name = name
        return self.slice(place, slice_name, name) if slice_name else place

    def find_child(self, parent: str, name: str) -> str | None:
        """Return the id of a child: by its name, or of the choice that a name is of."""
        if f"{parent}.{name}" in self.elements:
            return f"{parent}.{name}"
        for identity, element in self.elements.items():
            before, _, last = identity.rpartition(".")
            if before == parent and last.endswith("[x]") and name.startswith(last[:-3]):
                kinds = (kind["code"] for kind in element.get("type", ()))
                if any(name == last[:-3] + kind[0].upper() + kind[1:] for kind in kinds):
                    return identity
        return None

    def slice(self, place: str, slice_name: str, name: str) -> str:
        """Return the id of a slice of an element; make the slice where it is not there."""
        outer, _, _ = slice_name.rpartition("/")
        sliced = self.slice(place, outer, name) if outer else place
        identity = f"{place}:{slice_name}"
        if identity in self.elements:
            return identity
        element = self.elements[sliced]
        if "slicing" not in element:
            if place.endswith("[x]"):
                element["slicing"] = _TYPE_SLICING
            elif any(kind["code"] == "Extension" for kind in element.get("type", ())):
                element["slicing"] = _EXTENSION_SLICING
        made = {key: value for key, value in element.items() if key != "slicing"}
        made.update({"id": identity, "sliceName": slice_name, "min": 0})
        if place.endswith("[x]"):
            kinds = [
                kind
                for kind in element.get("type", ())
                if slice_name.lower().endswith(kind["code"].lower())
            ]
            made["type"] = kinds or element.get("type", [])
        self.insert_after(sliced, [made])
        return identity

    def unfold(self, parent: str) -> None:
        """Bring in what is below an element: of what it is a slice of, or of its datatype."""
        element = self.elements[parent]
        before, _, last = parent.rpartition(".")
        sliced = f"{before}.{last.partition(':')[0]}"
        source: Mapping[str, Mapping[str, Any]] = self.elements
        origin = sliced
        if ":" not in last or not self.below(sliced):
            if "contentReference" in element:
                origin = element["contentReference"].rpartition("#")[2]
            else:
                source, origin = self.of_datatype(element)
        path = source[origin]["path"] if origin in source else origin
        copied = [
            {
                **inner,
                "id": parent + identity.removeprefix(origin),
                "path": element["path"] + inner["path"].removeprefix(path),
            }
            for identity, inner in source.items()
            if identity.startswith(f"{origin}.")
        ]
        self.insert_after(parent, copied)

    def of_datatype(
        self, element: Mapping[str, Any]
    ) -> tuple[Mapping[str, Mapping[str, Any]], str]:
        """Return the elements of an element's only datatype, and the id of their root."""
        kinds = element.get("type", [])
        if len(kinds) != 1:
            text = "The differential goes into an element of several datatypes."
            raise Unprocessable(text, expression="StructureDefinition.differential.element")
        profiles = kinds[0].get("profile", [])
        found = self.find(profiles[0]) if len(profiles) == 1 else None
        if found is None:
            found = self.find(TYPE_BASE + kinds[0]["code"])
        if found is None:
            text = "The differential goes into an element of an unknown datatype."
            raise Unprocessable(text, expression="StructureDefinition.differential.element")
        rows = found["snapshot"]["element"]
        ids = list(element_ids(rows))
        return dict(zip(ids, rows, strict=True)), ids[0]

    def below(self, identity: str) -> list[str]:
        """Return the ids of what is below an element, not of its slices."""
        return [one for one in self.elements if one.startswith(f"{identity}.")]

    def insert_after(self, identity: str, added: list[dict[str, Any]]) -> None:
        """Insert elements after an element, all below it and its slices."""
        ids = list(self.elements)
        last = max(
            index
            for index, one in enumerate(ids)
            if one == identity or one.startswith((f"{identity}.", f"{identity}:", f"{identity}/"))
        )
        rows = list(self.elements.items())
        new = [(row["id"], row) for row in added]
        self.elements = dict([*rows[: last + 1], *new, *rows[last + 1 :]])
