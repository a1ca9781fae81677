"""No gold view names an element that de-identification drops: its column would always be empty."""

from __future__ import annotations

import pytest

from ehr_etl.gold.library import list_view_names, load_view
from ehr_etl.sql_on_fhir import CompiledView, compile_view, parse_view
from ehr_privacy.deid import load_rules
from ehr_privacy.deid.rules import Node

AGE_AT_EVENT = Node(elements={"url": Node("keep"), "valueInteger": Node("keep")})


@pytest.mark.parametrize("name", list_view_names())
def test_a_view_reads_only_what_deidentification_lets_through(name: str) -> None:
    assert dropped_elements(compile_view(load_view(name))) == []


@pytest.mark.parametrize(
    ("path", "dropped"),
    [
        ("vaccineCode.coding.first().code", []),
        ("vaccineCode.coding.first().display", ["vaccineCode.coding.display"]),
        ("vaccineCode.text", ["vaccineCode.text"]),
        ("occurrence.ofType(dateTime)", []),
        ("occurrence.ofType(string)", ["occurrenceString"]),
        ("protocolApplied.doseNumber.ofType(positiveInt).first()", []),
        ("protocolApplied.series.first()", ["protocolApplied.series"]),
    ],
)
def test_an_element_that_is_dropped_is_found(path: str, dropped: list[str]) -> None:
    select = [{"column": [{"name": "c", "path": path}]}]
    compiled = compile_view(parse_view({"resource": "Immunization", "select": select}))

    assert dropped_elements(compiled) == dropped


def dropped_elements(view: CompiledView) -> list[str]:
    """Return the elements of a compiled view that the rules of deid.toml do not let through."""
    rules = load_rules().types.get(view.resource, Node(elements={}))
    if view.resource in load_rules().event_dates:
        # The one extension that de-identification makes: the age at the event.
        rules = Node(elements={**(rules.elements or {}), "extension": AGE_AT_EVENT})
    return [path for path in view.elements.leaf_paths() if not passes(path.split("."), rules)]


def passes(path: list[str], rule: Node) -> bool:
    """Say whether a value at a path below a rule's element is let through."""
    if rule.elements is not None:
        below = rule.elements.get(path[0]) if path else None
        return below is not None and passes(path[1:], below)
    if rule.method == "coding":
        return path in (["system"], ["code"])
    return rule.method != "drop"
