"""Small pieces of FHIR as people read them: names, codes, amounts, organisations.

A text from the record stays in the language it was written in; `Text` carries that language, so
that a page can mark it for screen readers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import Resource
from ehr_portal.record.plain_names import plain_name

TRANSLATION = "http://hl7.org/fhir/StructureDefinition/translation"
ORGANIZATION_SOURCE = f"{JURISDICTION.base}/organization/"
_HAN = re.compile(r"[\u3400-\u9fff]")
# Synthea and SNOMED end a term with its kind in brackets; readers do not need it.
_KIND = re.compile(
    r"\s*\((?:disorder|finding|procedure|situation|substance|regime/therapy|qualifier value)\)$"
)
_PRINTED = (
    ("mm[Hg]", "mmHg"),
    ("Cel", "°C"),
    ("10*3", "×10³"),
    ("10*6", "×10⁶"),
    ("uL", "µL"),
    ("m2", "m²"),
)
_CARD = re.compile(JURISDICTION.person_identifier.written)
# The language that a name in Latin or in Han characters is marked with.
_LATIN_TAG = JURISDICTION.default_language.tag
_HAN_TAG = found.tag if (found := JURISDICTION.match_language("zh-Hant")) else "zh"


@dataclass(frozen=True)
class Text:
    """A text from the record and the language it is in."""

    text: str
    lang: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Name:
    """A person's name in Latin and in Han characters; either may be empty."""

    latin: str
    han: str

    def __str__(self) -> str:
        return f"{self.latin} {self.han}".strip()


@dataclass(frozen=True)
class Provider:
    """An organisation as the pages show it."""

    id: str
    latin: str
    han: str
    deemed: bool
    platform: bool

    def name(self, language: str) -> Text:
        """Return its name in the reader's script if it has one."""
        if self.han and language.startswith("zh"):
            return Text(self.han, _HAN_TAG)
        return Text(self.latin or self.han, _LATIN_TAG if self.latin else _HAN_TAG)


def person_name(resource: Resource) -> Name:
    """Return the name of a Patient or Practitioner."""
    latin, han = "", ""
    for name in resource.get("name", ()):
        text = name.get("text") or " ".join(
            [*name.get("prefix", ()), *name.get("given", ()), name.get("family", "")]
        )
        if _HAN.search(text):
            han = han or text
        else:
            latin = latin or text
    return Name(latin.strip(), han)


def provider(organization: Resource) -> Provider:
    """Return an Organization as a Provider."""
    names = [
        organization.get("name", ""),
        *organization.get("alias", ()),
        *_translated(organization),
    ]
    extensions = {entry["url"] for entry in organization.get("extension", ())}
    kinds = {c.get("code") for kind in organization.get("type", ()) for c in kind.get("coding", ())}
    return Provider(
        id=organization["id"],
        latin=next((n for n in names if n and not _HAN.search(n)), ""),
        han=next((n for n in names if _HAN.search(n)), ""),
        deemed=any(url.endswith("/deemed-sharing") for url in extensions),
        platform=organization["id"] == "ehr-commons" or (bool(kinds) and "prov" not in kinds),
    )


def concept(value: Resource | None, language: str) -> Text:
    """Return what a CodeableConcept says, in plain words where we have them."""
    value = value or {}
    codings = value.get("coding", ())
    for coding in codings:
        plain = plain_name(coding.get("system", ""), coding.get("code", ""), language)
        if plain:
            return Text(plain, language)
    written = value.get("text") or next((c["display"] for c in codings if c.get("display")), "")
    code = next((c["code"] for c in codings if c.get("code")), "")
    text = _KIND.sub("", written) or code
    return Text(text, _HAN_TAG if _HAN.search(text) else _LATIN_TAG)


def tidy(text: str) -> str:
    """Return a term without the kind in brackets at its end."""
    return _KIND.sub("", text)


def amount(quantity: Resource) -> str:
    """Return a Quantity with its unit."""
    number = quantity.get("value")
    if number is None:
        return ""
    shown = f"{float(number):.2f}".rstrip("0").rstrip(".")
    unit = quantity.get("unit") or quantity.get("code") or ""
    return f"{quantity.get('comparator', '')}{shown}\u00a0{_unit(unit)}".strip()


def hkid(patient: Resource) -> str:
    """Return the identity card number, all but its first letters and last digits hidden."""
    for identifier in patient.get("identifier", ()):
        value = str(identifier.get("value", ""))
        if identifier.get("system") == JURISDICTION.person_identifier.system or _CARD.fullmatch(
            value
        ):
            return f"{value[:-6]}•••{value[-3:]}" if len(value) > 8 else "•••"
    return ""


def card_number(typed: str) -> str | None:
    """Return a typed identity card number in its stored form, or None if it is none.

    >>> card_number(" a123456 3 ")
    'A123456(3)'
    """
    bare = re.sub(r"[\s()（）-]", "", typed).upper()
    return f"{bare[:-1]}({bare[-1]})" if re.fullmatch(r"[A-Z]{1,2}\d{6}[0-9A]", bare) else None


def author_id(resource: Resource) -> str | None:
    """Return the id of the organisation that wrote a record, as far as the record says it."""
    source = resource.get("meta", {}).get("source", "")
    if source.startswith(ORGANIZATION_SOURCE):
        return str(source.removeprefix(ORGANIZATION_SOURCE)).partition("#")[0]
    for reference in _references(resource):
        kind, _, identity = reference.partition("/")
        if kind == "Organization":
            return identity
    return None


def _references(resource: Resource) -> Iterable[str]:
    for path in ("serviceProvider", "custodian", "performer", "author", "managingOrganization"):
        values: Any = resource.get(path, ())
        for value in [values] if isinstance(values, Mapping) else values:
            actor = value.get("actor", value) if isinstance(value, Mapping) else {}
            yield str(actor.get("reference", ""))


def _translated(organization: Resource) -> Iterable[str]:
    for extension in organization.get("_name", {}).get("extension", ()):
        if extension["url"] == TRANSLATION:
            yield from (
                part.get("valueString", "")
                for part in extension["extension"]
                if part["url"] == "content"
            )


def _unit(unit: str) -> str:
    # UCUM is for computers: its signs as they are printed.
    if unit in ("{score}", "{nominal}", "1"):
        return ""
    for sign, printed in _PRINTED:
        unit = unit.replace(sign, printed)
    return unit
