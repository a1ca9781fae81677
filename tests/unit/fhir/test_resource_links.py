"""Which elements link to other resources: every element of every type, by its datatype."""

from __future__ import annotations

import gzip
import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ehr_fhir import definitions
from ehr_fhir.references import EntryNames
from ehr_fhir.resource_links import (
    list_references,
    replace_links,
    replace_references,
)

NAME, MEANING = "urn:uuid:00000000-0000-4000-8000-000000000001", "Patient/made"
CONTAINERS = {"Bundle", "Parameters"}
# Uris that are names: of code systems, identifier systems, types, rules, and definitions' own.
NAMING = {
    "ConceptMap.group.source", "ConceptMap.group.target", "ElementDefinition.type.code",
    "Meta.source", "Reference.type", "StructureDefinition.type",
}  # fmt: skip


class Place(NamedTuple):
    """An element of a type: where R4 has it, its JSON key, its datatype."""

    owner: str
    key: str
    type: str
    repeats: bool


class Way(NamedTuple):
    """How a type is reached from a resource: (key, repeats) of each step."""

    resource: str
    steps: tuple[tuple[str, bool], ...]


def shipped() -> Iterator[Place]:
    """Yield every element by the definitions that the package ships."""
    for owner in definitions.elements():
        for key, element in definitions.json_elements(owner).items():
            yield Place(owner, key, element.type, element.repeats)


def published(folder: Path) -> Iterator[Place]:
    """Yield every element by HL7's own StructureDefinitions."""
    for name in ("profiles-types.json.gz", "profiles-resources.json.gz"):
        for entry in json.loads(gzip.decompress((folder / name).read_bytes()))["entry"]:
            definition = entry["resource"]
            if definition["resourceType"] != "StructureDefinition":
                continue
            if definition.get("derivation") == "constraint" or definition["kind"] == "logical":
                continue
            if definition["kind"] == "primitive-type":
                continue
            for element in definition["snapshot"]["element"][1:]:
                yield from _published_element(element)


def _published_element(element: Mapping[str, Any]) -> Iterator[Place]:
    owner, _, name = element["path"].rpartition(".")
    repeats = element["max"] != "1"
    if "contentReference" in element:
        yield Place(owner, name, element["contentReference"].removeprefix("#"), repeats)
        return
    for kind in (kinds := [one["code"] for one in element["type"]]):
        datatype = kind.rpartition(".")[2].lower() if ":" in kind else kind
        if datatype in ("BackboneElement", "Element") and len(kinds) == 1:
            datatype = element["path"]
        key = name.replace("[x]", datatype[0].upper() + datatype[1:])
        yield Place(owner, key, datatype, repeats)


def ways(places: list[Place]) -> dict[str, Way]:
    """Return the shortest way to each type from a resource that is not a container."""
    by_owner: dict[str, list[Place]] = {}
    for place in places:
        by_owner.setdefault(place.owner, []).append(place)
    resources = sorted(definitions.resource_types() - CONTAINERS)
    found = {kind: Way(kind, ()) for kind in resources}
    waiting = deque(resources)
    while waiting:
        owner = waiting.popleft()
        before = found[owner]
        for place in by_owner.get(owner, ()):
            if place.type in by_owner and place.type not in found and place.type != "Resource":
                found[place.type] = Way(
                    before.resource, (*before.steps, (place.key, place.repeats))
                )
                waiting.append(place.type)
    return found


def put(way: Way, place: Place, value: Any) -> dict[str, Any]:
    """Return a resource that has a value at a place."""
    node: Any = {place.key: [value] if place.repeats else value}
    for key, repeats in reversed(way.steps):
        node = {key: [node] if repeats else node}
    return {"resourceType": way.resource, **node}


def expected(place: Place, owners: Mapping[str, set[str]]) -> bool:
    """Say by R4 §3.1.0.11.2 whether an element is a link."""
    if (place.owner, place.key) == ("Reference", "reference"):
        return True
    if place.type not in ("uri", "url"):
        return False
    if place.key in ("system", "implicitRules") or f"{place.owner}.{place.key}" in NAMING:
        return False
    is_definition = {"url", "version", "status"} <= owners[place.owner]
    return not (place.key == "url" and is_definition)


def check_all(places: list[Place]) -> Counter[str]:
    """Check every element; return how many of each datatype are rewritten."""
    reached = ways(places)
    owners: dict[str, set[str]] = {}
    for place in places:
        owners.setdefault(place.owner, set()).add(place.key)
    rewritten: Counter[str] = Counter()
    for place in places:
        way = reached.get(place.owner)
        if way is None or place.type in owners or place.type in ("Resource", "xhtml"):
            continue
        resource = put(way, place, NAME)
        replace_links(resource, {NAME: MEANING})
        right = MEANING if expected(place, owners) else NAME
        assert resource == put(way, place, right), f"{place.owner}.{place.key}: {place.type}"
        rewritten[place.type] += right is MEANING
    return rewritten


def test_of_all_elements_references_uris_and_urls_alone_are_rewritten() -> None:
    places = list(shipped())

    rewritten = check_all(places)

    # Reference.reference is the one string.
    assert {kind for kind, count in rewritten.items() if count} == {"string", "uri", "url"}
    assert rewritten["string"] == 1
    unreached = {place.owner for place in places} - set(ways(places))
    assert {owner.partition(".")[0] for owner in unreached} <= {*CONTAINERS, *ABSTRACT}


def test_so_it_is_by_hl7s_own_definitions(
    shared_data: Path,
) -> None:
    places = list(published(shared_data / "fhir-r4" / "definitions"))

    assert check_all(places) == check_all(list(shipped()))
    assert {(one.owner, one.key) for one in places} == {(one.owner, one.key) for one in shipped()}


# Types that no element of a resource has: abstract ones, and those for profiles alone.
ABSTRACT = {
    "DomainResource", "Resource", "BackboneElement", "Element", "MoneyQuantity", "SimpleQuantity",
    "MetadataResource",
}  # fmt: skip


@pytest.mark.parametrize("container", sorted(CONTAINERS))
def test_nothing_in_a_container_is_rewritten_or_listed_but_its_meta(container: str) -> None:
    inner = {
        "resourceType": "Condition",
        "subject": {"reference": NAME},
        "text": {"status": "generated", "div": f'<div><a href="{NAME}">x</a></div>'},
    }
    extension = {"url": "http://e", "valueReference": {"reference": NAME}}
    held: dict[str, Any] = {
        "resourceType": container,
        "entry": [{"fullUrl": NAME, "resource": inner, "request": {"url": NAME}}],
        "parameter": [{"name": "a", "valueUri": NAME, "resource": inner}],
        "signature": {"who": {"reference": NAME}},
        "link": [{"relation": "self", "url": NAME}],
    }
    resource = {**json.loads(json.dumps(held)), "meta": {"extension": [extension]}}
    holder = {"resourceType": "Basic", "contained": [json.loads(json.dumps(held))]}

    replace_links(resource, {NAME: MEANING})
    replace_links(holder, {NAME: MEANING})

    meta = resource.pop("meta")
    assert meta["extension"][0]["valueReference"]["reference"] == MEANING
    assert resource == held
    assert holder["contained"] == [held]
    assert list_references({**held, "meta": meta}) == [
        (f"{container}.meta.extension[0].valueReference.reference", MEANING)
    ]


def test_every_reference_is_found_with_its_place() -> None:
    resource = {
        "resourceType": "Observation",
        "subject": {"reference": "Patient/a"},
        "performer": [{"display": "x"}, {"reference": "#b"}],
        "_effectiveDateTime": {"extension": [{"valueReference": {"reference": "Patient/c"}}]},
        "contained": [{"resourceType": "Immunization", "education": [{"reference": "urn:a"}]}],
    }

    assert list_references(resource) == [
        ("Observation.subject.reference", "Patient/a"),
        ("Observation.performer[1].reference", "#b"),
        ("Observation._effectiveDateTime.extension[0].valueReference.reference", "Patient/c"),
    ]


def test_references_alone_are_replaced_where_nothing_else_may_be() -> None:
    resource: dict[str, Any] = {
        "resourceType": "Basic",
        "subject": {"reference": NAME},
        "extension": [{"url": "http://e", "valueUri": NAME}],
    }

    replace_references(resource, {NAME: MEANING})

    assert resource["subject"] == {"reference": MEANING}
    assert resource["extension"][0]["valueUri"] == NAME


@pytest.mark.parametrize(
    ("narrative", "right"),
    [
        (f'<a href="{NAME}">x</a>', f'<a href="{MEANING}">x</a>'),
        (f"<a title='x' href = '{NAME}'>x</a>", f"<a title='x' href = '{MEANING}'>x</a>"),
        (f'<img alt="x" src="{NAME}"/>', f'<img alt="x" src="{MEANING}"/>'),
        (f'<a href="{NAME}#there">x</a>', f'<a href="{MEANING}#there">x</a>'),
        ('<a href="#there">x</a>', '<a href="#there">x</a>'),
        (f'<p>src="{NAME}" href="{NAME}"</p>', f'<p>src="{NAME}" href="{NAME}"</p>'),
        (f"""<a title='an href="{NAME}"'>x</a>""", f"""<a title='an href="{NAME}"'>x</a>"""),
        (f'<p title="{NAME}">{NAME}</p>', f'<p title="{NAME}">{NAME}</p>'),
        (f'<abbr href="{NAME}">x</abbr>', f'<abbr href="{NAME}">x</abbr>'),
    ],
)
def test_links_and_images_of_a_narrative_are_rewritten_and_its_text_is_not(
    narrative: str, right: str
) -> None:
    resource: dict[str, Any] = {"resourceType": "Basic", "text": {"div": f"<div>{narrative}</div>"}}

    replace_links(resource, {NAME: MEANING})

    assert resource["text"]["div"] == f"<div>{right}</div>"


def test_a_form_of_reference_to_an_entry_counts_in_every_link() -> None:
    names = EntryNames({"http://e/Binary/1": "Binary/a"}, root="http://e")
    resource = {"resourceType": "Media", "content": {"url": "Binary/1", "title": "Binary/1"}}

    replace_links(resource, names)

    assert resource["content"] == {"url": "Binary/a", "title": "Binary/1"}


@pytest.mark.parametrize(
    "content",
    [
        {"resourceType": 3, "subject": {"reference": NAME}},
        {"resourceType": "Nothing", "subject": {"reference": NAME}},
        {"subject": {"reference": NAME}},
        {"resourceType": "Condition", "contained": [{"resourceType": []}], "subject": NAME},
        {"resourceType": "Condition", "subject": [NAME, 3, None], "text": [{"div": 3}]},
    ],
)
def test_what_is_no_resource_is_left_for_validation(content: dict[str, Any]) -> None:
    before = json.dumps(content)

    replace_links(content, {NAME: MEANING})

    assert json.dumps(content) == before
    assert list_references(content) == []
