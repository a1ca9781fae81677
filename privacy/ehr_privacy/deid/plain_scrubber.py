"""The allow-list applied element by element, without compiling it, with the reason for each fate.

It is the reference that the compiled `Deidentifier` is held to, and what `ehr deid explain` shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ehr_privacy.deid.modifiers import find_element_type, find_modifiers, is_void
from ehr_privacy.deid.person import NOBODY_KNOWN, People
from ehr_privacy.deid.preparation import MAIN_CODES
from ehr_privacy.deid.rules import Node
from ehr_privacy.deid.scrubber import Deidentifier
from ehr_privacy.deid.values import Context, DropResource

__all__ = ["ElementFate", "Explanation", "explain_resource"]

Fate = Literal["kept", "changed", "dropped", "drops the record", "made"]


@dataclass(frozen=True)
class ElementFate:
    """What becomes of one element, and the rule that decided it."""

    path: str
    fate: Fate
    rule: str


@dataclass(frozen=True)
class Explanation:
    """The de-identified resource, None if it is dropped, and the fate of each element."""

    resource: dict[str, Any] | None
    fates: tuple[ElementFate, ...]


def explain_resource(
    deidentifier: Deidentifier, resource: Mapping[str, Any], people: People = NOBODY_KNOWN
) -> Explanation:
    """Apply the rules to a resource, and say of each element what becomes of it and why.

    >>> from ehr_privacy.deid import load_rules
    >>> patient = {"resourceType": "Patient", "id": "p", "name": [{"family": "Chan"}]}
    >>> for fate in explain_resource(Deidentifier(load_rules(), b"k" * 32), patient).fates:
    ...     print(fate.path, "|", fate.fate, "|", fate.rule)
    Patient.id | changed | pseudonym
    Patient.name | dropped | no rule
    """
    kind = str(resource.get("resourceType"))
    rules = deidentifier.rules
    if kind not in rules.types:
        return Explanation(None, (ElementFate(kind, "drops the record", "type not listed"),))
    if "implicitRules" in resource:
        fate = ElementFate(f"{kind}.implicitRules", "drops the record", "may turn the meaning")
        return Explanation(None, (fate,))
    prepared = deidentifier.prepare(resource)
    if prepared is None:
        why = "link (replaced-by)" if kind == "Patient" else "a contained record is void"
        return Explanation(None, (ElementFate(kind, "drops the record", why),))
    walk = _Walk(deidentifier, deidentifier.find_context(prepared, people), kind, [])
    try:
        kept = walk.apply_to_object(prepared, rules.types[kind], kind, kind)
    except DropResource:
        return Explanation(None, tuple(walk.fates))
    walk.note_preparation(resource, prepared)
    if kept is None:
        return Explanation(None, tuple(walk.fates))
    made = deidentifier.complete(prepared, kept, walk.context, people)
    walk.note_completion(kept, made)
    return Explanation(made, tuple(walk.fates))


@dataclass
class _Walk:
    """One pass over a resource."""

    deidentifier: Deidentifier
    context: Context
    kind: str
    fates: list[ElementFate]

    def note(self, path: str, fate: Fate, rule: str) -> None:
        self.fates.append(ElementFate(path, fate, rule))

    def apply(self, value: Any, node: Node, owner: str, path: str, *, is_main: bool) -> Any:
        """Return what a rule leaves of a value."""
        if node.elements is not None:
            if isinstance(value, list):
                items = [
                    self.apply_to_object(item, node, owner, f"{path}[{number}]", is_main=is_main)
                    for number, item in enumerate(value)
                ]
                return [item for item in items if item is not None] or None
            return self.apply_to_object(value, node, owner, path, is_main=is_main)
        left = self._apply_method(value, node, owner, path, is_main=is_main)
        rule = f"one of {len(node.values)} codes" if node.values else node.method
        if left is None:
            self.note(path, "dropped", f"{rule}: {self._reason(node)}")
        else:
            self.note(path, "kept" if left == value else "changed", rule)
        return left

    def apply_to_object(
        self, value: Any, node: Node, owner: str, path: str, *, is_main: bool = False
    ) -> Any:
        """Return what is left of an object, or of a whole resource."""
        if not isinstance(value, dict):
            self.note(path, "dropped", "not an object")
            return None
        if "modifierExtension" in value:
            self.note(f"{path}.modifierExtension", "drops the record", "may turn the meaning")
            raise DropResource
        rules = node.elements or {}
        kept = {}
        for name, inner in value.items():
            if name == "resourceType" and path == self.kind:
                continue
            child = rules.get(name)
            if child is None:
                self.note(f"{path}.{name}", "dropped", "no rule")
                continue
            left = self.apply(
                inner,
                child,
                find_element_type(owner, name),
                f"{path}.{name}",
                is_main=is_main or (path == self.kind and name in MAIN_CODES),
            )
            if left is not None:
                kept[name] = left
        for name, modifier in find_modifiers(owner, node).items():
            if name in value:
                self._require_meaning(value[name], name in kept, f"{path}.{name}", modifier)
        return kept or None

    def _require_meaning(self, value: Any, is_kept: bool, path: str, modifier: str) -> None:
        """Drop the record whose modifier does not come through, or voids it."""
        if modifier == "concept" and is_void(value):
            self.note(path, "drops the record", "entered in error")
            raise DropResource
        if not is_kept:
            self.note(path, "drops the record", "a modifier whose value is not known")
            raise DropResource

    def _apply_method(self, value: Any, node: Node, owner: str, path: str, *, is_main: bool) -> Any:
        if node.values:
            if isinstance(value, list):
                return [
                    item for item in value if isinstance(item, str) and item in node.values
                ] or None
            return value if isinstance(value, str) and value in node.values else None
        if path == f"{self.kind}.id":
            return self.deidentifier.pseudonym_of(self.kind, value)
        method = "main-coding" if is_main and node.method == "coding" else node.method
        try:
            return self.deidentifier.methods.by_name[method](value, self.context)
        except DropResource:
            self.note(path, "drops the record", "modifierExtension: may turn the meaning")
            raise

    def _reason(self, node: Node) -> str:
        if node.values:
            return "another value"
        if self.context.is_apart and node.method in ("dateshift", "reference"):
            return "the dates of its code are public"
        return _REASONS.get(node.method, "not of its form")

    def note_preparation(self, resource: Mapping[str, Any], prepared: Mapping[str, Any]) -> None:
        """Say what was settled of the whole record before its elements were."""
        if "contained" in resource and "contained" not in prepared:
            self.note(
                f"{self.kind}.contained", "changed", "its code stands where it is referred to"
            )
        for path in _changed_paths(resource, prepared, self.kind):
            self.note(path, "changed", "an age or birth date that is told")

    def note_completion(self, kept: Mapping[str, Any], made: Mapping[str, Any]) -> None:
        """Say what is worked out of dates before they go."""
        if self.context.is_apart:
            self.note(
                f"{self.kind}.id", "changed", "stands apart: the dates of its code are public"
            )
        for name in made.keys() - kept.keys() - {"resourceType"}:
            self.note(f"{self.kind}.{name}", "made", _MADE.get(name, "worked out"))


_REASONS = {
    "reference": "not a record of a listed type",
    "dateshift": "no day, no patient, or a year that would tell an age",
    "coding": "an unknown system, not a code of it, or a code whose dates are public",
    "quantity": "no number, or no unit of UCUM",
    "keep": "neither a number nor a truth",
    "age": "no age in a unit of time",
    "region": "no district of the place",
    "year": "not a date",
    "pseudonym": "tells nothing",
}
_MADE = {
    "extension": "the age at the event",
    "length": "the length of the stay",
    "deceasedBoolean": "the fact alone: the day of death is not known",
}


def _changed_paths(before: Any, after: Any, path: str) -> Iterator[str]:
    """Yield the paths of values that differ, where both have the element."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before:
            if name in after:
                yield from _changed_paths(before[name], after[name], f"{path}.{name}")
            elif name.startswith("value"):
                yield f"{path}.{name}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _changed_paths(old, new, f"{path}[{number}]")
    elif before != after and not isinstance(before, list):
        yield path
