"""What a laboratory's flag means: the codes of HL7 v3 ObservationInterpretation in plain words.

The levels and words follow the code system's definitions: HH, LL and AA are critical, at a level
where immediate action should be considered. A code that is not in the list is shown as it was
written and is never taken for "normal".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_, localizer_for
from ehr_portal.record.display import Text, text_of_record

# How much a result asks for attention, the most first. Each has a colour, a symbol and a word.
CRITICAL = "critical"
STRONG = "strong"
ATTENTION = "attention"
# Neither good nor bad by itself, such as "detected".
NEUTRAL = "neutral"
EXPECTED = "expected"
LEVELS = (CRITICAL, STRONG, ATTENTION, NEUTRAL, EXPECTED)

# HL7 v3 ObservationInterpretation, HL7 v2 table 0078 (the same codes) and their older addresses.
_SYSTEMS = frozenset(
    {
        "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",
        "http://hl7.org/fhir/v3/ObservationInterpretation",
        "urn:oid:2.16.840.1.113883.5.83",
        "http://terminology.hl7.org/CodeSystem/v2-0078",
        "http://hl7.org/fhir/v2/0078",
        "urn:oid:2.16.840.1.113883.12.78",
        "urn:oid:2.16.840.1.113883.18.30",
    }
)


@dataclass(frozen=True)
class Interpretation:
    """The meaning of one code."""

    level: str
    # Shown beside the value. Both texts are marked with N_.
    word: str
    # One sentence for the patient; empty where the word says all.
    advice: str = ""
    # 1 above, -1 below, 0 neither: which way the arrow points.
    direction: int = 0


_CONTACT = N_("Contact your care team now if they have not contacted you.")
_REPEAT = N_("The test may need to be repeated.")
_HIGH = Interpretation(
    ATTENTION, N_("High"), N_("Higher than the expected range."), direction=1
)  # fmt: skip
_LOW = Interpretation(ATTENTION, N_("Low"), N_("Lower than the expected range."), direction=-1)
_MUCH_HIGHER = Interpretation(
    STRONG, N_("Very high"), N_("Much higher than the expected range."), direction=1
)
_MUCH_LOWER = Interpretation(
    STRONG, N_("Very low"), N_("Much lower than the expected range."), direction=-1
)
_WORKS = N_("This medicine should work against the germ.")
_MAY_WORK = N_("This medicine may work against the germ.")
_DOES_NOT_WORK = N_("This medicine does not work against the germ.")
_NO_RESULT = N_("The test could not give a result.")
_CARRIER = Interpretation(NEUTRAL, N_("Carrier"), N_("Carrier of the genetic change."))

INTERPRETATIONS = {
    "HH": Interpretation(CRITICAL, N_("Critically high"), _CONTACT, 1),
    "LL": Interpretation(CRITICAL, N_("Critically low"), _CONTACT, -1),
    "AA": Interpretation(CRITICAL, N_("Critically abnormal"), _CONTACT),
    "HU": _MUCH_HIGHER,
    "H>": _MUCH_HIGHER,
    "LU": _MUCH_LOWER,
    "L<": _MUCH_LOWER,
    "H": _HIGH,
    "L": _LOW,
    "A": Interpretation(ATTENTION, N_("Abnormal"), N_("Outside what is expected.")),
    "N": Interpretation(EXPECTED, N_("In the expected range")),
    ">": Interpretation(ATTENTION, N_("Above what can be measured"), direction=1),
    "<": Interpretation(ATTENTION, N_("Below what can be measured"), direction=-1),
    "HX": Interpretation(ATTENTION, N_("Above the set limit"), direction=1),
    "LX": Interpretation(ATTENTION, N_("Below the set limit"), direction=-1),
    "EX": Interpretation(ATTENTION, N_("Outside the set limit")),
    "HM": Interpretation(ATTENTION, N_("Waiting for a doctor's review")),
    "POS": Interpretation(NEUTRAL, N_("Positive")),
    "DET": Interpretation(NEUTRAL, N_("Detected")),
    "NEG": Interpretation(NEUTRAL, N_("Negative")),
    "ND": Interpretation(NEUTRAL, N_("Not detected")),
    "IND": Interpretation(ATTENTION, N_("Unclear"), _REPEAT),
    "E": Interpretation(ATTENTION, N_("Borderline"), _REPEAT),
    "RR": Interpretation(NEUTRAL, N_("Reactive")),
    "WR": Interpretation(NEUTRAL, N_("Weakly reactive")),
    "NR": Interpretation(NEUTRAL, N_("Not reactive")),
    "S": Interpretation(NEUTRAL, N_("Susceptible"), _WORKS),
    "VS": Interpretation(NEUTRAL, N_("Very susceptible"), _WORKS),
    "MS": Interpretation(NEUTRAL, N_("Moderately susceptible"), _MAY_WORK),
    "SDD": Interpretation(NEUTRAL, N_("Susceptible at a higher dose"), _MAY_WORK),
    "SYN-S": Interpretation(NEUTRAL, N_("Susceptible in combination"), _WORKS),
    "I": Interpretation(NEUTRAL, N_("Intermediate"), _MAY_WORK),
    "R": Interpretation(NEUTRAL, N_("Resistant"), _DOES_NOT_WORK),
    "NS": Interpretation(NEUTRAL, N_("Not susceptible"), _DOES_NOT_WORK),
    "SYN-R": Interpretation(NEUTRAL, N_("Resistant in combination"), _DOES_NOT_WORK),
    "NCL": Interpretation(NEUTRAL, N_("No agreed limit for this germ")),
    "B": Interpretation(NEUTRAL, N_("Better than last time")),
    "W": Interpretation(ATTENTION, N_("Worse than last time")),
    "U": Interpretation(NEUTRAL, N_("Risen since last time"), direction=1),
    "D": Interpretation(NEUTRAL, N_("Fallen since last time"), direction=-1),
    "EXP": Interpretation(NEUTRAL, N_("As expected")),
    "UNE": Interpretation(ATTENTION, N_("Not as expected")),
    "CAR": _CARRIER,
    "Carrier": _CARRIER,
    "IE": Interpretation(ATTENTION, N_("Not enough evidence"), _NO_RESULT),
    "QCF": Interpretation(ATTENTION, N_("Quality control failed"), _NO_RESULT),
    "AC": Interpretation(ATTENTION, N_("Disturbed by another substance"), _NO_RESULT),
    "TOX": Interpretation(ATTENTION, N_("Disturbed by a cell poison"), _NO_RESULT),
}


@dataclass(frozen=True)
class Flag:
    """A flag in the reader's language."""

    level: str
    word: Text
    # The code as clinicians know it, such as HH; empty where there is none.
    code: str = ""
    advice: str = ""
    direction: int = 0
    # For a line without much room; the same meaning.
    short: Text | None = None

    @property
    def symbol(self) -> str:
        """Return the arrow or mark that stands before the word, for readers without colours."""
        if self.direction:
            arrow = "▲" if self.direction > 0 else "▼"
            return arrow * (2 if self.level in (CRITICAL, STRONG) else 1)
        return {CRITICAL: "!!", STRONG: "!!", ATTENTION: "!", EXPECTED: "✓"}.get(self.level, "●")


def parse_flags(concepts: Iterable[Resource], language: str) -> tuple[Flag, ...]:
    """Return every interpretation of an Observation, the most serious first.

    >>> [flag.word.text for flag in parse_flags([{"coding": [{"code": "HH"}]}], "en")]
    ['Critically high']
    >>> [(flag.word.text, flag.level) for flag in parse_flags([{"text": "odd"}], "en")]
    [('odd', 'attention')]
    """
    flags = [flag for concept in concepts for flag in _concept_flags(concept, language)]
    return tuple(sorted(dict.fromkeys(flags), key=lambda flag: LEVELS.index(flag.level)))


def flag_of_code(code: str, language: str) -> Flag:
    """Return the flag of a code in INTERPRETATIONS."""
    meaning = INTERPRETATIONS[code]
    translate = localizer_for(language).translate
    word = Text(translate(meaning.word), language)
    return Flag(meaning.level, word, code, translate(meaning.advice), meaning.direction)


def _concept_flags(concept: Resource, language: str) -> list[Flag]:
    known = [
        coding["code"]
        for coding in concept.get("coding", ())
        # A code without a system is what the element's binding says.
        if coding.get("code") in INTERPRETATIONS and coding.get("system", "") in {*_SYSTEMS, ""}
    ]
    if known:
        return [flag_of_code(code, language) for code in known]
    codings = concept.get("coding", ())
    written = concept.get("text") or next(
        (coding.get("display") or coding.get("code") for coding in codings), ""
    )
    # Often the text is one of the codes.
    if str(written).strip() in INTERPRETATIONS:
        return [flag_of_code(str(written).strip(), language)]
    return [Flag(ATTENTION, text_of_record(str(written)))] if written else []
