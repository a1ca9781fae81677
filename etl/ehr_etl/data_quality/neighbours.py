"""Neighbours of a record: those of the same person whose faults may change when it does.

Records are linked by a reference, by what happened at one time, or as stays in hospital. Most
records of a person need not be parsed for that: the JSON of a neighbour contains the id or the time
that links it. Some that contain it are no neighbours; they are checked for nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.data_quality.faults import find_elements
from ehr_etl.data_quality.linked_rules import (
    EVENTS,
    MASS_UNITS,
    LinkedRecord,
    iterate_references,
    read_measure,
    read_stay,
)
from ehr_etl.data_quality.rules import QualityRules
from ehr_fhir.references import local_target

__all__ = ["PersonTexts", "find_keys_to_check", "find_neighbours"]

# Texts that are looked for at once; with more of them most records of a person are concerned.
# Chosen.
_MOST_TEXTS = 400


@dataclass
class PersonTexts:
    """The records of a person as JSON texts by key `Type/id`; None where it is deleted."""

    texts: Mapping[str, str | None]
    _column: pa.Array = field(init=False)

    def __post_init__(self) -> None:
        self._column = pa.array(self.texts.values(), pa.string())

    def find(self, texts: Collection[str], types: Collection[str]) -> set[str]:
        """Return the keys of the records that contain one of some texts, or are of some types."""
        found = {key for key in self.texts if key.partition("/")[0] in types}
        if texts:
            pattern = "|".join(map(_escape, sorted(texts)))
            is_linked = pc.match_substring_regex(self._column, pattern).to_pylist()
            found |= {key for key, is_found in zip(self.texts, is_linked, strict=True) if is_found}
        return found


@dataclass
class _Links:
    """What the JSON of a record's neighbours contains, and types that are neighbours as such."""

    texts: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)


def find_keys_to_check(
    patient: str, person: PersonTexts, changed: Iterable[LinkedRecord], rules: QualityRules
) -> set[str] | None:
    """Return the keys of the records that changed, as they were and are, and of their neighbours.

    And the Patient, who may share an identity with somebody who changed. None stands for all
    records of the person: each is judged by the Patient's birth, death and sex.
    """
    changed = list(changed)
    keys = {record.key for record in changed}
    if f"Patient/{patient}" in keys:
        return None
    links = _find_links(changed, rules)
    if len(links.texts) > _MOST_TEXTS:
        return None
    found = keys | person.find(links.texts, links.types)
    return (found | {f"Patient/{patient}"}) & person.texts.keys()


def find_neighbours(
    patient: str, person: PersonTexts, records: Collection[LinkedRecord], rules: QualityRules
) -> set[str]:
    """Return the keys of what some records are judged by: neighbours, and what they refer to."""
    links = _find_links(records, rules)
    named = {f"Patient/{patient}", *(record.key for record in records)}
    for record in records:
        for _, reference in iterate_references(record.resource, ""):
            target = local_target(reference)
            if target is not None:
                named.add(str(target))
    if len(links.texts) > _MOST_TEXTS:
        return set(person.texts)
    return (named & person.texts.keys()) | person.find(links.texts, links.types)


def _find_links(records: Iterable[LinkedRecord], rules: QualityRules) -> _Links:
    by_kind = {rule.kind: rule for rule in rules.linked()}
    left_out = by_kind["duplicate"].parameters["left_out"] if "duplicate" in by_kind else ()
    links = _Links()
    for record in records:
        if record.type == "Patient":
            # All records refer to a Patient.
            continue
        links.texts.add(record.key)
        if record.resource is None:
            continue
        for path in EVENTS.get(record.type, ()):
            values = [value for _, value in find_elements(record.resource, path)]
            if values and path.partition(".")[0] in left_out:
                # Two that say the same may differ in it.
                links.types.add(record.type)
            links.texts.update(value for value in values if isinstance(value, str) and value)
            if values:
                # The first that is there counts.
                break
        if "overlap" in by_kind and read_stay(record, by_kind["overlap"]):
            links.types.add("Encounter")
        if (mass := by_kind.get("body_mass_index")) is not None:
            units = {**MASS_UNITS, "index": "kg/m2"}
            for name, unit in units.items():
                if (found := read_measure(record, mass.parameters[name], unit)) is not None:
                    links.texts.add(found[0])
    return links


def _escape(text: str) -> str:
    """Quote a text for a regular expression of RE2."""
    return "".join(char if char.isalnum() else f"\\x{{{ord(char):x}}}" for char in text)
