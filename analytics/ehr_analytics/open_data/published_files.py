"""Files of published open data below `<data>/open-data`: everything there is for everybody.

They are written from the register alone, each replaced whole and only where it changed, so that a
reader's copy stays good until something is new.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from ehr_analytics.open_data.catalogue import (
    CATALOGUE_FILE,
    DATA_FILES,
    CatalogueEntry,
    build_catalogue,
    load_texts,
)
from ehr_analytics.open_data.declaration import Declaration
from ehr_analytics.open_data.figures import ALL
from ehr_analytics.open_data.periods import Period
from ehr_analytics.open_data.publication import PublishedPeriod, list_datasets, list_periods
from ehr_analytics.register import Register
from ehr_etl.atomic_files import replace_file
from ehr_etl.trusted_zone.organizations import OrganizationName

__all__ = [
    "INDEX_FILE",
    "are_files_current",
    "open_data_folder",
    "remove_unpublished",
    "write_files",
]

# What the portal's pages are made of.
INDEX_FILE = "index.json"
# Of the record of the control: its rules. What it did to a period counts the hidden numbers, also
# those whose rows are left out.
_RULES_OF_CONTROL = ("policy", "policy_version", "min_persons", "dominance", "p_percent")
# Of the name of an organisation; an empty one begins with nothing.
_FORMULA_STARTS = frozenset("=+-@\t\r")
_ALL_NAME = OrganizationName("All hospitals", "所有醫院")
_NOBODY = OrganizationName("", "")


def open_data_folder(data: Path) -> Path:
    """Return the folder of a data folder that everybody may read."""
    return data / "open-data"


def write_files(
    register: Register, base_url: str, names: Mapping[str, OrganizationName]
) -> tuple[str, ...]:
    """Write the files of all published datasets, take those of others away; return what changed."""
    changed = remove_unpublished(register)
    folder = open_data_folder(register.data)
    index: list[dict[str, object]] = []
    entries: list[CatalogueEntry] = []
    shown = _list_shown(register)
    for dataset in list_datasets(register):
        declaration = dataset.declaration
        periods = shown.get(declaration.id)
        if not periods:
            continue
        rows = [_add_names(row, names) for period in periods for row in period.rows]
        contents = _build_files(declaration, periods, rows)
        for name, content in contents.items():
            changed += _write(folder, f"{declaration.id}/{name}", content)
        entry = _build_entry(declaration, periods, contents)
        entries.append(entry)
        index.append(_describe(entry, periods))
    changed += _write(folder, CATALOGUE_FILE, _to_json(build_catalogue(base_url, entries)))
    # Last: the pages name nothing that is not there.
    changed += _write(folder, INDEX_FILE, _to_json({"datasets": index}))
    return tuple(changed)


def remove_unpublished(register: Register) -> list[str]:
    """Take away the files of every dataset that is not published (any more); return which.

    By the register alone: what was withdrawn goes also where the lake cannot be read.
    """
    folder = open_data_folder(register.data)
    folder.mkdir(exist_ok=True)
    shown = _list_shown(register)
    stale = sorted(path.name for path in folder.iterdir() if path.is_dir())
    stale = [name for name in stale if name not in shown]
    for name in stale:
        shutil.rmtree(folder / name)
    return stale


def are_files_current(register: Register) -> bool:
    """Say whether the files are those of the register: a kill may have come before they were."""
    path = open_data_folder(register.data) / INDEX_FILE
    shown = {name: _changed_at(periods) for name, periods in _list_shown(register).items()}
    if not path.exists():
        return not shown
    written = {each["id"]: each["modified"] for each in json.loads(path.read_bytes())["datasets"]}
    return written == shown


def _list_shown(register: Register) -> dict[str, list[PublishedPeriod]]:
    """Return the periods that have numbers, by published dataset that has any.

    Of a live dataset the newest alone.
    """
    periods = {
        dataset.declaration.id: [
            period for period in list_periods(register, dataset.declaration.id) if period.rows
        ][-dataset.declaration.kept :]
        for dataset in list_datasets(register)
        if dataset.state == "published"
    }
    return {name: each for name, each in periods.items() if each}


def _changed_at(periods: Sequence[PublishedPeriod]) -> str:
    return max(period.at for period in periods)


def _build_files(
    declaration: Declaration, periods: Sequence[PublishedPeriod], rows: list[dict[str, object]]
) -> dict[str, bytes]:
    columns = [column.name for column in declaration.columns]
    ordered = [{name: row.get(name) for name in columns} for row in rows]
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(
        {name: _escape_formula(value) for name, value in row.items()} for row in ordered
    )
    return {
        "data.csv": table.getvalue().encode(),
        "data.json": _to_json(
            {
                "dataset": declaration.id,
                "updateTime": _changed_at(periods),
                "licence": declaration.licence,
                "rows": ordered,
            }
        ),
        "dictionary.json": _to_json(
            {
                "dataset": declaration.id,
                "hidden": load_texts()["hidden"],
                "columns": [
                    {
                        "name": column.name,
                        "type": column.type,
                        **({"unit": column.unit} if column.unit else {}),
                        "title": column.title,
                        "description": column.description,
                    }
                    for column in declaration.columns
                ],
                f"{declaration.period}s": [
                    {
                        declaration.period: period.period,
                        "published": period.at,
                        "control": {
                            name: period.control[name]
                            for name in _RULES_OF_CONTROL
                            if name in period.control
                        },
                    }
                    for period in periods
                ],
            }
        ),
    }


def _build_entry(
    declaration: Declaration, periods: Sequence[PublishedPeriod], contents: Mapping[str, bytes]
) -> CatalogueEntry:
    first, last = (Period.parse(periods[place].period, declaration.period) for place in (0, -1))
    return CatalogueEntry(
        declaration=declaration,
        first_day=first.begin.date().isoformat(),
        last_day=(last.end - timedelta(microseconds=1)).date().isoformat(),
        issued=min(period.at for period in periods),
        modified=_changed_at(periods),
        files={
            name: (len(contents[name]), hashlib.sha256(contents[name]).hexdigest())
            for name in DATA_FILES
        },
    )


def _describe(entry: CatalogueEntry, periods: Sequence[PublishedPeriod]) -> dict[str, object]:
    """Return what the pages tell of a dataset beside its files."""
    declaration = entry.declaration
    return {
        "id": declaration.id,
        "title": declaration.title,
        "description": declaration.description,
        "publisher": declaration.publisher,
        "publisher_page": declaration.publisher_page,
        "contact": declaration.contact,
        "licence": declaration.licence,
        "policy": declaration.policy,
        "modified": entry.modified,
        "period": declaration.period,
        "first": periods[0].period,
        "last": periods[-1].period,
        "bytes": {name: size for name, (size, _) in entry.files.items()},
    }


def _add_names(
    row: Mapping[str, object], names: Mapping[str, OrganizationName]
) -> dict[str, object]:
    if "hospital" not in row:
        return dict(row)
    hospital = str(row["hospital"])
    name = _ALL_NAME if hospital == ALL else names.get(hospital, _NOBODY)
    return {**row, "hospital_name_en": name.latin, "hospital_name_zh": name.han}


def _escape_formula(value: object) -> object:
    """Return a text that no spreadsheet takes for a formula (OWASP, CSV injection).

    >>> _escape_formula("=1+1"), _escape_formula("Harbour"), _escape_formula(-1.5)
    ("'=1+1", 'Harbour', -1.5)
    """
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA_STARTS else value


def _write(folder: Path, name: str, content: bytes) -> list[str]:
    path = folder / name
    if path.exists() and path.read_bytes() == content:
        return []
    path.parent.mkdir(exist_ok=True)
    replace_file(path, content)
    return [name]


def _to_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"
