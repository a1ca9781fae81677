"""A patient summary as a PDF, with the fonts that Chinese needs embedded in it.

fpdf2 is pure Python and embeds of a font only the characters that are used. The two fonts are
subsets of Noto Sans (fonts/README.md); what one lacks is taken from the other.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.resources import as_file, files
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, cast

from ehr_portal.record.patient_summary import PatientSummary, SummarySection

if TYPE_CHECKING:
    from fpdf import FPDF

__all__ = ["PAGE_NUMBER", "render_pdf"]

_FONTS = ("NotoSansHK", "NotoSansSC")
# In points; millimetres elsewhere.
_TITLE_SIZE, _HEADING_SIZE, _TEXT_SIZE, _NOTE_SIZE = 20, 14, 10.5, 9
_LINE = 5.5
_MARGIN = 18
_HEAD_GREY = 230
_FIRST_COLUMN, _OTHER_COLUMN = 3, 2
_PADDING = 1
# fpdf2 breaks no row of a table over pages. Chosen: less than a page has.
_MOST_LINES = 35
# Stands for a character that neither font has.
_BOX = "\u25a1"
# Stands in a line of the foot for the number of its page.
PAGE_NUMBER = "{page}"


def render_pdf(
    summary: PatientSummary,
    language: str,
    made: datetime,
    notes: tuple[str, ...],
    box_note: str,
    foot: str,
) -> bytes:
    """Return a summary as a PDF of A4 pages.

    `notes` stand below the title, and `box_note` where a box stands for a character that the fonts
    lack. `foot` stands below each page, with PAGE_NUMBER in it. It takes a few tenths of a second,
    so it is called on a thread.
    """
    pdf = _create_document(language, foot)
    pdf.set_title(summary.title)
    pdf.set_lang(language)
    pdf.set_creation_date(made)
    pdf.add_page()
    _write(pdf, summary.title, _TITLE_SIZE, 10)
    lacks_some = any(_BOX in _to_printable(pdf, text) for text in _list_texts(summary))
    for note in (*notes, box_note) if lacks_some else notes:
        _write(pdf, note, _NOTE_SIZE, 4.5)
    pdf.ln(3)
    for cells in summary.person:
        _write(pdf, "  ".join(cells), _TEXT_SIZE, _LINE)
    for section in summary.sections:
        _write_section(pdf, section)
    return bytes(pdf.output())


def _create_document(language: str, foot: str) -> FPDF:
    # Here, not above: it takes a third of a second, which each start of the portal would wait for.
    from fpdf import FPDF

    class Document(FPDF):
        """Pages with a foot."""

        def footer(self) -> None:
            """Write the foot of a page."""
            self.set_y(-14)
            self.set_font(size=_NOTE_SIZE)
            text = foot.replace(PAGE_NUMBER, str(self.page_no()))
            self.cell(0, 5, text, align="C")

    pdf = Document(format="A4")
    first, second = reversed(_FONTS) if language == "zh-Hans" else _FONTS
    for name in (first, second):
        with as_file(files("ehr_portal").joinpath(f"fonts/{name}.ttf")) as path:
            pdf.add_font(name, fname=path)
    pdf.set_font(first, size=_TEXT_SIZE)
    pdf.set_fallback_fonts([second])
    pdf.set_margins(_MARGIN, _MARGIN)
    pdf.set_auto_page_break(True, margin=_MARGIN)
    return pdf


def _write_section(pdf: FPDF, section: SummarySection) -> None:
    # A heading does not stand alone at the foot of a page.
    if pdf.will_page_break(30):
        pdf.add_page()
    pdf.ln(5)
    _write(pdf, section.title, _HEADING_SIZE, 8)
    pdf.set_font(size=_TEXT_SIZE)
    if not section.rows:
        _write(pdf, section.sentence, _TEXT_SIZE, _LINE)
        return
    from fpdf.fonts import FontFace

    weights = [_OTHER_COLUMN] * len(section.head)
    weights[:1] = [_FIRST_COLUMN]
    widths = [pdf.epw * weight / sum(weights) - 2 * _PADDING for weight in weights]
    with pdf.table(
        line_height=_LINE,
        padding=_PADDING,
        text_align="LEFT",
        v_align="TOP",
        borders_layout="HORIZONTAL_LINES",
        headings_style=FontFace(emphasis="", fill_color=_HEAD_GREY),
        col_widths=tuple(weights),
    ) as table:
        for cells in (section.head, *section.rows):
            for part in _split_row(pdf, cells, widths):
                row = table.row()
                for cell in part:
                    row.cell(cell)


def _split_row(
    pdf: FPDF, cells: Sequence[str], widths: Sequence[float]
) -> Iterator[tuple[str, ...]]:
    """Yield a row of a table as rows that each stand on one page."""
    columns = []
    for cell, width in zip(cells, widths, strict=True):
        text = _to_printable(pdf, cell)
        if len(text) <= _MOST_LINES:
            columns.append([text])
            continue
        lines = cast("list[str]", pdf.multi_cell(width, _LINE, text, dry_run=True, output="LINES"))
        if len(lines) <= _MOST_LINES:
            columns.append([text])
            continue
        starts = range(0, len(lines), _MOST_LINES)
        columns.append(["\n".join(lines[start : start + _MOST_LINES]) for start in starts])
    yield from zip_longest(*columns, fillvalue="")


def _list_texts(summary: PatientSummary) -> Iterator[str]:
    yield from chain.from_iterable(summary.person)
    for section in summary.sections:
        yield from chain.from_iterable(section.rows)


def _to_printable(pdf: FPDF, text: str) -> str:
    """Return a text in which a box stands for each character that the fonts lack.

    What has no shape of its own (controls, variation selectors) is left out. fpdf2 would write
    characters of a record that a font lacks into the log.
    """
    known = [getattr(font, "cmap", {}) for font in pdf.fonts.values()]
    printable = []
    for one in unicodedata.normalize("NFC", text):
        category = unicodedata.category(one)
        if one == "\n" or any(ord(one) in characters for characters in known):
            printable.append(one)
        elif category[0] == "Z" or category == "Cc":
            printable.append(" ")
        elif category != "Cf" and not unicodedata.name(one, "").startswith("VARIATION SELECTOR"):
            printable.append(_BOX)
    return "".join(printable)


def _write(pdf: FPDF, text: str, size: float, height: float) -> None:
    pdf.set_font(size=size)
    pdf.multi_cell(0, height, _to_printable(pdf, text), new_x="LMARGIN", new_y="NEXT", align="L")
