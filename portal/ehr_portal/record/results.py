"""A result as one value: number and unit, reference range, flags, and what it means in words.

Every page shows results through `ResultValue`, so none can leave out a flag or a range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_, localizer_for
from ehr_portal.record.datatypes import value_text
from ehr_portal.record.display import (
    Text,
    concept_text,
    range_text,
    text_of_record,
)
from ehr_portal.record.interpretations import (
    ATTENTION,
    EXPECTED,
    LEVELS,
    NEUTRAL,
    Flag,
    parse_flags,
)
from ehr_portal.record.usual_ranges import UsualRanges

# LOINC: a blood pressure and its two components.
BLOOD_PRESSURE = "85354-9"
SYSTOLIC = "8480-6"
DIASTOLIC = "8462-4"
# Past a limit by at most this share of the range's width (of the limit itself, where the range has
# one limit) a value is "a little" high or low. Chosen; the words never replace a laboratory's flag.
_A_LITTLE = 0.1


@dataclass(frozen=True)
class ReferenceRange:
    """One reference range: its text and its limits."""

    text: Text
    low: float | None
    high: float | None

    def without_unit(self, value: Text) -> str:
        """Return the range for beside a value; the unit only where it is another than the value's.

        >>> limits = ReferenceRange(Text("3.5–5.1\xa0mmol/L", "en"), 3.5, 5.1)
        >>> limits.without_unit(Text("5.6\xa0mmol/L", "en"))
        '3.5–5.1'
        """
        _, space, unit = value.text.partition("\u00a0")
        return self.text.text.removesuffix(f"{space}{unit}") if unit else self.text.text


@dataclass(frozen=True)
class ResultValue:
    """One value as every page shows it."""

    # Empty where there is no value.
    text: Text
    # The flags that the laboratory set; where it set none, what follows from its range.
    flags: tuple[Flag, ...]
    ranges: tuple[ReferenceRange, ...] = ()
    # Whether the flag was worked out here.
    is_worked_out: bool = False
    # Why there is no value.
    absent: Text | None = None
    # Translated: something that whoever reads the value has to know.
    warning: str = ""

    @property
    def level(self) -> str:
        """Return the most serious level of all flags; neutral without any."""
        levels = [flag.level for flag in self.flags]
        return min(levels, key=LEVELS.index) if levels else NEUTRAL

    @property
    def lacks_range(self) -> bool:
        """Return whether nothing says what is expected: such a value is not "normal"."""
        return bool(self.text.text) and not self.ranges and not self.flags

    @property
    def advice(self) -> tuple[str, ...]:
        """Return the sentences for the patient."""
        return tuple(dict.fromkeys(flag.advice for flag in self.flags if flag.advice))


def build_result(
    measured: Resource, language: str, usual: UsualRanges | None = None, day: str = ""
) -> ResultValue:
    """Return the value of an Observation or of one of its components.

    `usual` is what is usual for the patient, `day` when it was measured.
    """
    text = observation_value(measured, language)
    ranges = tuple(
        ReferenceRange(
            _reference_range_text(limits, language),
            _limit(limits, "low"),
            _limit(limits, "high"),
        )
        for limits in measured.get("referenceRange", ())
    )
    absent = measured.get("dataAbsentReason")
    flags = parse_flags(measured.get("interpretation", ()), language)
    worked_out = _place_in_range(measured, language)
    is_usual = usual is not None and not flags and not ranges
    if usual is not None and is_usual:
        worked_out = usual.flag(measured, day, language)
    translate = localizer_for(language).translate
    warning = ""
    if flags and worked_out and _contradict(flags, worked_out):
        warning = translate(N_("The flag does not fit the range: ask who reported it."))
    return ResultValue(
        text=text,
        flags=flags or ((worked_out,) if worked_out else ()),
        ranges=tuple(limits for limits in ranges if limits.text.text),
        is_worked_out=not flags and not is_usual and worked_out is not None,
        absent=concept_text(absent, language) if absent else None,
        warning=warning,
    )


def whole_result(
    observation: Resource, language: str, usual: UsualRanges | None = None
) -> ResultValue:
    """Return the value of an Observation with the flags of its components among its own."""
    day = measured_on(observation)
    own = build_result(observation, language, usual, day)
    components = observation.get("component", ())
    parts = [build_result(part, language, usual, day) for part in components]
    flags = [*own.flags, *(flag for part in parts for flag in part.flags)]
    ordered = sorted(dict.fromkeys(flags), key=lambda flag: LEVELS.index(flag.level))
    if len(ordered) > 1:
        # "In the expected range" holds of one part only as long as another is not.
        ordered = [flag for flag in ordered if flag.level != EXPECTED]
    return ResultValue(
        text=own.text if own.text.text else _flagged_parts(components, parts, language),
        flags=tuple(ordered),
        ranges=own.ranges,
        is_worked_out=own.is_worked_out or any(part.is_worked_out for part in parts),
        absent=own.absent,
        warning=next((value.warning for value in (own, *parts) if value.warning), ""),
    )


def _flagged_parts(
    components: Sequence[Resource], parts: Sequence[ResultValue], language: str
) -> Text:
    """Return the values of components that stand out, of a panel that has no value of its own.

    A panel that is called critical without saying which of its values it is tells nobody anything.
    """
    separator = "；" if language.startswith("zh") else "; "
    told = [
        f"{concept_text(component.get('code'), language).text} {part.text.text}".strip()
        for component, part in zip(components, parts, strict=True)
        if part.level not in (EXPECTED, NEUTRAL) and part.text.text
    ]
    return Text(separator.join(told), language)


def measured_on(observation: Resource) -> str:
    """Return the day of an Observation, empty where it has none."""
    period = observation.get("effectivePeriod", {})
    day = observation.get("effectiveDateTime") or observation.get("effectiveInstant")
    return str(day or period.get("start", ""))[:10]


def observation_value(observation: Resource, language: str) -> Text:
    """Return the value of an Observation; of a blood pressure both components."""
    text = value_text(observation, "value", language)
    if text.text:
        return text
    codes = {coding.get("code") for coding in observation.get("code", {}).get("coding", ())}
    components = [part for part in observation.get("component", ()) if "valueQuantity" in part]
    if BLOOD_PRESSURE in codes and len(components) >= 2:
        return Text(_blood_pressure(components), language)
    return Text("", language)


def _blood_pressure(components: list[Resource]) -> str:
    # 120/80 is how a blood pressure is read, in whichever order its components come.
    value_by_code = {
        coding.get("code"): component["valueQuantity"].get("value")
        for component in components
        for coding in component["code"].get("coding", ())
    }
    systolic, diastolic = value_by_code.get(SYSTOLIC), value_by_code.get(DIASTOLIC)
    if systolic is None or diastolic is None:
        return ""
    return f"{systolic:.0f}/{diastolic:.0f}\u00a0mmHg"


def _reference_range_text(limits: Resource, language: str) -> Text:
    """Return a range with whom it is for; the laboratory's own words where it wrote some."""
    written = str(limits.get("text", ""))
    parts = [range_text(limits, language)] if limits.keys() & {"low", "high"} else []
    if written and written not in parts:
        parts.append(written)
    kinds = [limits["type"]] if "type" in limits else []
    # "normal" is what a reader takes a range for.
    kinds = [kind for kind in kinds if "normal" not in _codes(kind)]
    names = [concept_text(kind, language) for kind in (*kinds, *limits.get("appliesTo", ()))]
    parts += [name.text for name in names]
    if "age" in limits:
        translate = localizer_for(language).translate
        parts.append(
            translate(N_("Age %(range)s")) % {"range": range_text(limits["age"], language)}
        )
    text = ", ".join(part for part in parts if part)
    lang = text_of_record(written).lang if written else language
    return Text(text, lang)


def _place_in_range(measured: Resource, language: str) -> Flag | None:
    """Return where a number lies in its range; None where that cannot be said for certain."""
    limits = _only_range(measured.get("referenceRange", ()))
    quantity = measured.get("valueQuantity", {})
    value = quantity.get("value")
    if limits is None or value is None or not _same_unit(quantity, limits):
        return None
    low, high = _limit(limits, "low"), _limit(limits, "high")
    comparator = quantity.get("comparator", "")
    translate = localizer_for(language).translate
    if high is not None and (value > high or (value == high and comparator == ">")):
        if comparator in ("<", "<="):
            return None
        word = N_("A little high") if value - high <= _tolerance(low, high) else N_("High")
        return Flag(ATTENTION, Text(translate(word), language), direction=1)
    if low is not None and (value < low or (value == low and comparator == "<")):
        if comparator in (">", ">="):
            return None
        word = N_("A little low") if low - value <= _tolerance(low, high) else N_("Low")
        return Flag(ATTENTION, Text(translate(word), language), direction=-1)
    # "<5" may lie anywhere below.
    if comparator:
        return None
    return Flag(EXPECTED, Text(translate(N_("In the expected range")), language))


def _only_range(ranges: Sequence[Resource]) -> Resource | None:
    # Of several, which one is this patient's (age, sex, phase) is the laboratory's to say.
    normal = [
        limits
        for limits in ranges
        if "normal" in _codes(limits.get("type", {})) or "type" not in limits
    ]
    if len(normal) != 1 or normal[0].keys() & {"age", "appliesTo"}:
        return None
    return normal[0] if normal[0].keys() & {"low", "high"} else None


def _tolerance(low: float | None, high: float | None) -> float:
    if low is not None and high is not None:
        return (high - low) * _A_LITTLE
    return abs((high if high is not None else low) or 0.0) * _A_LITTLE


def _same_unit(quantity: Resource, limits: Resource) -> bool:
    for end in ("low", "high"):
        limit = limits.get(end)
        if limit is None:
            continue
        codes = (quantity.get("code"), limit.get("code"))
        units = (quantity.get("unit"), limit.get("unit"))
        # A limit without any unit is in the value's, as laboratories write it.
        if limit.keys() & {"unit", "code"} and not (
            (codes[0] and codes[0] == codes[1])
            or (units[0] and units[0] == units[1])
            or (quantity.get("unit") and quantity.get("unit") == limit.get("code"))
            or (quantity.get("code") and quantity.get("code") == limit.get("unit"))
        ):
            return False
    return True


def _contradict(flags: tuple[Flag, ...], worked_out: Flag) -> bool:
    directions = {flag.direction for flag in flags}
    is_expected = any(flag.level == EXPECTED for flag in flags)
    if worked_out.level == EXPECTED:
        return bool(directions & {1, -1}) and any(flag.level == ATTENTION for flag in flags)
    return is_expected or -worked_out.direction in directions


def _limit(limits: Resource, end: str) -> float | None:
    value = limits.get(end, {}).get("value")
    return None if value is None else float(value)


def _codes(concept: Resource) -> set[str]:
    return {str(coding.get("code", "")) for coding in concept.get("coding", ())}
