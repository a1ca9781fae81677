"""The elements of FHIR types, read from the R4B models: name, type, and whether they repeat."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from fhir.resources.R4B import get_fhir_model_class

# FHIR primitives by the way Spark reads them from JSON; every other primitive is text.
SPARK_TYPES: Mapping[str, str] = {
    "boolean": "BOOLEAN",
    "integer": "INT",
    "positiveInt": "INT",
    "unsignedInt": "INT",
    "integer64": "BIGINT",
    # Exact: a double would turn 0.1 + 0.2 into 0.30000000000000004.
    "decimal": "DECIMAL(38,12)",
}
TEXT_TYPES = frozenset(
    {
        *("base64Binary", "canonical", "code", "date", "dateTime", "id", "instant", "markdown"),
        *("oid", "string", "time", "uri", "url", "uuid", "xhtml"),
    }
)
PRIMITIVES = TEXT_TYPES | SPARK_TYPES.keys()
NUMBERS = frozenset(SPARK_TYPES) - {"boolean"}


@dataclass(frozen=True)
class Element:
    """One element of a type; `choice` is the `value` of `valueString`."""

    name: str
    type: str
    many: bool
    choice: str | None = None


@cache
def elements(type_name: str) -> Mapping[str, Element]:
    """Return the elements of a FHIR type by their JSON names, none for an unknown type."""
    try:
        model = get_fhir_model_class(type_name)
    except (KeyError, LookupError, AttributeError, ValueError):
        return {}
    found: dict[str, Element] = {}
    for name, field in model.model_fields.items():
        if not name.endswith("__ext"):
            extra = field.json_schema_extra
            choice = extra.get("one_of_many") if isinstance(extra, dict) else None
            element = _element(field.alias or name, field.annotation, field.metadata, choice)
            found[element.name] = element
    return found


def is_type(type_name: str) -> bool:
    """Say whether FHIR R4 knows the type."""
    return type_name in PRIMITIVES or bool(elements(type_name))


def spark_type(type_name: str) -> str:
    """Return how Spark holds a primitive."""
    return SPARK_TYPES.get(type_name, "STRING")


def _element(name: str, annotation: object, metadata: list[object], choice: object) -> Element:
    annotation, many = _unwrap(annotation)
    type_name = _type_name(annotation) or _type_of_metadata(metadata) or "string"
    return Element(name, type_name, many, choice if isinstance(choice, str) else None)


def _unwrap(annotation: object) -> tuple[object, bool]:
    """Take Optional and List off an annotation; say whether there was a list."""
    many = False
    while True:
        origin = typing.get_origin(annotation)
        arguments = [a for a in typing.get_args(annotation) if a is not type(None)]
        if origin is list:
            many, annotation = True, arguments[0]
        elif origin is not None and origin is not typing.Annotated and len(arguments) == 1:
            annotation = arguments[0]
        else:
            return annotation, many


def _type_name(annotation: object) -> str | None:
    if annotation is bool:
        return "boolean"
    if typing.get_origin(annotation) is typing.Annotated:
        return _type_of_metadata(list(typing.get_args(annotation)[1:]))
    name = getattr(annotation, "__name__", "")
    return name.removesuffix("Type") if name.endswith("Type") else None


def _type_of_metadata(metadata: list[object]) -> str | None:
    """Return the primitive an annotation's marker stands for: DateTime() is `dateTime`."""
    for marker in metadata:
        # pydantic's own marker of a uuid is UuidVersion.
        name = type(marker).__name__.removesuffix("Version")
        primitive = name[:1].lower() + name[1:]
        if primitive in PRIMITIVES:
            return primitive
    return None
