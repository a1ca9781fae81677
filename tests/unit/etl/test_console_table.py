"""Tables of commands: whole when a program reads them, and ids whole on a narrow terminal."""

from __future__ import annotations

import csv
import io

from rich.console import Console

from ehr_etl.console_table import print_table

ID = "20261128T101500-acute-returns-3f9c2a7d-44aa-4b1e-8c7d-0d5b8a1f2e33"
ROWS = [(ID, "A title of several words that is far too long for eighty columns [draft]", 12345)]
HEADINGS = ("run", "title", "rows")


def printed(*, terminal: bool, width: int) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=width, no_color=True)
    print_table(HEADINGS, ROWS, title="Runs", whole=("run",), console=console)
    return out.getvalue()


def test_what_is_piped_is_tab_separated_and_never_cut() -> None:
    for width in (20, 80, 200):
        rows = list(csv.reader(io.StringIO(printed(terminal=False, width=width)), delimiter="\t"))
        assert rows == [list(HEADINGS), [ID, ROWS[0][1], "12345"]]


def test_a_tab_or_a_line_break_in_a_value_makes_no_column_or_row() -> None:
    out = io.StringIO()
    print_table(("a", "b"), [("x\ty", "1\n2")], console=Console(file=out))
    assert out.getvalue() == "a\tb\nx y\t1 2\n"


def test_an_id_stands_whole_on_a_narrow_terminal() -> None:
    for width in (40, 80):
        text = printed(terminal=True, width=width)
        assert ID in text
        # Nothing of the other columns is lost; it is folded.
        assert "".join(ROWS[0][1].split()) in "".join(
            cell.strip() for line in text.splitlines() for cell in line.split("│")[2:3]
        ).replace(" ", "")
        assert "12,345" in text or width == 40
