"""The report and the card as HTML pages that stand by themselves: no script, nothing loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ehr_design.static_files import read_themes
from ehr_models.report.messages import read_words
from ehr_models.report.page_parts import format_interval, format_number
from ehr_models.report.sections import build_sections

# The tokens that the lines of a plot take their colours from, in turn.
_SERIES = ("brand-ink", "abnormal-edge", "withheld-edge", "info-edge", "normal-edge", "error")


def render_report(report: Mapping[str, Any], language: str = "en") -> str:
    """Return the report as an HTML page, in a language of the jurisdiction (Invalid if not one)."""
    words = read_words(language)
    return str(
        _load("report.html").render(
            words=words,
            facts=report["facts"],
            flags=report["flags"],
            sections=build_sections(report, words),
        )
    )


def render_card(card: Mapping[str, Any]) -> str:
    """Return a model card as an HTML page, in the order of CHAI's schema; in English."""
    return str(_load("card.html").render(words=read_words("en"), card=card))


@cache
def _load(name: str) -> Any:
    environment = Environment(
        loader=PackageLoader("ehr_models.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["themes"] = {name: read_themes()[name] for name in ("light", "dark")}
    environment.globals["series"] = _SERIES
    environment.filters["spaced"] = _space_words
    environment.filters["figures"] = _format_figures
    return environment.get_template(name)


def _format_figures(value_json: str) -> str:
    """Return a result of a card in words: a number, or an estimate with its interval."""
    value = json.loads(value_json)
    words = read_words("en")
    if isinstance(value, Mapping):
        return format_interval(value, words)
    return format_number(value, words)


def _space_words(name: str) -> str:
    """Return the words of an element's name.

    >>> _space_words("KnownRisksAndLimitations"), _space_words("AISystemFacts")
    ('Known risks and limitations', 'AI system facts')
    """
    spaced = "".join(
        f" {letter.lower()}" if letter.isupper() and is_start else letter
        for letter, is_start in zip(name, _starts_word(name), strict=True)
    )
    return spaced.strip()


def _starts_word(name: str) -> list[bool]:
    return [
        0 < place < len(name) - 1
        and (name[place - 1].islower() or (name[place - 1].isupper() and name[place + 1].islower()))
        for place in range(len(name))
    ]
