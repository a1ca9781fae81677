"""FHIR data types as people read them: CodeableConcept, Quantity, HumanName.

A text from the record stays in the language it was written in; `Text` carries that language, so
that a page can mark it for screen readers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_, localizer_for
from ehr_portal.record.designations import designation
from ehr_portal.record.plain_names import plain_name, text_name

# Chinese characters: CJK Extension A and the Unified Ideographs.
HAN = re.compile(r"[\u3400-\u9fff]")
# Han characters in a row, with the marks that may stand between them.
_HAN_RUN = re.compile(r"([\u3400-\u9fff](?:[\u3400-\u9fff·．　]*[\u3400-\u9fff])?)")
# The languages that a text in Latin or in Han characters is marked with.
LATIN_TAG = JURISDICTION.default_language.tag
HAN_TAG = language.tag if (language := JURISDICTION.match_language("zh-Hant")) else "zh"
# SNOMED CT ends a fully specified name with its kind in brackets; readers do not need it.
_SEMANTIC_TAG = re.compile(
    # Not from the middle of a run of spaces: each of its places would be tried, in quadratic time.
    r"(?<!\s)\s*"
    r"\((?:disorder|finding|procedure|situation|substance|regime/therapy|qualifier value|organism"
    r"|physical object|body structure|record artifact|morphologic abnormality|occupation|person)\)$"
)
# A value's place in a message of gettext.
_PLACE = re.compile(r"%\((\w+)\)s")
# UCUM units as they are printed.
_PRINTED_UNITS = (
    ("mm[Hg]", "mmHg"),
    ("Cel", "°C"),
    ("10*3", "×10³"),
    ("10*6", "×10⁶"),
    ("uL", "µL"),
    ("umol", "µmol"),
    ("ug", "µg"),
    ("m2", "m²"),
)


@dataclass(frozen=True)
class Text:
    """A text from the record and the BCP 47 tag of the language it is in.

    `original` is what the record says where this is a translation of it.
    """

    text: str
    lang: str
    # Two records of the same name are of one kind, whatever words each was written in.
    original: Text | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.text

    @property
    def parts(self) -> tuple[Text, ...]:
        """Return the text as a phrase of one part."""
        return (self,)


@dataclass(frozen=True)
class Phrase:
    """A sentence of ours with texts of the record in it, each in its own language."""

    parts: tuple[Text, ...]

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        """Return the whole sentence."""
        return "".join(part.text for part in self.parts)


@dataclass(frozen=True)
class PersonName:
    """A person's name in Latin and in Han characters; either may be empty."""

    latin: str
    han: str

    def __str__(self) -> str:
        return f"{self.latin} {self.han}".strip()


# What is not said.
NO_TEXT = Phrase(())


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
    """Return what a CodeableConcept says, in the reader's language where its code has a name there.

    A designation of the server's code system goes before our own everyday name, that of a code
    before that of words. What the record says itself is the text's `original`.

    >>> concept_text({"text": "Sprain of ankle (disorder)"}, "en")
    Text(text='Sprain of ankle', lang='en')
    >>> text = concept_text({"text": "Penicillin"}, "zh-Hans")
    >>> text.text, text.original.text
    ('青霉素', 'Penicillin')
    """
    concept = concept or {}
    codings = concept.get("coding", ())
    display = next((coding["display"] for coding in codings if coding.get("display")), "")
    code = next((coding["code"] for coding in codings if coding.get("code")), "")
    written = strip_semantic_tag(concept.get("text") or display)
    name = next(filter(None, (_coding_name(coding, language) for coding in codings)), None)
    name = name or text_name(written, language)
    if not name:
        return text_of_record(written or code)
    original = text_of_record(written)
    is_translation = bool(written) and original.lang != language and written != name
    return Text(name, language, original if is_translation else None)


def _coding_name(coding: Resource, language: str) -> str | None:
    system, code = coding.get("system", ""), coding.get("code", "")
    return designation(system, code, language) or plain_name(system, code, language)


def text_of_record(text: str) -> Text:
    """Return a text as it was written, marked with the language of its script.

    >>> text_of_record("Cough").lang
    'en'
    """
    return Text(text, HAN_TAG if HAN.search(text) else LATIN_TAG)


def split_scripts(text: str) -> Phrase:
    """Return a name as it was written, its Latin and its Han characters each marked as such.

    >>> [(part.text, part.lang) for part in split_scripts("Dr CHAN Hoi Lam 陳凱琳").parts]
    [('Dr CHAN Hoi Lam ', 'en'), ('陳凱琳', 'zh-Hant-HK')]
    """
    pieces = [piece for piece in _HAN_RUN.split(text) if piece]
    return Phrase(tuple(text_of_record(piece) for piece in pieces))


def compose(language: str, message: str, **values: Text | Phrase | str) -> Phrase:
    """Return a message marked with N_ in the reader's language, with its values put in.

    >>> compose("en", "when needed (%(reason)s)", reason=Text("痛", "zh")).parts[1]
    Text(text='痛', lang='zh')
    """
    parts: list[Text] = []
    for number, piece in enumerate(_PLACE.split(localizer_for(language).translate(message))):
        # Every second piece is the name of a value.
        value = values[piece] if number % 2 else piece
        parts += [Text(value, language)] if isinstance(value, str) else value.parts
    return Phrase(tuple(part for part in parts if part.text))


def join_phrases(phrases: Iterable[Text | Phrase], separator: str, language: str) -> Phrase:
    """Return phrases one after the other; empty ones are left out."""
    parts: list[Text] = []
    for phrase in phrases:
        if phrase.text:
            parts += [Text(separator, language), *phrase.parts] if parts else phrase.parts
    return Phrase(tuple(parts))


def list_separator(language: str) -> str:
    """Return what stands between the items of a list in a language."""
    return "、" if language.startswith("zh") else ", "


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
    unit = printed_unit(quantity.get("unit") or quantity.get("code") or "")
    # A no-break space: a unit at the beginning of the next line is misread.
    return f"{quantity.get('comparator', '')}{number_text(value)}\u00a0{unit}".strip()


def number_text(value: float) -> str:
    """Return a number as it was reported; what is no more than noise of a computation is rounded.

    >>> number_text(0.004), number_text(7.354), number_text(13.456789), number_text(0.0123456)
    ('0.004', '7.354', '13.46', '0.012')
    """
    number = Decimal(str(value))
    decimals = -int(number.as_tuple().exponent)
    # Laboratories report four decimals at most, and of ten and more two.
    if decimals > (4 if abs(number) < 10 else 2):
        # Two decimals, or two digits that count: a small number must not become 0.
        places = max(2, 1 - number.adjusted())
        number = round(number, places)
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def range_text(limits: Resource, language: str) -> str:
    """Return a Range in words or numbers, the unit once where both limits have it.

    >>> range_text({"low": {"value": 3.5, "unit": "g"}, "high": {"value": 5.1, "unit": "g"}}, "en")
    '3.5–5.1\\xa0g'
    """
    low, high = quantity_text(limits.get("low", {})), quantity_text(limits.get("high", {}))
    if low and high:
        low_unit, high_unit = low.partition("\u00a0")[2], high.partition("\u00a0")[2]
        first = low.partition("\u00a0")[0] if low_unit == high_unit else low
        return f"{first}–{high}"
    translate = localizer_for(language).translate
    if low:
        return translate(N_("%(limit)s or more")) % {"limit": low}
    return translate(N_("%(limit)s or less")) % {"limit": high} if high else ""


def printed_unit(unit: str) -> str:
    """Return a UCUM unit as it is printed, empty where it stands for none."""
    # UCUM's annotations and its "1" stand for no unit.
    if unit in ("{score}", "{nominal}", "1"):
        return ""
    for ucum, printed in _PRINTED_UNITS:
        unit = unit.replace(ucum, printed)
    # An annotation says what is counted, such as {INR}: without its brackets.
    return unit.replace("{", "").replace("}", "")
