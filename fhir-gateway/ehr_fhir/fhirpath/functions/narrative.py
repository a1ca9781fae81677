"""`htmlChecks`: the narrative rules of FHIR (R4 invariants txt-1 and txt-2).

A narrative is one `div` of basic HTML formatting without scripts, and is not empty.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import to_singleton, to_string

__all__: list[str] = []

_ALLOWED_TAGS = frozenset(
    "a abbr acronym b big blockquote br caption cite code col colgroup dd dfn div dl dt em h1 h2 h3"
    " h4 h5 h6 hr i img li ol p pre q samp small span strong sub sup table tbody td tfoot th thead"
    " tr tt ul var".split()
)
_VOID_TAGS = frozenset({"br", "col", "hr", "img"})
_FORBIDDEN_SCHEMES = ("javascript:", "vbscript:", "data:text")


@register_function("htmlChecks")
def _html_checks(scope: Scope, items: list[Any]) -> list[Any]:
    value = (
        to_string(items, "`htmlChecks()`")
        if to_singleton(items, "`htmlChecks()`") is not None
        else None
    )
    return [] if value is None else [_is_valid_narrative(value)]


def _is_valid_narrative(narrative: str) -> bool:
    checker = _NarrativeChecker()
    checker.feed(narrative)
    checker.close()
    return (
        checker.valid
        and checker.has_content
        and not checker.open_tags
        and narrative.startswith("<div")
    )


class _NarrativeChecker(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.valid = True
        self.has_content = False  # txt-2: the narrative is not empty
        self.open_tags: list[str] = []
        self.has_root = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if (not self.open_tags and (tag != "div" or self.has_root)) or tag not in _ALLOWED_TAGS:
            self.valid = False
        self.has_root = True
        for name, value in attributes:
            content = (value or "").strip().lower()
            if name.startswith("on") or content.startswith(_FORBIDDEN_SCHEMES):
                self.valid = False
        self.has_content |= tag == "img"
        if tag not in _VOID_TAGS:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in _VOID_TAGS:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID_TAGS:
            return
        if not self.open_tags or self.open_tags.pop() != tag:
            self.valid = False

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.has_content = True
            self.valid &= bool(self.open_tags)

    def handle_decl(self, decl: str) -> None:
        self.valid = False

    def handle_pi(self, data: str) -> None:
        self.valid = False
