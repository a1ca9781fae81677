"""FHIR data types as people read them: CodeableConcept, Quantity, HumanName.

A text from the record stays in the language it was written in; `Text` carries that language, so
that a page can mark it for screen readers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import Resource
from ehr_portal.record.plain_names import plain_name

# Chinese characters: CJK Extension A and the Unified Ideographs.
HAN = re.compile(r"[\u3400-\u9fff]")
# The languages that a text in Latin or in Han characters is marked with.
LATIN_TAG = JURISDICTION.default_language.tag
HAN_TAG = language.tag if (language := JURISDICTION.match_language("zh-Hant")) else "zh"
# SNOMED CT ends a fully specified name with its kind in brackets; readers do not need it.
_SEMANTIC_TAG = re.compile(
    # Not from the middle of a run of spaces: each of its places would be tried, in quadratic time.
    r"(?<!\s)\s*"
    r"\((?:disorder|finding|procedure|situation|substance|regime/therapy|qualifier value)\)$"
)
# UCUM units as they are printed.
_PRINTED_UNITS = (
    ("mm[Hg]", "mmHg"),
    ("Cel", "°C"),
    ("10*3", "×10³"),
    ("10*6", "×10⁶"),
    ("uL", "µL"),
    ("m2", "m²"),
)


@dataclass(frozen=True)
class Text:
    """A text from the record and the BCP 47 tag of the language it is in."""

    text: str
    lang: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class PersonName:
    """A person's name in Latin and in Han characters; either may be empty."""

    latin: str
    han: str

    def __str__(self) -> str:
        return f"{self.latin} {self.han}".strip()


def person_name(resource: Resource) -> PersonName:
    """Return the first name in each script of a Patient or Practitioner."""
    latin, han = "", ""
    for name in resource.get("name", ()):
        text = name.get("text") or " ".join(
            [*name.get("prefix", ()), *name.get("given", ()), name.get("family", "")]
        )
        if HAN.search(text):
            han = han or text
        else:
            latin = latin or text
    return PersonName(latin.strip(), han)


def concept_text(concept: Resource | None, language: str) -> Text:
    """Return what a CodeableConcept says, by the everyday name of its code where we have one.

    >>> concept_text({"text": "Sprain of ankle (disorder)"}, "en")
    Text(text='Sprain of ankle', lang='en')
    """
    concept = concept or {}
    codings = concept.get("coding", ())
    for coding in codings:
        everyday = plain_name(coding.get("system", ""), coding.get("code", ""), language)
        if everyday:
            return Text(everyday, language)
    display = next((coding["display"] for coding in codings if coding.get("display")), "")
    code = next((coding["code"] for coding in codings if coding.get("code")), "")
    text = strip_semantic_tag(concept.get("text") or display) or code
    return Text(text, HAN_TAG if HAN.search(text) else LATIN_TAG)


def strip_semantic_tag(term: str) -> str:
    """Return a SNOMED CT term without the semantic tag at its end.

    >>> strip_semantic_tag("Anemia (disorder)"), strip_semantic_tag("Tablet (oral)")
    ('Anemia', 'Tablet (oral)')
    """
    return _SEMANTIC_TAG.sub("", term)


def quantity_text(quantity: Resource) -> str:
    """Return a Quantity as number and unit, empty without a number.

    >>> quantity_text({"value": 8.85, "comparator": "<", "code": "10*3/uL"})
    '<8.85\\xa0×10³/µL'
    """
    value = quantity.get("value")
    if value is None:
        return ""
    number = f"{float(value):.2f}".rstrip("0").rstrip(".")
    unit = quantity.get("unit") or quantity.get("code") or ""
    # A no-break space: a unit at the beginning of the next line is misread.
    return f"{quantity.get('comparator', '')}{number}\u00a0{_printed_unit(unit)}".strip()


def _printed_unit(unit: str) -> str:
    # UCUM's annotations and its "1" stand for no unit.
    if unit in ("{score}", "{nominal}", "1"):
        return ""
    for ucum, printed in _PRINTED_UNITS:
        unit = unit.replace(ucum, printed)
    return unit
