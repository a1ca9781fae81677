"""The file of a mapping, and the mappings that come with the platform.

`docs/how-to/train-on-your-own-table.md` describes the keys.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

from ehr_fhir.errors import NotFound, Unprocessable
from ehr_models.imports.code_groups import GROUPS_BY_SYSTEM
from ehr_models.imports.mapping import (
    SCORE_INPUTS,
    CategoryFeature,
    CharlsonFeature,
    CodeFeature,
    Exclusion,
    MappedComparator,
    MappedFeature,
    NumberFeature,
    OutcomeColumn,
    TableMapping,
)
from ehr_models.imports.toml_tables import TomlTable
from ehr_models.scores.charlson import list_versions

_SHIPPED = "mappings"
_OWN_KEYS = ("task", "title", "source", "licence", "person", "index", "ended", "missing", "notes")
_TABLES = ("outcome", "exclude", "features", "further", "comparators", "groups")


def list_shipped_mappings() -> tuple[str, ...]:
    """Return the names of the mappings that come with the platform."""
    folder = files(__package__).joinpath(_SHIPPED)
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir()))


def read_mapping_text(name_or_path: str) -> str:
    """Return a mapping's TOML: of a file, or of one that comes with the platform, by its name."""
    if name_or_path in list_shipped_mappings():
        return files(__package__).joinpath(_SHIPPED, f"{name_or_path}.toml").read_text("utf-8")
    try:
        return Path(name_or_path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(
            f"There is no mapping file {name_or_path}, nor one of that name with the platform "
            f"({', '.join(list_shipped_mappings())})."
        ) from error


def parse_mapping(text: str) -> TableMapping:
    """Return a mapping; Unprocessable names the key that is wrong."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unprocessable(f"The mapping is not TOML: {error}.") from error
    root = TomlTable(document, "the mapping")
    root.require_keys(*_OWN_KEYS, *_TABLES)
    features = root.read_tables("features")
    mapping = TableMapping(
        task=root.read_text("task"),
        title=root.read_text("title"),
        source=root.read_text("source"),
        licence=root.read_text("licence"),
        person=root.read_text("person"),
        index=root.read_text("index"),
        ended=root.read_text("ended", optional=True) or None,
        missing=root.read_texts("missing", optional=True),
        outcome=_parse_outcome(root.read_table("outcome")),
        exclusions=tuple(
            _parse_exclusion(name, table) for name, table in root.read_tables("exclude").items()
        ),
        features=tuple(_parse_number(name, table) for name, table in features.items()),
        further=tuple(
            _parse_further(name, table) for name, table in root.read_tables("further").items()
        ),
        comparators=tuple(
            _parse_comparator(name, table)
            for name, table in root.read_tables("comparators").items()
        ),
        groups=tuple(
            _parse_category(name, table) for name, table in root.read_tables("groups").items()
        ),
        notes=root.read_texts("notes", optional=True),
    )
    _check_names(mapping)
    return mapping


def _check_names(mapping: TableMapping) -> None:
    names = [one.name for one in (*mapping.features, *mapping.further)]
    if not names:
        raise Unprocessable("The mapping names no feature: give [features.NAME] or [further.NAME].")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Unprocessable(f"Named in features and in further: {', '.join(twice)}.")
    numbers = [
        one.name
        for one in (*mapping.features, *mapping.further)
        if isinstance(one, NumberFeature | CharlsonFeature)
    ]
    for comparator in mapping.comparators:
        if absent := sorted({*comparator.inputs.values()} - {*numbers}):
            raise Unprocessable(
                f"comparators.{comparator.name}: {', '.join(absent)} is no feature with a number."
            )


def _parse_outcome(table: TomlTable) -> OutcomeColumn:
    table.require_keys("column", "values", "days")
    values = {text: int(value) for text, value in table.read_numbers("values").items()}
    if set(values.values()) != {0, 1}:
        raise Unprocessable(
            f"{table.place}.values: give 1 for each text that means the outcome happened, and 0 "
            "for each that means it did not."
        )
    return OutcomeColumn(
        column=table.read_text("column"),
        values=values,
        days=int(table.read_number("days") or 0),
    )


def _parse_exclusion(name: str, table: TomlTable) -> Exclusion:
    table.require_keys("column", "in", "reason")
    return Exclusion(
        name, table.read_text("column"), table.read_texts("in"), table.read_text("reason")
    )


def _parse_further(name: str, table: TomlTable) -> MappedFeature:
    match table.read_text("kind"):
        case "number":
            return _parse_number(name, table)
        case "category":
            return _parse_category(name, table)
        case "codes":
            return _parse_codes(name, table)
        case "charlson":
            return _parse_charlson(name, table)
    raise Unprocessable(f"{table.place}.kind: give number, category, codes or charlson.")


def _parse_number(name: str, table: TomlTable) -> NumberFeature:
    table.require_keys("kind", "column", "title", "unit", "values", "otherwise", "from", "to")
    return NumberFeature(
        name=name,
        column=table.read_text("column"),
        title=table.read_text("title", optional=True) or name,
        unit=table.read_text("unit", optional=True) or None,
        values=table.read_numbers("values") if table.has("values") else None,
        otherwise=table.read_number("otherwise", optional=True),
        low=table.read_number("from", optional=True),
        high=table.read_number("to", optional=True),
    )


def _parse_category(name: str, table: TomlTable) -> CategoryFeature:
    table.require_keys("kind", "column", "title", "values", "least_people")
    return CategoryFeature(
        name=name,
        column=table.read_text("column"),
        title=table.read_text("title", optional=True) or name,
        values=table.read_labels("values") if table.has("values") else None,
        least_people=int(table.read_number("least_people", optional=True) or 100),
    )


def _parse_codes(name: str, table: TomlTable) -> CodeFeature:
    table.require_keys("kind", "columns", "title", "system", "groups", "first", "least_people")
    system, groups = _parse_system(table), table.read_texts("groups")
    if unknown := [group for group in groups if group not in GROUPS_BY_SYSTEM[system]]:
        raise Unprocessable(
            f"{table.place}.groups: {', '.join(unknown)} is not there for {system}: there are "
            f"{', '.join(GROUPS_BY_SYSTEM[system])}."
        )
    return CodeFeature(
        name=name,
        columns=table.read_texts("columns"),
        title=table.read_text("title", optional=True) or name,
        system=system,
        groups=groups,
        first=table.read_flag("first"),
        least_people=int(table.read_number("least_people", optional=True) or 100),
    )


def _parse_charlson(name: str, table: TomlTable) -> CharlsonFeature:
    table.require_keys("kind", "columns", "title", "system", "weights")
    weights = table.read_text("weights")
    if weights not in list_versions():
        raise Unprocessable(f"{table.place}.weights: give one of {', '.join(list_versions())}.")
    return CharlsonFeature(
        name=name,
        columns=table.read_texts("columns"),
        title=table.read_text("title", optional=True) or name,
        system=_parse_system(table),
        weights=weights,
    )


def _parse_system(table: TomlTable) -> str:
    system = table.read_text("system")
    if system not in GROUPS_BY_SYSTEM:
        raise Unprocessable(f"{table.place}.system: give one of {', '.join(GROUPS_BY_SYSTEM)}.")
    return system


def _parse_comparator(name: str, table: TomlTable) -> MappedComparator:
    if name not in SCORE_INPUTS:
        raise Unprocessable(f"{table.place}: give one of {', '.join(SCORE_INPUTS)}.")
    table.require_keys(*SCORE_INPUTS[name])
    return MappedComparator(name, {key: table.read_text(key) for key in table.keys()})
