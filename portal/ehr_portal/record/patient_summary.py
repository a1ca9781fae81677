"""A patient summary (IPS document) as tables: what its page and its PDF show.

The narrative of each section is read, not its entries: it is what the document itself says to
people, in the language that it was asked for in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from ehr_fhir.errors import Fault
from ehr_portal.gateway.client import Resource

__all__ = ["PatientSummary", "SummarySection", "parse_summary"]


@dataclass(frozen=True)
class SummarySection:
    """The title of a section, and its table; a sentence where nothing is recorded."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sentence: str


@dataclass(frozen=True)
class PatientSummary:
    """A summary: whom it is about, when it was made, and its sections in their order."""

    title: str
    # The instant of the document.
    at: str
    # What is said of the person: (heading, text) each.
    person: tuple[tuple[str, ...], ...]
    sections: tuple[SummarySection, ...]


def parse_summary(bundle: Resource) -> PatientSummary:
    """Return what a document Bundle shows; Fault for one without a Composition at its head."""
    composition: Resource = next(
        (entry.get("resource", {}) for entry in bundle.get("entry", ())), {}
    )
    if composition.get("resourceType") != "Composition":
        raise Fault("The summary has no Composition.")
    return PatientSummary(
        title=str(composition["title"]),
        at=str(composition["date"]),
        person=tuple(_read_narrative(composition).rows),
        sections=tuple(_parse_section(section) for section in composition.get("section", ())),
    )


def _parse_section(section: Resource) -> SummarySection:
    narrative = _read_narrative(section)
    return SummarySection(
        title=str(section["title"]),
        head=narrative.head,
        rows=tuple(narrative.rows),
        sentence=narrative.sentence.strip(),
    )


def _read_narrative(part: Resource) -> _NarrativeReader:
    reader = _NarrativeReader()
    reader.feed(str(part.get("text", {}).get("div", "")))
    reader.close()
    return reader


@dataclass
class _NarrativeReader(HTMLParser):
    """Reads the table of a narrative: the rows of its head apart from the others."""

    head: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    # The text outside any table.
    sentence: str = ""
    _is_head: bool = False
    _cells: list[str] | None = None
    _is_in_cell: bool = False

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Open a head, a row or a cell."""
        if tag == "thead":
            self._is_head = True
        elif tag == "tr":
            self._cells = []
        elif tag in ("th", "td") and self._cells is not None:
            self._cells.append("")
            self._is_in_cell = True

    def handle_endtag(self, tag: str) -> None:
        """Close a head, a row or a cell."""
        if tag == "thead":
            self._is_head = False
        elif tag in ("th", "td"):
            self._is_in_cell = False
        elif tag == "tr" and self._cells is not None:
            cells, self._cells = tuple(self._cells), None
            if self._is_head:
                self.head = cells
            else:
                self.rows.append(cells)

    def handle_data(self, data: str) -> None:
        """Take a text in."""
        if self._is_in_cell and self._cells:
            self._cells[-1] += data
        elif self._cells is None:
            self.sentence += data
