"""Write docs/reference/view-library.md, the data dictionary, from the ViewDefinitions."""

from __future__ import annotations

from itertools import groupby

from ehr_etl.gold.dictionary import DictionaryEntry, list_entries
from ehr_etl.gold.library import iterate_definitions, list_view_names
from tests.conftest import ROOT

PAGE = ROOT / "docs/reference/view-library.md"
_HEAD = """# The library of views

Made from the ViewDefinitions by `make view-library`; `ehr lake dictionary` writes the same as a
table. What a view may say: [views](views.md).

The lake keeps a table of those marked *always*. Each of the others becomes one by its name, without
Spark:

```sh operator
.venv/bin/ehr lake view laboratory
```

Ids are pseudonyms, dates are shifted per patient, and only what
[de-identification](../explanation/deidentification.md) lets through is there. Numbers keep the unit
of their record, in the column that `unit` names.
"""


def page_text() -> str:
    """Return the page."""
    definitions = {definition["name"]: definition for definition in iterate_definitions()}
    sections = [
        _section(name, definitions[name]["description"], list(entries))
        for name, entries in groupby(list_entries(), lambda entry: entry.view)
    ]
    return "\n".join([_HEAD, *sections])


def _section(name: str, description: str, entries: list[DictionaryEntry]) -> str:
    always = " *Always.*" if name in list_view_names() else ""
    lines = [f"## `{name}`", "", f"{description}{always}", ""]
    lines += ["| column | type | unit | from | meaning |", "| --- | --- | --- | --- | --- |"]
    for entry in entries:
        path = f"{entry.resource}: {entry.path}" if entry.position == 0 else entry.path
        cell = path.replace("|", "\\|")
        unit, meaning = entry.unit or "", entry.meaning.replace("|", "\\|")
        lines.append(f"| `{entry.column}` | {entry.type} | {unit} | `{cell}` | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page_text(), "utf-8")
