"""A resource with a value in every element, and what a page must say of each: for generated tests.

Each value is told apart from all others by a word, number or day of its own.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.definitions import JsonElement
from ehr_portal.i18n import localizer_for
from ehr_portal.record.code_texts import code_text

# Elements that every type has and that are no part of what it says.
GENERAL = frozenset({"id", "meta", "language", "contained", "extension", "implicitRules"})
# Parts of a datatype, not of a resource: nested once, like a section in a section.
_MAX_SAME = 2


@dataclass(frozen=True)
class Told:
    """What a page must say of one element."""

    # Such as `Observation.component.valueQuantity`.
    path: str
    datatype: str
    value: Any

    def text(self, language: str) -> str:
        """Return what is looked for on the page in one language."""
        localizer = localizer_for(language)
        match self.datatype:
            case "date" | "dateTime":
                return localizer.format_day(self.value)
            case "instant":
                return localizer.format_instant(self.value)
            case "boolean":
                return localizer.translate("Yes")
            case "code":
                owner, _, name = self.path.rpartition(".")
                return code_text(f"{owner}.{name}", self.value, language).text
        return str(self.value)


@dataclass
class FullResource:
    """Builds one resource; `told` says what was put into it."""

    resource_type: str
    patient: str
    # The datatype to take of a choice, by `owner.name`; the first one otherwise.
    choices: dict[str, str] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    _count: int = 0

    def build(self) -> dict[str, Any]:
        """Return the resource."""
        resource: dict[str, Any] = {"resourceType": self.resource_type, "id": "full-1"}
        resource |= self._parts(self.resource_type, (self.resource_type,))
        for name in ("subject", "patient"):
            if name in resource:
                resource[name] = {"reference": f"Patient/{self.patient}"}
        return resource

    def _parts(self, owner: str, above: tuple[str, ...]) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for element in chosen_elements(owner, self.choices):
            if element.name in GENERAL or element.name == "modifierExtension":
                continue
            if (owner, element.name) == (self.resource_type, "text"):
                continue
            if element.type in above and above.count(element.type) >= _MAX_SAME:
                continue
            value = self._value(owner, element, above)
            if value is not None:
                parts[element.key] = [value] if element.repeats else value
        return parts

    def _value(self, owner: str, element: JsonElement, above: tuple[str, ...]) -> Any:
        path = f"{owner}.{element.key}"
        codes = definitions.required_codes(owner, element.name)
        if element.type == "code":
            value = min(codes - {"entered-in-error"}) if codes else self._word()
            self.told.append(Told(path, "code", value))
            return value
        if element.type in _SIMPLE:
            return self._simple(path, element.type)
        if element.type in definitions.elements() and element.type != "Resource":
            if element.type[0].isupper() and "." not in element.type and element.type in _COMPLEX:
                return self._complex(path, element.type)
            return self._parts(element.type, (*above, element.type)) or None
        return None

    def _simple(self, path: str, datatype: str) -> Any:
        self._count += 1
        day = (date(2001, 1, 1) + timedelta(days=self._count)).isoformat()
        values: dict[str, Any] = {
            "boolean": True,
            "date": day,
            "dateTime": day,
            "instant": f"{day}T08:09:00+08:00",
            "time": f"10:{self._count % 60:02}:00",
            "decimal": float(f"{self._count}.25"),
            "integer": 7000 + self._count,
            "positiveInt": 7000 + self._count,
            "unsignedInt": 7000 + self._count,
        }
        value = values.get(datatype, f"zq{self._count:04}x")
        shown = value[:5] if datatype == "time" else value
        self.told.append(Told(path, datatype, shown))
        return value

    def _complex(self, path: str, datatype: str) -> Any:
        word, number = self._word(), self._number()

        def tell(value: Any, kind: str = "string") -> None:
            self.told.append(Told(path, kind, value))

        match datatype:
            case "CodeableConcept" | "Annotation" | "HumanName":
                tell(word)
                return {"text": word}
            case "Coding":
                tell(word)
                return {"code": "c", "display": word}
            case "Reference":
                tell(word)
                return {"display": word}
            case "Identifier" | "ContactPoint":
                tell(word)
                return {"value": word}
            case "Address":
                tell(word)
                return {"line": [word]}
            case "Narrative":
                tell(word)
                return {"status": "additional", "div": f"<div>{word}</div>"}
            case "Attachment":
                tell(word)
                tell(f"{word}-data")
                data = base64.b64encode(f"{word}-data".encode()).decode()
                return {"contentType": "text/plain", "title": word, "data": data}
            case "Period":
                start = date(2010, 1, 1) + timedelta(days=self._count)
                end = start + timedelta(days=4000)
                tell(start.isoformat(), "date")
                tell(end.isoformat(), "date")
                return {"start": start.isoformat(), "end": end.isoformat()}
            case "Range":
                tell(number)
                tell(number + 1)
                return {"low": {"value": number}, "high": {"value": number + 1}}
            case "Ratio":
                tell(number)
                tell(number + 1)
                return {"numerator": {"value": number}, "denominator": {"value": number + 1}}
            case "Timing":
                tell(word)
                return {"code": {"text": word}}
            case "Dosage":
                tell(word)
                tell(number)
                return {
                    "text": word,
                    "doseAndRate": [{"doseQuantity": {"value": number, "unit": "mg"}}],
                }
            case "SampledData":
                return {"origin": {"value": 0}, "period": 1, "dimensions": 1, "data": "1 2"}
        # Quantity and its kin.
        tell(number)
        tell(word)
        return {"value": number, "unit": word}

    def _word(self) -> str:
        self._count += 1
        return f"zq{self._count:04}x"

    def _number(self) -> float:
        self._count += 1
        return float(f"{600 + self._count}.25")


_SIMPLE = frozenset(
    {
        "boolean", "string", "markdown", "uri", "url", "canonical", "id", "oid", "uuid", "date",
        "dateTime", "instant", "time", "decimal", "integer", "positiveInt", "unsignedInt",
        "base64Binary",
    }
)  # fmt: skip
_COMPLEX = frozenset(
    {
        "CodeableConcept", "Annotation", "HumanName", "Coding", "Reference", "Identifier",
        "ContactPoint", "Address", "Narrative", "Attachment", "Period", "Range", "Ratio", "Timing",
        "Dosage", "SampledData", "Quantity", "Age", "Duration", "Count", "Distance", "Money",
    }
)  # fmt: skip


def chosen_elements(owner: str, choices: dict[str, str]) -> Iterator[JsonElement]:
    """Yield the elements of a type, of a choice the chosen datatype."""
    seen = set()
    for element in definitions.json_elements(owner).values():
        wanted = choices.get(f"{owner}.{element.name}")
        if element.name in seen or (wanted and element.type != wanted):
            continue
        seen.add(element.name)
        yield element


def choices_of(resource_type: str) -> Iterator[dict[str, str]]:
    """Yield choices of datatypes until every datatype of every choice was taken once."""
    types: dict[str, list[str]] = {}
    for owner in definitions.elements():
        if owner == resource_type or owner.startswith(f"{resource_type}."):
            for element in definitions.json_elements(owner).values():
                if element.is_choice:
                    types.setdefault(f"{owner}.{element.name}", []).append(element.type)
    for number in range(max((len(kinds) for kinds in types.values()), default=1)):
        yield {name: kinds[number % len(kinds)] for name, kinds in types.items()}
