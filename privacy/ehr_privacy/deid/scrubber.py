"""Applying the allow-list: each rule is compiled once into a closure.

`plain_scrubber` applies the same rules without compiling them, and says why; a test holds the two
to equal results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehr_privacy.deid.dates import DateForm, Shift
from ehr_privacy.deid.events import find_age_at_event, measure_stay
from ehr_privacy.deid.modifiers import Modifier, find_element_type, find_modifiers, is_void
from ehr_privacy.deid.person import NOBODY_KNOWN, People, find_patient, find_survivor
from ehr_privacy.deid.preparation import (
    MAIN_CODES,
    cap_observed_ages,
    has_known_date,
    inline_contained,
)
from ehr_privacy.deid.pseudonyms import episode_shift_days, pseudonym, shift_days
from ehr_privacy.deid.rules import DeidRules, Node
from ehr_privacy.deid.values import Context, DropResource, Methods, Scrub

__all__ = ["Deidentifier", "find_episode"]

_SHORTEST_KEY = 32
# The element that names the episode of a record.
_EPISODES = ("encounter", "context", "partOf")


class Deidentifier:
    """Scrubs resources under one key; the same key always gives the same result.

    `dates` is the form of dates: a shift per patient or per episode, or true months or quarters.
    """

    def __init__(self, rules: DeidRules, key: bytes, dates: DateForm = "shift") -> None:
        if len(key) < _SHORTEST_KEY:
            raise ValueError("the key of a de-identification has at least 32 bytes")
        self._rules, self._key, self._dates = rules, key, dates
        self.methods = Methods(rules, key)
        self._types = {name: self._compile(name, node) for name, node in rules.types.items()}

    def __reduce__(self) -> tuple[type[Deidentifier], tuple[DeidRules, bytes, DateForm]]:
        # Closures do not travel to worker processes; rules and key do.
        return Deidentifier, (self._rules, self._key, self._dates)

    @property
    def rules(self) -> DeidRules:
        """Return the allow-list."""
        return self._rules

    def scrub(
        self, resource: Mapping[str, Any], people: People = NOBODY_KNOWN
    ) -> dict[str, Any] | None:
        """Return the de-identified resource, or None when it must not be kept at all."""
        prepared = self.prepare(resource)
        if prepared is None:
            return None
        context = self.find_context(prepared, people)
        try:
            kept = self._types[str(prepared["resourceType"])](prepared, context)
        except DropResource:
            return None
        return None if kept is None else self.complete(prepared, kept, context, people)

    def prepare(self, resource: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Settle what concerns the whole record; None for one that must not be kept."""
        kind = str(resource.get("resourceType"))
        if kind not in self._rules.types or "implicitRules" in resource:
            return None
        if kind == "Patient" and find_survivor(resource) is not None:
            # Another Patient stands for the person: one person is one row.
            return None
        inlined = inline_contained(resource)
        return None if inlined is None else cap_observed_ages(self._rules, inlined)

    def find_context(self, resource: Mapping[str, Any], people: People) -> Context:
        """Return whose record it is and how its dates change."""
        patient = find_patient(resource)
        accounts = people.merged_references
        if patient is None:
            return Context(accounts=accounts)
        is_apart = has_known_date(self._rules, resource)
        person = people.find(patient)
        shift = None if is_apart else self._find_shift(resource, person.account)
        return Context(shift, accounts, (person.birth_date or "")[:4], is_apart)

    def complete(
        self,
        resource: Mapping[str, Any],
        kept: dict[str, Any],
        context: Context,
        people: People,
    ) -> dict[str, Any]:
        """Add what is worked out of the record's dates, and the id of one that stands apart."""
        kind = str(resource["resourceType"])
        made: dict[str, Any] = {"resourceType": kind, **kept}
        if made.get("deceasedDateTime") is True:
            del made["deceasedDateTime"]
            made["deceasedBoolean"] = True
        if context.is_apart and "id" in made:
            # Links of other records to this one would tell its date.
            made["id"] = pseudonym(self._key, f"apart:{kind}/{resource['id']}")
        if kind == "Encounter" and "length" not in made and context.shift is not None:
            length = measure_stay(resource.get("period"))
            if length is not None and "period" in made:
                made["length"] = length
        paths = self._rules.event_dates.get(kind)
        patient = find_patient(resource)
        if paths and patient is not None and context.shift is not None:
            age = find_age_at_event(made, paths, people.find(patient).birth_date, context.shift)
            if age is not None:
                made["extension"] = [age]
        return made

    def _find_shift(self, resource: Mapping[str, Any], account: str) -> Shift:
        if self._dates in ("month", "quarter"):
            return Shift(form=self._dates)
        if self._dates == "shift":
            return Shift(shift_days(self._key, account))
        return Shift(episode_shift_days(self._key, account, find_episode(resource)), "episode")

    def _compile(self, kind: str, node: Node) -> Scrub:
        assert node.elements is not None  # noqa: S101 - the reader makes types of elements only
        elements = {}
        for name, child in node.elements.items():
            if name == "id":
                elements[name] = self._id(kind)
            else:
                elements[name] = self._node(
                    child, find_element_type(kind, name), name in MAIN_CODES
                )
        return _object(elements, find_modifiers(kind, node))

    def _node(self, node: Node, owner: str, is_main: bool = False) -> Scrub:
        if node.elements is not None:
            return _object(
                {
                    name: self._node(child, find_element_type(owner, name), is_main)
                    for name, child in node.elements.items()
                },
                find_modifiers(owner, node),
            )
        if node.values:
            return _closed_list(node.values)
        method = "main-coding" if is_main and node.method == "coding" else node.method
        return self.methods.by_name[method]

    def _id(self, kind: str) -> Scrub:
        def scrub(value: Any, context: Context) -> Any:
            return self.pseudonym_of(kind, value)

        return scrub

    def pseudonym_of(self, kind: str, value: Any) -> str | None:
        """Return the pseudonym of a resource's id; None for what is no id."""
        return pseudonym(self._key, f"{kind}/{value}") if isinstance(value, str) else None


def find_episode(resource: Mapping[str, Any]) -> str:
    """Return the episode of a record as `Type/id`: its encounter, or the record itself."""
    for name in _EPISODES:
        link = resource.get(name)
        reference = link.get("reference") if isinstance(link, dict) else None
        if isinstance(reference, str) and reference.startswith("Encounter/"):
            return reference.partition("/_history/")[0]
    return f"{resource.get('resourceType')}/{resource.get('id')}"


def _object(elements: Mapping[str, Scrub], modifiers: Mapping[str, Modifier]) -> Scrub:
    def scrub_object(value: Any, context: Context) -> Any:
        if not isinstance(value, dict):
            return None
        if "modifierExtension" in value:
            raise DropResource
        kept = {}
        for name, inner in value.items():
            scrub = elements.get(name)
            result = None if scrub is None else scrub(inner, context)
            if result is not None:
                kept[name] = result
        for name, modifier in modifiers.items():
            if name in value and (
                name not in kept or (modifier == "concept" and is_void(value[name]))
            ):
                raise DropResource
        return kept or None

    def scrub(value: Any, context: Context) -> Any:
        if isinstance(value, list):
            results = [scrub_object(item, context) for item in value]
            return [result for result in results if result is not None] or None
        return scrub_object(value, context)

    return scrub


def _closed_list(values: frozenset[str]) -> Scrub:
    def scrub(value: Any, context: Context) -> Any:
        if isinstance(value, list):
            return [item for item in value if isinstance(item, str) and item in values] or None
        return value if isinstance(value, str) and value in values else None

    return scrub
