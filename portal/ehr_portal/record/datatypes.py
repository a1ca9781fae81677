"""Every FHIR datatype as text: one function says how a value of a datatype reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ehr_fhir import definitions
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.code_texts import code_text
from ehr_portal.record.display import (
    Phrase,
    Text,
    compose,
    concept_text,
    join_phrases,
    list_separator,
    number_text,
    person_name,
    quantity_text,
    range_text,
    split_scripts,
    text_of_record,
)
from ehr_portal.record.dosage import dosage_in_words
from ehr_portal.record.timing import date_text, period_text, timing_text

# The value is whatever JSON the standard gives the datatype.
Formatter = Callable[[Any, str], Phrase | Text]


def format_value(datatype: str, value: Any, language: str, *, element: str = "") -> Phrase | Text:
    """Return a value of a datatype as a reader reads it; empty where it has no text.

    `element` is the place of a code, such as `Observation.status`.

    >>> str(format_value("boolean", True, "en"))
    'Yes'
    """
    if datatype == "code":
        return code_text(element, value, language)
    formatter = _FORMATTERS.get(datatype)
    return formatter(value, language) if formatter else Text("", language)


def value_text(holder: Resource, name: str, language: str, owner: str = "Observation") -> Text:
    """Return the value of a choice element such as value[x] as one text.

    >>> value_text({"valueInteger": 3}, "value", "en").text
    '3'
    """
    for key, element in definitions.json_elements(owner).items():
        if element.name == name and key in holder:
            phrase = format_value(element.type, holder[key], language)
            if isinstance(phrase, Text):
                return phrase
            langs = {part.lang for part in phrase.parts}
            return Text(phrase.text, langs.pop() if len(langs) == 1 else language)
    return Text("", language)


def has_formatter(datatype: str) -> bool:
    """Return whether values of a datatype have a text."""
    return datatype == "code" or datatype in _FORMATTERS


def _of_record(value: Any, language: str) -> Text:
    return text_of_record(str(value))


def _number(value: float, language: str) -> Text:
    return Text(number_text(value), language)


def _boolean(value: bool, language: str) -> Phrase:
    return compose(language, N_("Yes") if value else N_("No"))


def _date(value: str, language: str) -> Text:
    return Text(date_text(value, language), language)


def _quantity(value: Resource, language: str) -> Text:
    return Text(quantity_text(value), language)


def _money(value: Resource, language: str) -> Text:
    return Text(f"{value.get('currency', '')}\u00a0{value.get('value', '')}".strip(), language)


def _range(value: Resource, language: str) -> Text:
    return Text(range_text(value, language), language)


def _ratio(value: Resource, language: str) -> Text:
    ends = (quantity_text(value.get(end, {})) for end in ("numerator", "denominator"))
    return Text(" : ".join(end for end in ends if end), language)


def _coding(value: Resource, language: str) -> Text:
    return concept_text({"coding": [value]}, language)


def _identifier(value: Resource, language: str) -> Text | Phrase:
    number = Text(str(value.get("value", "")), language)
    kind = concept_text(value.get("type"), language)
    return join_phrases((kind, number), " ", language) if kind.text else number


def _reference(value: Resource, language: str) -> Text | Phrase:
    # Where a page has looked up the target, it shows that instead.
    if value.get("display"):
        return split_scripts(str(value["display"]))
    return _identifier(value.get("identifier", {}), language)


def _annotation(value: Resource, language: str) -> Text | Phrase:
    author = value.get("authorString") or value.get("authorReference", {}).get("display", "")
    when = date_text(value["time"], language) if "time" in value else ""
    signed = [text_of_record(str(author)), Text(when, language)]
    signature = join_phrases(signed, list_separator(language), language)
    return join_phrases((text_of_record(value.get("text", "")), signature), " — ", language)


def _human_name(value: Resource, language: str) -> Text | Phrase:
    name = person_name({"name": [value]})
    return split_scripts(str(name))


def _contact_point(value: Resource, language: str) -> Text | Phrase:
    kind = code_text("ContactPoint.system", value.get("system", ""), language)
    use = code_text("ContactPoint.use", value.get("use", ""), language)
    number = Text(str(value.get("value", "")), language)
    return join_phrases((kind, use, number), " ", language)


def _address(value: Resource, language: str) -> Text:
    parts = [
        *value.get("line", ()),
        *(value.get(part, "") for part in ("city", "district", "state", "postalCode", "country")),
    ]
    return text_of_record(value.get("text") or ", ".join(part for part in parts if part))


def _attachment(value: Resource, language: str) -> Text:
    return text_of_record(str(value.get("title") or value.get("contentType") or ""))


def _dosage(value: Resource, language: str) -> Phrase:
    return join_phrases(dosage_in_words(value, language).lines(language), " — ", language)


def _sampled_data(value: Resource, language: str) -> Phrase:
    size = len(str(value.get("data", "")).split())
    return compose(language, N_("A curve of %(number)s points"), number=str(size))


def _each(names: Iterable[str], formatter: Formatter) -> dict[str, Formatter]:
    return dict.fromkeys(names, formatter)


_FORMATTERS: dict[str, Formatter] = {
    **_each(("string", "markdown", "uri", "url", "canonical", "id", "oid", "uuid"), _of_record),
    **_each(("integer", "decimal", "positiveInt", "unsignedInt"), _number),
    **_each(("date", "dateTime", "instant"), _date),
    **_each(("Quantity", "SimpleQuantity", "Age", "Duration", "Count", "Distance"), _quantity),
    "Money": _money,
    "time": lambda value, language: Text(str(value)[:5], language),
    "boolean": _boolean,
    "Range": _range,
    "Ratio": _ratio,
    "Coding": _coding,
    "CodeableConcept": concept_text,
    "Identifier": _identifier,
    "Reference": _reference,
    "Annotation": _annotation,
    "Period": period_text,
    "Timing": timing_text,
    "HumanName": _human_name,
    "ContactPoint": _contact_point,
    "Address": _address,
    "Attachment": _attachment,
    "Dosage": _dosage,
    "SampledData": _sampled_data,
}
