"""The catalogue of open data: what DCAT-AP 3.0 demands of each class, read as a graph."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from ehr_analytics.open_data.catalogue import CatalogueEntry, build_catalogue
from ehr_analytics.open_data.declaration import list_shipped, load_declaration
from ehr_fhir.jurisdiction import JURISDICTION
from tests.conftest import ROOT

BASE = "https://ehr.example"
# DCAT-AP 3.0, the mandatory properties of the classes that we use (its SHACL: sh:minCount 1), and
# of the recommended ones those that a portal of open data reads.
DEMANDED = {
    "dcat:Catalog": {"dct:title", "dct:description", "dct:publisher", "dcat:dataset"},
    "dcat:Dataset": {
        *("dct:title", "dct:description", "dct:publisher", "dcat:contactPoint", "dcat:theme"),
        *("dcat:distribution", "dct:temporal"),
    },
    "dcat:Distribution": {
        *("dcat:accessURL", "dct:license", "dct:format", "dcatap:availability", "spdx:checksum"),
    },
    "dcat:DataService": {"dct:title", "dcat:endpointURL", "dcat:servesDataset"},
    "foaf:Agent": {"foaf:name"},
}
# sh:maxCount 1 in the same shapes.
AT_MOST_ONE = {
    *("dct:publisher", "dct:accrualPeriodicity", "dct:accessRights", "dct:license", "dct:format"),
    *("dcat:byteSize", "dct:issued", "dct:modified", "dcatap:availability", "dcat:mediaType"),
}


def entries() -> list[CatalogueEntry]:
    files = {"data.csv": (10, "a" * 64), "data.json": (20, "b" * 64)}
    at = "2026-07-15T00:00:00+00:00"
    return [
        CatalogueEntry(load_declaration(name), "2026-05-01", "2026-06-30", at, at, files)
        for name in list_shipped()
    ]


def graph(catalogue: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["@id"]: node for node in catalogue["@graph"]}


def test_every_resource_has_what_dcat_ap_demands_of_its_class() -> None:
    nodes = graph(build_catalogue(BASE, entries()))

    for node in nodes.values():
        demanded = DEMANDED[node["@type"]]
        assert demanded <= node.keys(), (node["@id"], demanded - node.keys())
        assert not [name for name in AT_MOST_ONE & node.keys() if isinstance(node[name], list)]
    assert {node["@type"] for node in nodes.values()} == set(DEMANDED)


def test_every_resource_keeps_the_published_shapes() -> None:
    shapes = json.loads((ROOT / "tests/data/dcat-ap-3.0.0-shapes.json").read_text())
    nodes = graph(build_catalogue(BASE, entries())).values()
    # Nodes within others have no name: they are resources all the same.
    inner = [
        value
        for node in nodes
        for values in node.values()
        for value in as_list(values)
        if isinstance(value, dict) and value.get("@type", "xsd:").partition(":")[0] != "xsd"
    ]

    kept = 0
    for node in (*nodes, *inner):
        for name, shape in shapes.get(node["@type"], {}).items():
            values = as_list(node.get(name, []))
            kept += len(values)
            place = (node.get("@id"), name)
            assert shape.get("minCount", 0) <= len(values) <= shape.get("maxCount", 99), place
            is_literal = [is_literal_value(value) for value in values]
            wanted = shape.get("nodeKind")
            assert wanted is None or is_literal == [wanted == "sh:Literal"] * len(values), place
    assert kept > 30 * len(list_shipped())


def is_literal_value(value: Any) -> bool:
    return not isinstance(value, dict) or "@value" in value


def test_every_reference_of_ours_is_described_and_every_prefix_is_in_the_context() -> None:
    catalogue: dict[str, Any] = build_catalogue(BASE, entries())
    nodes = graph(catalogue)

    named = {
        reference["@id"]
        for node in nodes.values()
        for name in ("dcat:dataset", "dcat:service", "dcat:distribution", "dct:publisher")
        for reference in as_list(node.get(name, []))
    }
    assert named <= nodes.keys()
    prefixes = {name.partition(":")[0] for node in nodes.values() for name in node if ":" in name}
    assert prefixes <= catalogue["@context"].keys()


@pytest.mark.parametrize("name", ["dct:title", "dct:description"])
def test_texts_are_in_every_language_of_the_pages(name: str) -> None:
    nodes = graph(build_catalogue(BASE, entries())).values()

    tags = {tuple(text["@language"] for text in node[name]) for node in nodes if name in node}
    assert tags == {tuple(language.tag for language in JURISDICTION.languages)}


def test_two_publishers_are_two_agents() -> None:
    first, *others = entries()
    other = replace(first.declaration, id="other", publisher_page="https://ha.example")

    nodes = graph(build_catalogue(BASE, [replace(first, declaration=other), *others]))

    agents = [name for name, node in nodes.items() if node["@type"] == "foaf:Agent"]
    assert sorted(agents) == ["https://ehr-commons.hk", "https://ha.example"]


def test_an_empty_catalogue_has_a_publisher_too() -> None:
    nodes = graph(build_catalogue(BASE, []))

    assert nodes[BASE]["@type"] == "foaf:Agent"


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
