"""The library of ViewDefinitions: the lake's own, and those that are ready to be run.

Each JSON file of `view_definitions/` is a gold table. The folder is the only list: a file that is
added is built, checked, counted and scored from the next run on. Those of `view_library/` become
tables when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import orjson

from ehr_etl.sql_on_fhir import ViewDefinition, parse_view
from ehr_fhir.errors import Fault, Invalid, NotFound

_FOLDER = files(__package__) / "view_definitions"
_LIBRARY = files(__package__) / "view_library"


def list_view_names() -> tuple[str, ...]:
    """Return the names of the lake's own views, sorted.

    >>> list_view_names()[0]
    'condition_flat'
    """
    return _list_names(_FOLDER)


def list_library_names() -> tuple[str, ...]:
    """Return the names of the views that are ready to be run, sorted.

    >>> "laboratory" in list_library_names()
    True
    """
    return _list_names(_LIBRARY)


def iterate_definitions() -> Iterator[Mapping[str, Any]]:
    """Yield all definitions as JSON, with the descriptions that a compiled view has not."""
    for folder in (_FOLDER, _LIBRARY):
        for name in _list_names(folder):
            yield orjson.loads((folder / f"{name}.json").read_bytes())


def load_library_view(name: str) -> ViewDefinition:
    """Read a view of the library."""
    return parse_view(orjson.loads((_LIBRARY / f"{name}.json").read_bytes()))


def load_view(name: str) -> ViewDefinition:
    """Read one of the lake's own views; its file has its name."""
    view = parse_view(orjson.loads((_FOLDER / f"{name}.json").read_bytes()))
    if view.name != name:
        raise Fault(f"view_definitions/{name}.json is named {view.name}.")
    return view


def read_view_file(file: Path) -> ViewDefinition:
    """Read a ViewDefinition from a file of the user's, or one of the library by its name."""
    return parse_view(read_definition(file))


def read_definition(file: Path) -> dict[str, Any]:
    """Return the JSON of a ViewDefinition of the user's, or of one of the library by its name."""
    if str(file) in list_library_names():
        return dict(orjson.loads((_LIBRARY / f"{file}.json").read_bytes()))
    if not file.is_file():
        raise NotFound(f"There is no file {file}.")
    try:
        content = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise Invalid(f"{file.name} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise Invalid(f"{file.name} is not a ViewDefinition: a JSON object is needed.")
    return content


def _list_names(folder: Traversable) -> tuple[str, ...]:
    names = [Path(file.name) for file in folder.iterdir()]
    return tuple(sorted(name.stem for name in names if name.suffix == ".json"))
