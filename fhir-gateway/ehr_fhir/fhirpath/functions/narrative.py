"""`htmlChecks`: whether a narrative keeps to the XHTML that FHIR allows (txt-1 and txt-2)."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import to_singleton, to_string

__all__: list[str] = []

_TAGS = frozenset(
    "a abbr acronym b big blockquote br caption cite code col colgroup dd dfn div dl dt em h1 h2 h3"
    " h4 h5 h6 hr i img li ol p pre q samp small span strong sub sup table tbody td tfoot th thead"
    " tr tt ul var".split()
)
_EMPTY = frozenset({"br", "col", "hr", "img"})
_FORBIDDEN = ("javascript:", "vbscript:", "data:text")


@register_function("htmlChecks")
def _html_checks(scope: Scope, items: list[Any]) -> list[Any]:
    value = (
        to_string(items, "`htmlChecks()`")
        if to_singleton(items, "`htmlChecks()`") is not None
        else None
    )
    return [] if value is None else [_is_sound(value)]


def _is_sound(narrative: str) -> bool:
    checker = _Checker()
    checker.feed(narrative)
    checker.close()
    return checker.sound and checker.shown and not checker.open and narrative.startswith("<div")


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.sound = True
        self.shown = False  # txt-2: the narrative is not empty
        self.open: list[str] = []
        self.begun = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if (not self.open and (tag != "div" or self.begun)) or tag not in _TAGS:
            self.sound = False
        self.begun = True
        for name, value in attributes:
            content = (value or "").strip().lower()
            if name.startswith("on") or content.startswith(_FORBIDDEN):
                self.sound = False
        self.shown |= tag == "img"
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in _EMPTY:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _EMPTY:
            return
        if not self.open or self.open.pop() != tag:
            self.sound = False

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.shown = True
            self.sound &= bool(self.open)

    def handle_decl(self, decl: str) -> None:
        self.sound = False

    def handle_pi(self, data: str) -> None:
        self.sound = False
