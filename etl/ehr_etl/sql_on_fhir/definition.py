"""A ViewDefinition as values: read from JSON and checked for shape, paths parsed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from ehr_etl.sql_on_fhir.types import is_type
from ehr_fhir import definitions
from ehr_fhir.errors import Invalid, Unprocessable
from ehr_fhir.fhirpath import parse
from ehr_fhir.fhirpath.syntax import Node

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# By the specification's sql-name; it is the name of a folder of the lake too.
_VIEW_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,254}")
_ELEMENT_KEYS = frozenset({"id", "extension", "modifierExtension"})
_VIEW_KEYS = _ELEMENT_KEYS | frozenset(
    """resourceType meta implicitRules language text contained url identifier version
    versionAlgorithmString versionAlgorithmCoding name title status experimental date publisher
    contact description useContext jurisdiction purpose copyright copyrightLabel approvalDate
    lastReviewDate effectivePeriod relatedArtifact resource profile fhirVersion resourceVersion
    constant select where""".split()
)
# A view of views is this platform's own: SQL on FHIR's reads one type of resource.
_VIEW_OF_VIEWS_KEYS = frozenset({"resourceType", "name", "title", "status", "description", "views"})
_SELECT_KEYS = frozenset("column select forEach forEachOrNull repeat unionAll".split())
_COLUMN_KEYS = frozenset("name path description collection type tag".split())
_WHERE_KEYS = frozenset({"path", "description"})
_CONSTANT_KEYS = frozenset({"name"})
_NUMERIC_CONSTANTS = {"Integer", "PositiveInt", "UnsignedInt", "Decimal", "Integer64"}


@dataclass(frozen=True)
class Constant:
    """A value that paths call by `%name`, and its FHIR type."""

    value: str | bool | int | Decimal
    type: str


@dataclass(frozen=True)
class Column:
    """One column: its path, and its FHIR type if the view names it."""

    name: str
    path: Node
    type: str | None
    collection: bool


@dataclass(frozen=True)
class Select:
    """One select: a focus, its columns, selects within, and a union."""

    columns: tuple[Column, ...]
    selects: tuple[Select, ...]
    unions: tuple[Select, ...]
    for_each: Node | None = None
    for_each_or_null: Node | None = None
    repeat: tuple[Node, ...] = ()


@dataclass(frozen=True)
class ViewDefinition:
    """What a table shows of one resource type, or of several: a view of views."""

    name: str
    # Empty for a view of views.
    resource: str
    selects: tuple[Select, ...] = ()
    where: tuple[Node, ...] = ()
    constants: Mapping[str, Constant] = field(default_factory=dict)
    # Views of one type each, with the same columns, whose rows are those of this one.
    views: tuple[ViewDefinition, ...] = ()

    @property
    def parts(self) -> tuple[ViewDefinition, ...]:
        """Return the views of one type that this one is made of: itself, if it is one."""
        return self.views or (self,)

    @property
    def resources(self) -> tuple[str, ...]:
        """Return the types of the records that it reads."""
        return tuple(part.resource for part in self.parts)


def parse_view(view: Mapping[str, object]) -> ViewDefinition:
    """Read a ViewDefinition, or a view of views; refuse, with the place, what is not allowed."""
    if view.get("resourceType", "ViewDefinition") != "ViewDefinition":
        raise _wrong("resourceType", "is not ViewDefinition")
    if "views" in view:
        return _parse_view_of_views(view)
    _check_keys(view, _VIEW_KEYS, "")
    name = view.get("name", "view")
    if not isinstance(name, str) or not _VIEW_NAME.fullmatch(name):
        raise _wrong("name", "is not a name: a letter, then letters, digits or underscores")
    resource = view.get("resource")
    if not isinstance(resource, str) or resource not in definitions.resource_types():
        raise _wrong("resource", "names no resource type of FHIR R4")
    selects = _objects(view, "select", "select")
    if not selects:
        raise _wrong("select", "is missing")
    return ViewDefinition(
        name=name,
        resource=resource,
        selects=tuple(_select(item, f"select[{place}]") for place, item in enumerate(selects)),
        where=tuple(
            _where(item, f"where[{place}]")
            for place, item in enumerate(_objects(view, "where", "where"))
        ),
        constants=dict(
            _constant(item, f"constant[{place}]")
            for place, item in enumerate(_objects(view, "constant", "constant"))
        ),
    )


def _parse_view_of_views(view: Mapping[str, object]) -> ViewDefinition:
    _check_keys(view, _VIEW_OF_VIEWS_KEYS, "")
    name = view.get("name")
    if not isinstance(name, str) or not _VIEW_NAME.fullmatch(name):
        raise _wrong("name", "is not a name: a letter, then letters, digits or underscores")
    views = []
    for place, item in enumerate(_objects(view, "views", "views")):
        if "views" in item:
            raise _wrong(f"views[{place}]", "is a view of views itself")
        views.append(replace(parse_view(item), name=name))
    if not views:
        raise _wrong("views", "is empty")
    if len({part.resource for part in views}) < len(views):
        raise _wrong("views", "has two views of one resource type")
    return ViewDefinition(name, "", views=tuple(views))


def _where(item: Mapping[str, object], place: str) -> Node:
    _check_keys(item, _WHERE_KEYS, f"{place}.")
    return _path(item.get("path"), f"{place}.path")


def _select(item: Mapping[str, object], place: str) -> Select:
    _check_keys(item, _SELECT_KEYS, f"{place}.")
    foci = [name for name in ("forEach", "forEachOrNull", "repeat") if name in item]
    if len(foci) > 1:
        raise _wrong(place, f"has both {foci[0]} and {foci[1]}")
    select = Select(
        columns=tuple(
            _column(column, f"{place}.column[{number}]")
            for number, column in enumerate(_objects(item, "column", place))
        ),
        selects=tuple(
            _select(inner, f"{place}.select[{number}]")
            for number, inner in enumerate(_objects(item, "select", place))
        ),
        unions=tuple(
            _select(inner, f"{place}.unionAll[{number}]")
            for number, inner in enumerate(_objects(item, "unionAll", place))
        ),
        for_each=_focus(item, "forEach", place),
        for_each_or_null=_focus(item, "forEachOrNull", place),
        repeat=_repeat(item, place),
    )
    if not (select.columns or select.selects or select.unions):
        raise _wrong(place, "has neither column, select nor unionAll")
    return select


def _column(item: Mapping[str, object], place: str) -> Column:
    _check_keys(item, _COLUMN_KEYS, f"{place}.")
    name, type_name = item.get("name"), item.get("type")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _wrong(f"{place}.name", "is not a column name (letters, digits, underscore)")
    if isinstance(type_name, str):
        type_name = type_name.rsplit("/", 1)[-1]
    if type_name is not None and not (isinstance(type_name, str) and is_type(type_name)):
        raise _wrong(f"{place}.type", "names no type of FHIR R4")
    return Column(
        name, _path(item.get("path"), f"{place}.path"), type_name, item.get("collection") is True
    )


def _focus(item: Mapping[str, object], name: str, place: str) -> Node | None:
    return _path(item[name], f"{place}.{name}") if name in item else None


def _repeat(item: Mapping[str, object], place: str) -> tuple[Node, ...]:
    if "repeat" not in item:
        return ()
    paths = item["repeat"]
    if not isinstance(paths, list) or not paths:
        raise _wrong(f"{place}.repeat", "is not a list of paths")
    return tuple(_path(path, f"{place}.repeat") for path in paths)


def _path(value: object, place: str) -> Node:
    if not isinstance(value, str):
        raise _wrong(place, "is not a FHIRPath text")
    try:
        return parse(value)
    except Invalid as error:
        raise Unprocessable(
            f"ViewDefinition.{place}: {error}", expression=f"ViewDefinition.{place}"
        ) from error


def _constant(item: Mapping[str, object], place: str) -> tuple[str, Constant]:
    allowed = _CONSTANT_KEYS | {key for key in item if key.startswith("value")}
    _check_keys(item, allowed, f"{place}.")
    name = item.get("name")
    values = [key for key in item if key.startswith("value")]
    if not isinstance(name, str) or len(values) != 1:
        raise _wrong(place, "needs a name and one value[x]")
    kind, value = values[0].removeprefix("value"), item[values[0]]
    type_name = kind[:1].lower() + kind[1:]
    if kind in _NUMERIC_CONSTANTS and isinstance(value, int | float | Decimal):
        if kind == "Decimal":
            return name, Constant(Decimal(str(value)), "decimal")
        return name, Constant(int(value), type_name)
    if kind == "Boolean" and isinstance(value, bool):
        return name, Constant(value, "boolean")
    if is_type(type_name) and isinstance(value, str):
        return name, Constant(value, type_name)
    raise _wrong(f"{place}.{values[0]}", "has a value of another type")


def _objects(item: Mapping[str, object], name: str, place: str) -> list[Mapping[str, object]]:
    found = item.get(name, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise _wrong(f"{place}.{name}" if place != name else name, "is not a list of objects")
    return found


def _check_keys(item: Mapping[str, object], known: Collection[str], place: str) -> None:
    """Refuse a misspelt key: a `wher` that nobody reads would give rows that it should not."""
    for key in item:
        # FHIR JSON's extensions of primitives begin with `_`.
        if key in known or key.startswith("_") or key in _ELEMENT_KEYS:
            continue
        nearest = difflib.get_close_matches(key, known, 1)
        hint = f": did you mean {nearest[0]}" if nearest else ""
        raise _wrong(f"{place}{key[:40]}", f"is not an element of a ViewDefinition{hint}")


def _wrong(place: str, what: str) -> Unprocessable:
    return Unprocessable(f"ViewDefinition.{place} {what}.", expression=f"ViewDefinition.{place}")
