"""A decision in plain words: the line of the table that decided, in three languages."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ehr_privacy.consent.model import Decision

__all__ = ["LANGUAGES", "Explanation", "explain", "load_explanations"]

LANGUAGES = ("en", "zh-Hant", "zh-Hans")


@dataclass(frozen=True)
class Explanation:
    """The line that decided, 0 for none of the ten, and what it says in each language."""

    line: int
    texts: Mapping[str, str]


@cache
def load_explanations() -> Mapping[tuple[bool, str], Explanation]:
    """Read the texts that ship with the package, by permit or deny and reason."""
    text = files("ehr_privacy").joinpath("rules/explanations.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    return {
        (kind == "permit", reason): Explanation(
            entry["line"], {language: entry[language] for language in LANGUAGES}
        )
        for kind in ("permit", "deny")
        for reason, entry in data[kind].items()
    }


def explain(decision: Decision, who: str) -> Explanation:
    """Explain a decision about an organisation or a person, in every language.

    >>> explain(Decision(False, "not-shared"), "clinic").line
    7
    """
    # A grant of the patient's permits by the same line as sharing does, but it is another answer.
    granted = decision.reason == "shared" and bool(decision.obligations)
    found = load_explanations()[decision.permit, "granted" if granted else decision.reason]
    return Explanation(
        found.line, {language: text.replace("{who}", who) for language, text in found.texts.items()}
    )
