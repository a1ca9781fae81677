"""The library of ViewDefinitions: each JSON file of `view_definitions/` is a gold table.

The folder is the only list: a file that is added is built, checked, counted and scored from the
next run on.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import orjson

from ehr_etl.sql_on_fhir import ViewDefinition, parse_view
from ehr_fhir.errors import Fault, Invalid, NotFound

_FOLDER = files(__package__) / "view_definitions"


def list_view_names() -> tuple[str, ...]:
    """Return the names of the lake's own views, sorted.

    >>> list_view_names()[0]
    'condition_flat'
    """
    names = [Path(file.name) for file in _FOLDER.iterdir()]
    return tuple(sorted(name.stem for name in names if name.suffix == ".json"))


def load_view(name: str) -> ViewDefinition:
    """Read one of the lake's own views; its file has its name."""
    view = parse_view(orjson.loads((_FOLDER / f"{name}.json").read_bytes()))
    if view.name != name:
        raise Fault(f"view_definitions/{name}.json is named {view.name}.")
    return view


def read_view_file(file: Path) -> ViewDefinition:
    """Read a ViewDefinition from a file of the user's."""
    if not file.is_file():
        raise NotFound(f"There is no file {file}.")
    try:
        content = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise Invalid(f"{file.name} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise Invalid(f"{file.name} is not a ViewDefinition: a JSON object is needed.")
    return parse_view(content)
