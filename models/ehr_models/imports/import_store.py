"""Imports in the data folder: `models/imports/NAME/`, written whole or not at all.

`import.json` says what they are, and in which folder beside it the Parquet files are. Their SHA-256
together are the import's digest: a run names its data by it, and a file that was changed is not
learnt from. Replacing an import puts another `import.json` in place, in one step.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ehr_etl.atomic_files import replace_file
from ehr_fhir.errors import Conflict, Fault, NotFound, Unprocessable

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_ABOUT, _TABLES = "import.json", "tables"


@dataclass(frozen=True)
class StoredImport:
    """An import: what is written about it, its tables by name, and the digest of those."""

    name: str
    about: Mapping[str, Any]  # Any: values of JSON
    tables: Mapping[str, pd.DataFrame]
    digest: str


def save_import(
    data: Path,
    name: str,
    about: Mapping[str, Any],  # Any: values of JSON
    tables: Mapping[str, pd.DataFrame],
    *,
    replace: bool = False,
) -> str:
    """Write an import and return its digest; Conflict where the name is taken."""
    if not _NAME.fullmatch(name):
        raise Unprocessable("The name of an import has small letters, digits and -, at most 40.")
    if not data.is_dir():
        raise NotFound(f"There is no data folder {data}.")
    folder = _find_folder(data) / name
    if folder.exists() and not replace:
        raise Conflict(f"There is an import {name} already: give another name, or --replace.")
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    try:
        own = partial / f"{_TABLES}-{uuid.uuid4().hex[:12]}"
        own.mkdir()
        for table, frame in tables.items():
            frame.to_parquet(own / f"{table}.parquet", compression="zstd")
        digest = _hash_tables(own)
        text = json.dumps(
            {**about, "name": name, "digest": digest, "tables": own.name},
            ensure_ascii=False,
            indent=1,
        )
        if folder.exists():
            own.rename(folder / own.name)
            replace_file(folder / _ABOUT, f"{text}\n".encode())
            _remove_leftovers(folder, own.name)
            shutil.rmtree(partial)
        else:
            (partial / _ABOUT).write_text(text + "\n", "utf-8")
            partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return digest


def _remove_leftovers(folder: Path, kept: str) -> None:
    """Remove the tables of before, also those of a replacement that was killed."""
    for path in folder.glob(f"{_TABLES}*"):
        if path.name != kept:
            shutil.rmtree(path)


def read_import(data: Path, name: str) -> StoredImport:
    """Return an import whose tables are those that were written."""
    folder = _find_folder(data) / name
    if not _NAME.fullmatch(name) or not folder.is_dir():
        choices = ", ".join(about["name"] for about in list_imports(data)) or "none"
        raise NotFound(f"There is no import {name}; there are: {choices}.")
    about = _read_about(folder)
    own = folder / about.get("tables", _TABLES)
    if own.parent != folder or not own.is_dir() or _hash_tables(own) != about["digest"]:
        raise Fault(f"The tables of the import {name} are not those that were written.")
    tables = {path.stem: pd.read_parquet(path) for path in sorted(own.glob("*.parquet"))}
    return StoredImport(name, about, tables, about["digest"])


def list_imports(data: Path) -> list[Mapping[str, Any]]:  # Any: values of JSON
    """Return what is written about each import, by name."""
    return [_read_about(path.parent) for path in sorted(_find_folder(data).glob(f"[!.]*/{_ABOUT}"))]


def _find_folder(data: Path) -> Path:
    return data / "models" / "imports"


def _read_about(folder: Path) -> Mapping[str, Any]:
    about: Mapping[str, Any] = json.loads((folder / _ABOUT).read_text("utf-8"))
    return about


def _hash_tables(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0")
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
