"""Files of open data, which another program writes into a folder: everything there is public."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from ehr_fhir.errors import NotFound

__all__ = [
    "CATALOGUE",
    "MEDIA_TYPES",
    "Column",
    "OpenDataset",
    "load_dataset",
    "load_index",
    "serve_public",
    "serve_public_file",
]

Row = Mapping[str, Any]
Texts = Mapping[str, str]

CATALOGUE = "catalogue.jsonld"
MEDIA_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "data.csv": "text/csv; charset=utf-8",
        "data.json": "application/json",
        "dictionary.json": "application/json",
        CATALOGUE: "application/ld+json",
    }
)
_ID = re.compile("[a-z][a-z0-9-]{2,63}")
# Anybody's pages may read them. Minutes: a live set is new every hour.
_HEADERS = {
    "Cache-Control": "public, max-age=300",
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


@dataclass(frozen=True)
class Column:
    """A column of a dataset with its texts by language."""

    name: str
    type: str
    unit: str
    title: Texts
    description: Texts

    @property
    def is_number(self) -> bool:
        """Return whether it holds numbers, and not labels."""
        return self.type == "number"


@dataclass(frozen=True)
class OpenDataset:
    """A dataset with what its pages tell: texts, columns, rows."""

    about: Mapping[str, Any]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the columns that say what a number is of."""
        return tuple(column.name for column in self.columns if not column.is_number)

    @property
    def numbers(self) -> tuple[Column, ...]:
        """Return the columns of numbers."""
        return tuple(column for column in self.columns if column.is_number)


def load_index(folder: Path | None) -> Sequence[Mapping[str, Any]]:
    """Return what is told of each dataset; nothing where none is published."""
    path = None if folder is None else folder / "index.json"
    if path is None or not path.exists():
        return ()
    datasets: list[Mapping[str, Any]] = json.loads(path.read_bytes())["datasets"]
    # Files of before there were shorter periods: they are written anew with their next month.
    return [
        each
        if "period" in each
        else {**each, "period": "month", "first": each["first_month"], "last": each["last_month"]}
        for each in datasets
    ]


def load_dataset(folder: Path | None, dataset: str) -> OpenDataset:
    """Return a published dataset; NotFound where there is none of this id."""
    about = next((one for one in load_index(folder) if one["id"] == dataset), None)
    if folder is None or about is None:
        raise NotFound("There is no such dataset.")
    dictionary = _load_json(folder / dataset / "dictionary.json")
    return OpenDataset(
        about=about,
        columns=tuple(
            Column(
                column["name"],
                column["type"],
                column.get("unit", ""),
                column["title"],
                column["description"],
            )
            for column in dictionary["columns"]
        ),
        rows=tuple(_load_json(folder / dataset / "data.json")["rows"]),
    )


def serve_public_file(http_request: Request, folder: Path | None, *names: str) -> Response:
    """Return a file of the folder, or 304 to who has it; NotFound where there is none."""
    if folder is None or names[-1] not in MEDIA_TYPES or not all(map(_is_name, names)):
        raise NotFound("There is no such file.")
    try:
        content = folder.joinpath(*names).read_bytes()
    except OSError:
        raise NotFound("There is no such file.") from None
    return serve_public(http_request, content, MEDIA_TYPES[names[-1]])


def serve_public(http_request: Request, content: bytes, media_type: str) -> Response:
    """Return what everybody may keep and read from any origin, by its ETag (RFC 9110 §8.8.3)."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "ETag": etag}
    known = http_request.headers.get("if-none-match", "")
    if known.strip() == "*" or etag in known:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def _is_name(name: str) -> bool:
    return name in MEDIA_TYPES or _ID.fullmatch(name) is not None


def _load_json(path: Path) -> Any:
    try:
        return _parse(path, path.stat().st_mtime_ns)
    except OSError:
        raise NotFound("There is no such dataset.") from None


# The time of change is part of the key: what is replaced is read anew.
@lru_cache(maxsize=64)
def _parse(path: Path, changed_ns: int) -> Any:
    return json.loads(path.read_bytes())
