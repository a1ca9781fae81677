"""Where a release came from, as `$research-trace` tells it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import parse_multi_parts
from ehr_portal.i18n import N_
from ehr_portal.oversight.research_projects import STATE_TITLES
from ehr_portal.oversight.trace_messages import MESSAGES

__all__ = ["PART_TITLES", "ReleaseTrace", "TraceLine", "parse_trace"]

# The parts of the chain, in the order in which they are shown.
PART_TITLES = {
    "release": N_("The release"),
    "files": N_("Its files"),
    "approval": N_("Who approved it"),
    "checks": N_("The automatic checks"),
    "run": N_("The run"),
    "project": N_("The project"),
    "table": N_("The tables it read"),
    "tables": N_("The tables as they are now"),
    "rules": N_("The rules they were made by"),
    "persons": N_("The sets of people"),
    "register": N_("The register of research"),
    "checkpoint": N_("The signature of the log"),
}
# In brackets, so that a split keeps it.
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d))")
OTHER_PART_TITLE = N_("Other steps")


@dataclass(frozen=True)
class TraceLine:
    """One line: its state (`shown`, `gap`, `fault`), its English words, its leaf or ""."""

    state: str
    text: str
    leaf: str
    # A code of MESSAGES, and what stands in it; of a code that is none, the English words do.
    message: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    # The step, of a line whose step has no title.
    step: str = ""

    @property
    def is_translated(self) -> bool:
        """Whether its words are in the reader's language."""
        return self.message in MESSAGES

    def cut(self, translate: Callable[..., str]) -> list[tuple[bool, str]]:
        """Return the words cut at instants, which are shown in the reader's time.

        >>> line = TraceLine("shown", "ran at 2026-11-29T16:07:11+00:00, code a1", "3")
        >>> line.cut(str)
        [(False, 'ran at '), (True, '2026-11-29T16:07:11+00:00'), (False, ', code a1')]
        """
        words = self.text
        if self.is_translated:
            values = dict(self.values)
            if "state" in values:
                values["state"] = translate(STATE_TITLES.get(values["state"], values["state"]))
            words = translate(MESSAGES[self.message], **values)
        if self.step:
            words = f"{self.step}: {words}"
        pieces = enumerate(_INSTANT.split(words))
        return [(place % 2 == 1, piece) for place, piece in pieces if piece]


@dataclass(frozen=True)
class ReleaseTrace:
    """A release's trace: whether nothing is at fault, its lines by title, a witness's file."""

    is_sound: bool
    parts: dict[str, list[TraceLine]]
    proof: str

    @property
    def gaps(self) -> int:
        """How many things cannot be shown."""
        return sum(line.state == "gap" for lines in self.parts.values() for line in lines)


def parse_trace(answer: Resource) -> ReleaseTrace:
    """Read the answer of `$research-trace`."""
    found: dict[str, list[TraceLine]] = {}
    for line in parse_multi_parts(answer, "line"):
        about = {value.name: value.text for value in line.parse_parts("value")}
        known = TraceLine(line.state, line.text, line.leaf, line.message, about)
        found.setdefault(line.part, []).append(known)
    parts = {title: found.pop(part) for part, title in PART_TITLES.items() if part in found}
    # Without a title, a line says itself of which step it is.
    others = [replace(line, step=part) for part, lines in found.items() for line in lines]
    values = {parameter["name"]: parameter for parameter in answer["parameter"]}
    return ReleaseTrace(
        is_sound=values["sound"]["valueBoolean"],
        parts={**parts, **({OTHER_PART_TITLE: others} if others else {})},
        proof=str(values["proof"]["valueString"]),
    )
