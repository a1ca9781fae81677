"""Tables on standard output: drawn on a terminal, tab-separated where a program reads them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["print_table"]


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | int]],
    *,
    title: str = "",
    whole: Sequence[str] = (),
    console: Console | None = None,
) -> None:
    r"""Print rows of text and whole numbers under headings.

    On a terminal, columns are narrowed to its width, except those named in `whole`: ids and
    secrets, which must be copied as they stand. Elsewhere a heading line and one line for each row,
    with tabs between, numbers as digits, and nothing cut whatever the width.

    >>> from io import StringIO
    >>> output = StringIO()
    >>> print_table(("id", "n"), [("a-1\tb", 1234)], console=Console(file=output, width=4))
    >>> output.getvalue()
    'id\tn\na-1 b\t1234\n'
    """
    console = console or Console()
    if not console.is_terminal:
        for row in (headings, *rows):
            line = "\t".join(" ".join(str(cell).split()) for cell in row)
            # Not by the console, which turns tabs into spaces.
            print(line, file=console.file)
        return
    table = Table(title=title or None, title_justify="left")
    texts = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    for position, heading in enumerate(headings):
        least = max((len(row[position]) for row in texts), default=0) if heading in whole else None
        # What a narrow column cannot hold is folded, so that nothing is lost.
        table.add_column(heading, overflow="fold", min_width=least)
    for row in texts:
        # A text from outside is no markup.
        table.add_row(*map(escape, row))
    # A table that is too wide is wrapped by the terminal rather than cut.
    console.print(table, crop=False)
