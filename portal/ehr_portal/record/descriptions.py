"""What the pages show of each resource type, in what order and for whom: descriptions.toml.

The file is checked when it is read: an element that R4 does not have, or that is named twice, is a
fault of the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ehr_fhir import definitions

# The lists that say where an element stands on a record's own page.
_PLACES = ("lead", "body", "clinician", "more")


@dataclass(frozen=True)
class Description:
    """One resource type; each name is an element's, without [x]."""

    resource_type: str
    title: tuple[str, ...]
    row: tuple[str, ...]
    lead: tuple[str, ...]
    body: tuple[str, ...]
    clinician: tuple[str, ...]
    more: tuple[str, ...]
    # Reasons by element.
    left_out: Mapping[str, str]

    @property
    def shown(self) -> tuple[str, ...]:
        """Return every element that the record's own page shows."""
        return (*self.lead, *self.body, *self.clinician, *self.more)


def describe_type(resource_type: str) -> Description | None:
    """Return the description of a resource type; None for one that has no page."""
    return _load_descriptions().get(resource_type)


def described_types() -> tuple[str, ...]:
    """Return the resource types that have a description, in the file's order."""
    return tuple(_load_descriptions())


@cache
def part_order(owner: str) -> tuple[str, ...]:
    """Return the elements of a part such as `Observation.component`, in the order they are shown.

    >>> part_order("QuestionnaireResponse.item")
    ('text', 'answer', 'item', 'modifierExtension')
    """
    table = _load_file().get(owner, {})
    names = tuple(
        dict.fromkeys(element.name for element in definitions.json_elements(owner).values())
    )
    left_out = left_out_of_part(owner)
    order = [name for name in table.get("order", ()) if name in names]
    return tuple(order) + tuple(n for n in names if n not in order and n not in left_out)


def left_out_of_part(owner: str) -> Mapping[str, str]:
    """Return what is never shown of a part, with the reasons."""
    general: dict[str, str] = _load_file()["left_out"]
    own: dict[str, str] = _load_file().get(owner, {}).get("left_out", {})
    return {**{name: general[name] for name in ("id", "extension")}, **own}


@cache
def _load_descriptions() -> dict[str, Description]:
    raw = _load_file()
    general: dict[str, str] = raw["left_out"]
    types = [name for name in raw if name in definitions.resource_types()]
    return {name: _parse_description(name, raw[name], general) for name in types}


@cache
def _load_file() -> dict[str, Any]:
    text = (files(__package__) / "descriptions.toml").read_text("utf-8")
    return tomllib.loads(text)


def _parse_description(
    resource_type: str, table: Mapping[str, Any], general: Mapping[str, str]
) -> Description:
    elements = definitions.json_elements(resource_type).values()
    names = {element.name for element in elements}
    lists: dict[str, list[str]] = {place: table[place] for place in _PLACES}
    listed = [name for place in _PLACES for name in lists[place]]
    left_out = {**general, **table.get("left_out", {})}
    row_names = {path.partition(".")[0] for path in table["row"]}
    unknown = {*listed, *table["title"], *row_names, *table.get("left_out", {})} - names
    if unknown or len(listed) != len(set(listed)):
        raise ValueError(f"descriptions.toml, {resource_type}: {unknown or listed}")
    return Description(
        resource_type=resource_type,
        title=tuple(table["title"]),
        row=tuple(table["row"]),
        left_out={name: left_out[name] for name in left_out if name in names - set(listed)},
        **{place: tuple(lists[place]) for place in _PLACES},
    )
