"""The report and the card as HTML pages that stand by themselves: no script, nothing loaded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ehr_design.static_files import read_themes
from ehr_models.report.card import format_result, split_words
from ehr_models.report.messages import read_words
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
    environment.filters["spaced"] = split_words
    environment.filters["figures"] = format_result
    return environment.get_template(name)
