"""HL7's FHIRPath test suite for R4: its cases, and whether one of them passes."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from ehr_fhir import fhirpath
from ehr_fhir.errors import Invalid
from tests.lib import fhir_xml

__all__ = ["Case", "cases", "failure"]

NOW = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """One test: an expression on an input, and what it must give."""

    name: str
    group: str
    expression: str
    file: str
    invalid: str | None
    check_order: bool
    predicate: bool
    ordered: bool
    outputs: tuple[tuple[str | None, str], ...]


def cases(folder: Path) -> Iterator[Case]:
    """Yield all cases in order; a name that occurs twice gets a number."""
    names: dict[str, int] = {}
    for group in ET.parse(folder / "tests-fhir-r4.xml").getroot().iter("group"):
        for test in group.iter("test"):
            name = test.get("name", "")
            names[name] = names.get(name, 0) + 1
            expression = test.find("expression")
            assert expression is not None
            yield Case(
                name=name if names[name] == 1 else f"{name}#{names[name]}",
                group=group.get("name", ""),
                expression=expression.text or "",
                file=test.get("inputfile", "patient-example.xml"),
                invalid=expression.get("invalid"),
                check_order=test.get("checkOrderedFunctions") == "true",
                predicate=test.get("predicate") == "true",
                ordered=test.get("ordered") != "false",
                outputs=tuple((o.get("type"), o.text or "") for o in test.findall("output")),
            )


def failure(case: Case, folder: Path) -> str | None:
    """Return in what a case fails, or nothing if it passes.

    Every case is compiled against the type of its input, so all paths are checked by definitions.
    """
    resource = _read(folder / "input" / case.file)
    try:
        found = fhirpath.compile(
            case.expression,
            context_type=resource["resourceType"],
            check_order=case.check_order,
        )
        if case.invalid == "syntax":
            return "parsed, but must not"
        values = found.evaluate(resource, now=NOW)
    except Invalid as error:
        return None if case.invalid else f"refused: {error}"
    if case.invalid:
        return "evaluated, but must be refused"
    if case.predicate:
        values = [bool(values)]
    shown = [_shown(value) for value in values]
    if len(shown) != len(case.outputs):
        return f"{len(shown)} values, not {len(case.outputs)}: {shown}"
    if not case.ordered:
        return (
            None
            if sorted(text for _, text in shown) == sorted(text for _, text in case.outputs)
            else f"other values: {shown}"
        )
    for (kind, text), (wanted_kind, wanted) in zip(shown, case.outputs, strict=True):
        if not _same(text, wanted) or (wanted_kind and kind.lower() != wanted_kind.lower()):
            return f"{kind} {text}, not {wanted_kind} {wanted}"
    return None


@cache
def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        content: dict[str, Any] = json.loads(path.read_text("utf-8"), parse_float=Decimal)
        return content
    return fhir_xml.read(path)


def _shown(value: object) -> tuple[str, str]:
    if isinstance(value, fhirpath.Element):
        kind, text = value.type, fhirpath.to_json(value)
        mark = {"date": "@", "dateTime": "@", "time": "@T"}.get(kind, "")
        return kind, mark + _text(text)
    kind = {"str": "string", "int": "integer", "bool": "boolean"}.get(
        type(value).__name__, type(value).__name__
    )
    mark = {"Date": "@", "DateTime": "@", "Time": "@T"}.get(kind, "")
    return kind, mark + _text(value)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _same(text: str, wanted: str) -> bool:
    if text == wanted:
        return True
    try:
        # The digits count, the sign of a zero does not.
        return Decimal(text) == Decimal(wanted) and text.lstrip("-") == wanted.lstrip("-")
    except ArithmeticError:
        return False
