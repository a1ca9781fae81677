"""FHIR Dosage in words, worked out from its structure, in the reader's language.

The order of the parts is that of the NHS Digital guidance on dose syntax for English, and the
usual one of pharmacy labels for Chinese: how, how often, how much. Nothing partial is ever told:
where one element has no words, the whole instruction is the source's own text, or a reference to
the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.record.display import (
    NO_TEXT,
    Phrase,
    Text,
    compose,
    concept_text,
    join_phrases,
    printed_unit,
    strip_semantic_tag,
    text_of_record,
)
from ehr_portal.record.plain_names import unit_name
from ehr_portal.record.timing import (
    NotInWords,
    length_text,
    number_or_span,
    timing_parts,
)

# Units of doses in words: one, and several. Safer than abbreviations (ISMP, Joint Commission):
# no U or IU, no micro sign.
_UNITS = {
    "tablet": (N_("%(number)s tablet"), N_("%(number)s tablets")),
    "capsule": (N_("%(number)s capsule"), N_("%(number)s capsules")),
    "puff": (N_("%(number)s puff"), N_("%(number)s puffs")),
    "spray": (N_("%(number)s spray"), N_("%(number)s sprays")),
    "drop": (N_("%(number)s drop"), N_("%(number)s drops")),
    "patch": (N_("%(number)s patch"), N_("%(number)s patches")),
    "sachet": (N_("%(number)s sachet"), N_("%(number)s sachets")),
    "suppository": (N_("%(number)s suppository"), N_("%(number)s suppositories")),
    "injection": (N_("%(number)s injection"), N_("%(number)s injections")),
    "application": (N_("%(number)s application"), N_("%(number)s applications")),
    "unit": (N_("%(number)s unit"), N_("%(number)s units")),
    "microgram": (N_("%(number)s microgram"), N_("%(number)s micrograms")),
    "mg": (N_("%(number)s mg"), N_("%(number)s mg")),
    "g": (N_("%(number)s g"), N_("%(number)s g")),
    "mL": (N_("%(number)s mL"), N_("%(number)s mL")),
    "L": (N_("%(number)s L"), N_("%(number)s L")),
}
# How units are written, in lower case: words, HL7 v3 orderable drug forms, UCUM.
_UNIT_OF = {
    "tab": "tablet", "tabs": "tablet", "tbl": "tablet", "{tbl}": "tablet", "{tablet}": "tablet",
    "tablets": "tablet", "tablet(s)": "tablet", "cap": "capsule", "caps": "capsule",
    "capsules": "capsule", "{capsule}": "capsule", "capsule(s)": "capsule", "puffs": "puff",
    "{puff}": "puff", "sprays": "spray", "{spray}": "spray", "drops": "drop", "[drp]": "drop",
    "gtt": "drop", "patches": "patch", "{patch}": "patch", "sachets": "sachet", "supp":
    "suppository", "suppositories": "suppository", "injections": "injection", "inj": "injection",
    "applications": "application", "appl": "application", "{appl}": "application",
    "u": "unit", "iu": "unit", "units": "unit", "[iu]": "unit", "[u]": "unit", "{unit}": "unit",
    "international unit": "unit", "international units": "unit",
    "ug": "microgram", "mcg": "microgram", "µg": "microgram", "μg": "microgram",
    "micrograms": "microgram", "milligram": "mg", "milligrams": "mg", "gram": "g", "grams": "g",
    "ml": "mL", "cc": "mL", "millilitre": "mL", "milliliter": "mL", "l": "L", "litre": "L",
}  # fmt: skip
_UNIT_BY_LOWER_CASE = {unit.lower(): unit for unit in _UNITS}
_RATES = frozenset({"rateRatio", "rateRange", "rateQuantity"})
# The parts in the order they are told.
_ENGLISH_ORDER = (
    "method", "dose", "rate", "duration", "frequency", "when", "days", "times", "route", "site",
    "needed", "bounds", "count", "event", "most", "additional",
)  # fmt: skip
_CHINESE_ORDER = (
    "method", "route", "site", "frequency", "dose", "rate", "duration", "when", "days", "times",
    "needed", "bounds", "count", "event", "most", "additional",
)  # fmt: skip
_KNOWN = frozenset(
    {
        "id", "sequence", "text", "additionalInstruction", "patientInstruction", "timing",
        "asNeededBoolean", "asNeededCodeableConcept", "site", "route", "method", "doseAndRate",
        "maxDosePerPeriod", "maxDosePerAdministration", "maxDosePerLifetime",
        # MedicationAdministration.dosage.
        "dose", "rateRatio", "rateQuantity",
    }
)  # fmt: skip


# Signs after which the next line is no part of the last one.
_ENDS_OF_LINES = (".", ";", ":", ",", "!", "?", "。", "；", "：", "，", "！", "？")


@dataclass(frozen=True)
class DosageInWords:
    """One instruction: what its structure says, and what its author wrote beside it."""

    # Empty where the structure says nothing that could be told whole.
    words: Phrase
    # As written, in the language of the record.
    text: Text
    # What the patient is told besides.
    patient_instruction: Text
    # Translated: that something could not be put into words.
    warning: Phrase = NO_TEXT
    # Instructions with the same number go together, others one after the other.
    sequence: int | None = None

    def lines(self, language: str) -> tuple[Phrase | Text, ...]:
        """Return what is told, each on a line of its own; what was written beside our words."""
        text: Phrase | Text = self.text
        if text.text and text.text in self.words.text:
            # Said already: the author's text is that of an additional instruction, too.
            text = Phrase(())
        elif self.words.text and self.text.text:
            text = compose(language, N_("As written: %(text)s"), text=self.text)
        lines = (self.words, text, self.patient_instruction, self.warning)
        return tuple(line for line in lines if line.text)


def dosage_in_words(dosage: Resource, language: str) -> DosageInWords:
    """Return a Dosage in words.

    >>> dosage_in_words({"timing": {"repeat": {"frequency": 2, "period": 1, "periodUnit": "d"}},
    ... "doseAndRate": [{"doseQuantity": {"value": 1, "unit": "tablet"}}]}, "en").words.text
    '1\\xa0tablet each time, twice a day'
    """
    text = text_of_record(join_lines(strip_semantic_tag(str(dosage.get("text", "")))))
    instruction = text_of_record(join_lines(str(dosage.get("patientInstruction", ""))))
    sequence = dosage.get("sequence")
    warning = NO_TEXT
    try:
        parts = _dosage_parts(dosage, language)
    except NotInWords:
        # The author's text, if there is one, says all; part of a structure never does.
        parts = {}
        message = N_("Part of this instruction cannot be shown here. Follow the label.")
        warning = compose(language, message)
    order = _CHINESE_ORDER if language.startswith("zh") else _ENGLISH_ORDER
    separator = "，" if language.startswith("zh") else ", "
    words = join_phrases((parts[name] for name in order if name in parts), separator, language)
    return DosageInWords(words, text, instruction, warning, sequence)


def join_lines(text: str) -> str:
    """Return a text as one line that keeps its lines apart: "1" and "2 at night" are no "1 2".

    >>> join_lines("morning 1\\n2 at night"), join_lines("Take one.\\r\\n Then rest.")
    ('morning 1; 2 at night', 'Take one. Then rest.')
    """
    joined = ""
    for line in filter(None, (line.strip() for line in text.splitlines())):
        separator = " " if joined.endswith(_ENDS_OF_LINES) else "; "
        joined = f"{joined}{separator}{line}" if joined else line
    return joined


def order_dosages(order: Resource) -> tuple[Resource, ...]:
    """Return the Dosages of an order, a dispense or a statement, whichever element has them."""
    return (*order.get("dosageInstruction", ()), *order.get("dosage", ()))


def end_of_dosages(order: Resource) -> str:
    """Return the last day of an order's instructions; empty where one of them has none.

    >>> bounds = {"timing": {"repeat": {"boundsPeriod": {"end": "2026-11-27T08:00:00+08:00"}}}}
    >>> end_of_dosages({"dosageInstruction": [bounds]})
    '2026-11-27'
    """
    ends = [
        str(dosage.get("timing", {}).get("repeat", {}).get("boundsPeriod", {}).get("end", ""))[:10]
        for dosage in order_dosages(order)
    ]
    return max(ends) if ends and all(ends) else ""


def dosage_lines(dosages: Sequence[Resource], language: str) -> list[Phrase | Text]:
    """Return several instructions line by line: steps by their sequence numbers, where they differ.

    Instructions without a number, or with the same one, go together.
    """
    told = [dosage_in_words(dosage, language) for dosage in dosages]
    told.sort(key=lambda dosage: dosage.sequence or 0)
    are_steps = len({dosage.sequence for dosage in told} - {None}) > 1
    lines: list[Phrase | Text] = []
    for dosage in told:
        first, *others = dosage.lines(language) or (NO_TEXT,)
        if are_steps and dosage.sequence is not None:
            number = str(dosage.sequence)
            message = N_("Step %(number)s: %(instruction)s")
            first = compose(language, message, number=number, instruction=first)
        lines += [first, *others]
    return [line for line in lines if line.text]


def _dosage_parts(dosage: Resource, language: str) -> dict[str, Phrase]:
    if dosage.keys() - _KNOWN:
        # A modifierExtension among them: it may turn the meaning round.
        raise NotInWords("Dosage")
    parts = timing_parts(dosage.get("timing", {}), language)
    for name in ("method", "route", "site"):
        if name in dosage:
            parts[name] = Phrase((concept_text(dosage[name], language),))
    rates = dosage.get("doseAndRate", ())
    # MedicationAdministration has one dose and rate in the dosage itself.
    own = {
        f"{key}Quantity" if key == "dose" else key: dosage[key]
        for key in ("dose", "rateRatio", "rateQuantity")
        if key in dosage
    }
    rates = [*rates, own] if own else rates
    doses = [_dose(rate, language, is_only=len(rates) == 1) for rate in rates]
    speeds = [_rate(rate, language) for rate in rates]
    if any(dose.text for dose in doses):
        parts["dose"] = join_phrases(doses, "; ", language)
    if any(speed.text for speed in speeds):
        parts["rate"] = join_phrases(speeds, "; ", language)
    if "asNeededCodeableConcept" in dosage:
        reason = concept_text(dosage["asNeededCodeableConcept"], language)
        parts["needed"] = compose(language, N_("when needed (%(reason)s)"), reason=reason)
    elif dosage.get("asNeededBoolean"):
        parts["needed"] = compose(language, N_("when needed"))
    most = _most(dosage, language)
    if most.text:
        parts["most"] = most
    additional = [concept_text(each, language) for each in dosage.get("additionalInstruction", ())]
    if additional:
        parts["additional"] = join_phrases(additional, "; ", language)
    return parts


def amount_text(quantity: Resource, language: str, upper: Resource | None = None) -> Phrase:
    """Return an amount of a medicine with its unit in words.

    >>> amount_text({"value": 0.5, "unit": "mcg"}, "en").text
    '0.5\\xa0micrograms'
    """
    value = quantity.get("value")
    if value is None or quantity.get("comparator"):
        raise NotInWords("Quantity")
    written = str(quantity.get("unit") or quantity.get("code") or "")
    most = (upper or {}).get("value")
    number = number_or_span(value, most, language)
    if printed_unit(written) == "":
        # Tablets or drops: the record does not say, so neither do we.
        return compose(language, N_("%(number)s (unit not stated)"), number=number)
    if value == 0.5 and most is None and _UNIT_OF.get(written.lower(), written) == "tablet":
        return compose(language, N_("half a tablet"))
    unit = _UNIT_OF.get(written.lower()) or _UNIT_BY_LOWER_CASE.get(written.lower(), written)
    if unit not in _UNITS:
        name = unit_name(unit, language)
        text = Text(name, language) if name else text_of_record(printed_unit(unit))
        return Phrase((Text(f"{number}\u00a0", language), text))
    one, several = _UNITS[unit]
    phrase = compose(language, one if value == 1 and most is None else several, number=number)
    return Phrase(tuple(Text(part.text.replace(" ", "\u00a0"), part.lang) for part in phrase.parts))


def _dose(rate: Resource, language: str, *, is_only: bool) -> Phrase:
    if rate.keys() - {"id", "type", "doseRange", "doseQuantity"} - _RATES:
        raise NotInWords("Dosage.doseAndRate")
    if "doseQuantity" in rate:
        dose = amount_text(rate["doseQuantity"], language)
    elif "doseRange" in rate:
        dose = _amount_range(rate["doseRange"], language)
    else:
        return NO_TEXT
    dose = compose(language, N_("%(dose)s each time"), dose=dose)
    if is_only or "type" not in rate:
        return dose
    kind = concept_text(rate["type"], language)
    return compose(language, N_("%(dose)s (%(kind)s)"), dose=dose, kind=kind)


def _rate(rate: Resource, language: str) -> Phrase:
    if "rateQuantity" in rate:
        speed = amount_text(rate["rateQuantity"], language)
    elif "rateRange" in rate:
        speed = _amount_range(rate["rateRange"], language)
    elif "rateRatio" in rate:
        speed = _ratio(rate["rateRatio"], language)
    else:
        return NO_TEXT
    return compose(language, N_("at a rate of %(speed)s"), speed=speed)


def _amount_range(amounts: Resource, language: str) -> Phrase:
    low, high = amounts.get("low"), amounts.get("high")
    if low and high:
        if (low.get("unit"), low.get("code")) != (high.get("unit"), high.get("code")):
            return compose(
                language,
                N_("%(low)s to %(high)s"),
                low=amount_text(low, language),
                high=amount_text(high, language),
            )
        return amount_text(low, language, high)
    if high:
        return compose(language, N_("up to %(dose)s"), dose=amount_text(high, language))
    if low:
        return compose(language, N_("at least %(dose)s"), dose=amount_text(low, language))
    raise NotInWords("Range")


def _ratio(ratio: Resource, language: str) -> Phrase:
    amount = amount_text(ratio.get("numerator", {}), language)
    denominator = ratio.get("denominator", {})
    try:
        period = length_text(denominator, language)
    except NotInWords:
        period = amount_text(denominator, language)
    return compose(language, N_("%(dose)s in %(period)s"), dose=amount, period=period)


def _most(dosage: Resource, language: str) -> Phrase:
    most: list[Phrase] = []
    if "maxDosePerAdministration" in dosage:
        dose = amount_text(dosage["maxDosePerAdministration"], language)
        most.append(compose(language, N_("at most %(dose)s at one time"), dose=dose))
    if "maxDosePerPeriod" in dosage:
        dose = _ratio(dosage["maxDosePerPeriod"], language)
        most.append(compose(language, N_("at most %(dose)s"), dose=dose))
    if "maxDosePerLifetime" in dosage:
        dose = amount_text(dosage["maxDosePerLifetime"], language)
        most.append(compose(language, N_("at most %(dose)s in a lifetime"), dose=dose))
    separator = "，" if language.startswith("zh") else ", "
    return join_phrases(most, separator, language)
