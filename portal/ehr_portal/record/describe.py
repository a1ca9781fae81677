"""A resource as lines for a page, read off its description: the one renderer of all types.

A modifier element is never lost: a modifierExtension at any depth, and implicitRules, are told as
a warning, since nobody here knows what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.definitions import JsonElement
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_, localizer_for
from ehr_portal.record.code_texts import code_text
from ehr_portal.record.datatypes import format_value, has_formatter
from ehr_portal.record.descriptions import Description, describe_type, part_order
from ehr_portal.record.display import (
    NO_TEXT,
    Phrase,
    Text,
    compose,
    concept_text,
    join_phrases,
    list_separator,
    text_of_record,
)
from ehr_portal.record.documents import find_attachments
from ehr_portal.record.dosage import dosage_lines
from ehr_portal.record.interpretations import ATTENTION, CRITICAL
from ehr_portal.record.labels import label_of
from ehr_portal.record.results import ResultValue, build_result, measured_on, whole_result
from ehr_portal.record.usual_ranges import UsualRanges

# Elements of an Observation and of its components that are one value together.
_RESULT_ELEMENTS = frozenset({"value", "interpretation", "referenceRange", "dataAbsentReason"})
# Codes that a reader must not overlook, by element.
_ALARMING = {
    "AllergyIntolerance.criticality": {"high"},
    "AllergyIntolerance.reaction.severity": {"severe"},
}
# CodeableConcepts with a required binding, whose codes mean the same without their system.
_STATE_CONCEPTS = frozenset({"clinicalStatus", "verificationStatus"})
# As deep as parts of R4's resources go; an item of a questionnaire may go deeper.
_MAX_DEPTH = 12
# A contained resource may refer to another one: a prescription to a medicine, that to a maker.
_MAX_INNER = 3


@dataclass(frozen=True)
class LinkedRecord:
    """What a reference leads to, as far as the reader may see it."""

    title: Phrase | Text
    # The address of its page; empty where it has none.
    path: str = ""
    resource: Resource | None = None


@dataclass(frozen=True)
class Value:
    """One value of an element."""

    text: Phrase | Text = NO_TEXT
    path: str = ""
    # Set for the value of an Observation or a component.
    result: ResultValue | None = None
    # The lines of an element that has parts.
    lines: tuple[Line, ...] = ()
    # One of the levels of `interpretations`, where the value must not be overlooked.
    level: str = ""
    # The index of an attachment among those of the record; None for any other value.
    attachment: int | None = None
    # XHTML of a narrative, to be cleaned before it is shown.
    narrative: str = ""


@dataclass(frozen=True)
class Line:
    """One element with its label, translated, and its values."""

    element: str
    label: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class DescribedRecord:
    """A resource as its own page shows it."""

    warnings: tuple[Line, ...]
    lead: tuple[Line, ...]
    body: tuple[Line, ...]
    more: tuple[Line, ...]


Links = Callable[[str], LinkedRecord | None]


def no_links(reference: str) -> LinkedRecord | None:
    """Know no target of any reference."""
    return None


class Describer:
    """Describes resources in one language for one reader."""

    def __init__(
        self,
        language: str,
        *,
        for_clinician: bool = False,
        links: Links = no_links,
        usual: UsualRanges | None = None,
    ) -> None:
        self._language = language
        self._for_clinician = for_clinician
        self._links = links
        self._usual = usual
        # The day of the Observation whose parts are described.
        self._day = ""
        self._depth = 0
        self._attachments: list[Mapping[str, Any]] = []

    def describe(self, resource: Resource) -> DescribedRecord | None:
        """Return the lines of a resource's own page; None for a type without a description."""
        description = describe_type(resource["resourceType"])
        if description is None:
            return None
        self._attachments = find_attachments(resource)
        body = description.body
        more = description.more
        if self._for_clinician:
            body = (*body, *description.clinician)
        else:
            more = (*description.clinician, *more)
        return DescribedRecord(
            warnings=tuple(self._warnings(resource, resource["resourceType"])),
            lead=self._lines(resource, description, description.lead),
            body=self._lines(resource, description, body),
            more=(
                *self._lines(resource, description, more),
                *self._heading_codes(resource, description.title),
                *self._narrative(resource),
            ),
        )

    def row_phrases(self, resource: Resource) -> list[Phrase | Text]:
        """Return what stands on the record's line in a list, one phrase for each element.

        The first speaks for itself; each other one has its label.
        """
        description = describe_type(resource["resourceType"])
        phrases: list[Phrase | Text] = []
        for place, name in enumerate(description.row if description else ()):
            line = self._row_line(resource, name)
            if line is None:
                continue
            values = (self._flatten(value) for value in line.values)
            phrase = join_phrases(values, "; ", self._language)
            if place > 0:
                label = Text(line.label, self._language)
                phrase = compose(
                    self._language, N_("%(label)s: %(value)s"), label=label, value=phrase
                )
            phrases.append(phrase)
        return [phrase for phrase in phrases if phrase.text]

    def _row_line(self, resource: Resource, path: str) -> Line | None:
        """Return an element of a row, or one part of it such as `reaction.manifestation`."""
        owner, name = resource["resourceType"], path.partition(".")[0]
        if name == "verificationStatus" and _codes_of(resource.get(name, {})) & {"confirmed"}:
            # What a reader takes an entry for.
            return None
        return self._inner_line(resource, owner, path)

    def _inner_line(self, holder: Mapping[str, Any], owner: str, path: str) -> Line | None:
        """Return one part of an element in all its repetitions, at any depth."""
        name, _, inner = path.partition(".")
        if not inner:
            return self._line(holder, owner, name)
        lines: list[Line] = []
        for element in _choices(owner, name):
            value = holder.get(element.key, ())
            for part in value if element.repeats else [value] if value else []:
                line = self._inner_line(part, element.type, inner)
                lines += [line] if line else []
        values = tuple(value for line in lines for value in line.values)
        return Line(path, lines[0].label, values) if values else None

    def title(self, resource: Resource) -> Phrase | Text:
        """Return what a record is called; empty where it does not say."""
        resource_type = resource["resourceType"]
        description = describe_type(resource_type)
        for name in description.title if description else ():
            for element in _choices(resource_type, name):
                if element.key not in resource:
                    continue
                value = resource[element.key]
                if element.repeats:
                    value = _named_first(value)
                if element.type == "CodeableConcept":
                    # Nearly all titles: a long record has thousands of rows to name.
                    title: Phrase | Text = concept_text(value, self._language)
                else:
                    shown = self._value(value, resource_type, element)
                    title = self._flatten(shown) if shown else NO_TEXT
                if title.text:
                    return title
        return Text("", self._language)

    def _lines(
        self, resource: Resource, description: Description, names: tuple[str, ...]
    ) -> tuple[Line, ...]:
        owner = description.resource_type
        if owner == "Observation" and "value" in names:
            names = tuple(name for name in names if name not in _RESULT_ELEMENTS)
            names = ("value", *names)
        lines = (self._line(resource, owner, name) for name in names)
        return tuple(line for line in lines if line)

    def _line(self, holder: Mapping[str, Any], owner: str, name: str) -> Line | None:
        """Return one element of a resource or of a part; None where it has no value."""
        if name == "value" and owner in ("Observation", "Observation.component"):
            if owner == "Observation":
                self._day = measured_on(holder)
                result = whole_result(holder, self._language, self._usual)
            else:
                result = build_result(holder, self._language, self._usual, self._day)
            value = Value(result.text, result=result, level=result.level)
            return Line(f"{owner}.{name}", self._label(owner, name), (value,))
        for element in _choices(owner, name):
            if element.key in holder:
                raw = holder[element.key] if element.repeats else [holder[element.key]]
                values = tuple(self._values(raw, owner, element))
                if values:
                    return Line(f"{owner}.{name}", self._label(owner, name), values)
        return None

    def _values(self, raw: list[Any], owner: str, element: JsonElement) -> Iterator[Value]:
        if element.type == "Dosage":
            yield from (Value(line) for line in dosage_lines(raw, self._language))
            return
        for value in raw:
            if value is None:
                continue
            shown = self._value(value, owner, element)
            if shown is not None:
                yield shown

    def _value(self, value: Any, owner: str, element: JsonElement) -> Value | None:
        language = self._language
        if element.type == "Reference":
            return self._reference(value)
        if element.type == "Attachment":
            text = format_value(element.type, value, language)
            return Value(text, attachment=self._attachment_index(value))
        if element.type == "Narrative":
            return Value(narrative=str(value.get("div", "")))
        if element.type == "boolean" and element.name in ("doNotPerform", "deleted"):
            if not value:
                return None
            return Value(compose(language, N_("Yes")), level=CRITICAL)
        if has_formatter(element.type):
            text = format_value(element.type, value, language, element=f"{owner}.{element.name}")
            if element.name in _STATE_CONCEPTS and str(text) in _codes_of(value):
                # No more than the code of its required binding, without a system.
                text = code_text(f"{owner}.{element.name}", str(text), language)
            alarming = _ALARMING.get(f"{owner}.{element.name}", set())
            level = ATTENTION if isinstance(value, str) and value in alarming else ""
            return Value(text, level=level) if text.text else None
        if element.type in definitions.elements():
            lines = tuple(self._part_lines(value, element.type))
            return Value(lines=lines) if lines else None
        return None

    def _attachment_index(self, attachment: Mapping[str, Any]) -> int | None:
        places = (n for n, known in enumerate(self._attachments) if known is attachment)
        return next(places, None)

    def _part_lines(self, part: Mapping[str, Any], owner: str) -> Iterator[Line]:
        names = part_order(owner)
        if owner == "Observation.component":
            yield from filter(None, (self._line(part, owner, "code"),))
            yield from filter(None, (self._line(part, owner, "value"),))
            return
        for name in names:
            if name == "modifierExtension":
                continue
            line = self._line(part, owner, name)
            if line:
                yield line

    def _reference(self, reference: Resource) -> Value | None:
        target = self._links(str(reference.get("reference", "")))
        if target and target.title.text:
            lines = self._inner_lines(target)
            return Value(target.title, target.path, self._result_of(target), lines)
        text = format_value("Reference", reference, self._language)
        return Value(text) if text.text else None

    def _result_of(self, target: LinkedRecord) -> ResultValue | None:
        resource = target.resource
        is_observation = resource is not None and resource["resourceType"] == "Observation"
        if resource is None or not is_observation:
            return None
        return whole_result(resource, self._language, self._usual)

    def _inner_lines(self, target: LinkedRecord) -> tuple[Line, ...]:
        """Return the lines of what has no page of its own: a Medication, a contained resource."""
        resource = target.resource
        description = describe_type(resource["resourceType"]) if resource else None
        if resource is None or description is None or target.path or self._depth >= _MAX_INNER:
            return ()
        self._depth += 1
        lines = self._lines(resource, description, description.shown)
        self._depth -= 1
        return lines

    def _heading_codes(self, resource: Resource, names: tuple[str, ...]) -> Iterator[Line]:
        owner = resource["resourceType"]
        for name in names:
            for element in _choices(owner, name):
                if element.type == "CodeableConcept" and element.key in resource:
                    raw = resource[element.key] if element.repeats else [resource[element.key]]
                    values = tuple(
                        Value(text) for concept in raw for text in concept_texts(concept)
                    )
                    if values:
                        yield Line(f"{owner}.{name}", self._translate(N_("As coded")), values)

    def _narrative(self, resource: Resource) -> Iterator[Line]:
        narrative = resource.get("text", {})
        if narrative.get("div"):
            values = (Value(narrative=str(narrative["div"])),)
            yield Line("text", self._translate(N_("In its author's words")), values)

    def _warnings(self, node: Any, owner: str, depth: int = 0) -> Iterator[Line]:
        """Yield what modifies the meaning of a record in a way that nobody here knows."""
        if depth > _MAX_DEPTH or not isinstance(node, Mapping):
            return
        for key in ("implicitRules", "modifierExtension"):
            if key in node:
                raw = node[key] if isinstance(node[key], list) else [{"url": node[key]}]
                values = tuple(self._unknown_modifier(extension) for extension in raw)
                yield Line(key, self._label(owner, key), values)
        for key, value in node.items():
            element = definitions.json_elements(owner).get(key)
            if element is None or element.type not in definitions.elements():
                continue
            for part in value if isinstance(value, list) else [value]:
                yield from self._warnings(part, element.type, depth + 1)

    def _unknown_modifier(self, extension: Mapping[str, Any]) -> Value:
        language = self._language
        value: Phrase | Text = Text("", language)
        for key, element in definitions.json_elements("Extension").items():
            if element.name == "value" and key in extension:
                value = format_value(element.type, extension[key], language)
        url = text_of_record(str(extension.get("url", "")))
        message = N_("This changes what the record means, and this page cannot read it: %(what)s")
        what = join_phrases((url, value), ": ", language)
        return Value(compose(language, message, what=what), level=CRITICAL)

    def _flatten(self, value: Value) -> Phrase | Text:
        """Return a value on one line: the parts of an element one after the other."""
        if value.result is not None and not value.path:
            flags = [flag.word for flag in value.result.flags]
            texts = [value.text, *flags]
            return join_phrases(texts, list_separator(self._language), self._language)
        if not value.lines:
            return value.text
        flat = (self._flatten(part) for line in value.lines for part in line.values)
        return join_phrases(flat, list_separator(self._language), self._language)

    def _label(self, owner: str, name: str) -> str:
        label = label_of(owner, name)
        return self._translate(label) if label else name

    def _translate(self, message: str) -> str:
        return localizer_for(self._language).translate(message)


def _named_first(values: Sequence[Any]) -> Any:
    """Return the first value that has words, else the first: a bare code names nothing to a reader.

    >>> _named_first([{"coding": [{"code": "assess-plan"}]}, {"text": "Diet"}])
    {'text': 'Diet'}
    """
    return next((value for value in values if _has_words(value)), values[0])


def _has_words(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return True
    codings = value.get("coding", ())
    return "coding" not in value or "text" in value or any("display" in c for c in codings)


@cache
def _choices(owner: str, name: str) -> tuple[JsonElement, ...]:
    """Return the keys that an element may stand under, such as all of value[x]."""
    elements = definitions.json_elements(owner).values()
    return tuple(element for element in elements if element.name == name)


def _codes_of(concept: Resource) -> set[str]:
    return {str(coding.get("code", "")) for coding in concept.get("coding", ())}


def concept_texts(concept: Resource) -> list[Text]:
    """Return every text and code of a CodeableConcept as it was written.

    >>> [t.text for t in concept_texts({"coding": [{"code": "1", "display": "Ache"}], "text": "x"})]
    ['x', 'Ache (1)']
    """
    texts = [concept["text"]] if concept.get("text") else []
    for coding in concept.get("coding", ()):
        display, code = coding.get("display", ""), coding.get("code", "")
        texts.append(f"{display} ({code})" if display and code else display or code)
    return [text_of_record(text) for text in dict.fromkeys(texts) if text]


__all__ = [
    "DescribedRecord", "Describer", "Line", "LinkedRecord", "Value", "concept_text",
    "concept_texts",
]  # fmt: skip
