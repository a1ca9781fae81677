"""What a task's scores are called on a clinician's screen, in the languages of the pages.

`words.toml` in a task's folder has the title, the features by name, and what codes are codes of; a
task without it, and a feature that it lacks, is told by its own title.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_models.serving import Score
from ehr_models.task import Task

__all__ = ["CardWords", "WeighedReason", "find_card_words", "read_card_words"]

_CODE_FEATURES = ("_days", "_recency")


@dataclass(frozen=True)
class WeighedReason:
    """A reason in words, and what it adds to the log-odds; of one code all features together.

    `is_absent`: the patient's record has no such code, or no such value, and that is the reason.
    """

    text: str
    # None where it is not known, or where it is of a code.
    value: float | None
    log_odds: float
    is_absent: bool


@dataclass(frozen=True)
class CardWords:
    """The words of a task in one language."""

    title: str
    features: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)

    def weigh(self, score: Score) -> tuple[WeighedReason, ...]:
        """Return the reasons of a score, the weightiest first; they add up as the score's do."""
        found: dict[str, WeighedReason] = {}
        for reason in score.reasons:
            _, code = self._split(reason.feature.name)
            text = self.name_feature(reason.feature.name, reason.feature.title)
            is_unknown = math.isnan(reason.value)
            # Days and recency of a code are 0 for whoever never had it.
            is_absent = is_unknown or bool(code and reason.value == 0)
            earlier = found.get(text)
            found[text] = WeighedReason(
                text,
                None if code or is_unknown else reason.value,
                reason.log_odds + (0.0 if earlier is None else earlier.log_odds),
                is_absent and (earlier is None or earlier.is_absent),
            )
        return tuple(sorted(found.values(), key=lambda one: -abs(one.log_odds)))

    def _split(self, name: str) -> tuple[str, str]:
        """Return the group and the code of a feature made of a code; empty where it is none."""
        for group in self.codes:
            for ending in _CODE_FEATURES:
                if name.startswith(f"{group}_") and name.endswith(ending):
                    return group, name[len(group) + 1 : -len(ending)]
        return "", ""

    def name_feature(self, name: str, title: str) -> str:
        """Return what a feature is called; its own title where the words lack it."""
        group, code = self._split(name)
        return f"{self.codes[group]} {code}" if code else self.features.get(name, title)


def read_card_words(task: Task, language: str) -> CardWords:
    """Return the words of a task in the language of a tag, else in the first language."""
    return find_card_words(task.name, language) or CardWords(task.title)


def find_card_words(task: str, language: str) -> CardWords | None:
    """Return the words of a task by its name; None where it has none."""
    words = _read_all().get(task)
    if words is None:
        return None
    tags = [one.tag for one in JURISDICTION.languages]
    place = tags.index(language) if language in tags else 0
    return CardWords(
        words["title"][place], _choose(words["features"], place), _choose(words["codes"], place)
    )


@cache
def _read_all() -> Mapping[str, Mapping[str, Any]]:
    """Return the words of each task that has some, by its name."""
    found = {}
    for folder in files("ehr_models.tasks").iterdir():
        if (folder / "words.toml").is_file():
            words = tomllib.loads((folder / "words.toml").read_text("utf-8"))
            # A task that its code declares has no file that names it.
            name = (
                words.get("task")
                or tomllib.loads((folder / "task.toml").read_text("utf-8"))["name"]
            )
            found[name] = words
    return found


def _choose(words: Mapping[str, Sequence[str]], place: int) -> dict[str, str]:
    return {name: texts[place] for name, texts in words.items()}
