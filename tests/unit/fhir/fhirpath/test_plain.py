"""What is read without the engine is what the engine finds, of whole and of broken resources."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from ehr_etl.gold.library import iterate_definitions
from ehr_fhir import fhirpath
from ehr_fhir.errors import EhrError
from ehr_fhir.fhirpath.plain import compile_reader, is_plain
from tests.lib.fhir_people import draw_person

NOW = datetime(2026, 11, 22, tzinfo=UTC)
# Beside those of the views, forms that none of them has.
EXPRESSIONS = (
    ("Patient", "name.where(use = 'usual' or use.empty()).given.first()"),
    ("Patient", "name.given"),
    ("Patient", "name.given.first()"),
    ("Patient", "active = true"),
    ("Patient", "active.exists() and gender in ('male' | 'other')"),
    ("Patient", "(gender = 'male').not() and deceased.ofType(boolean).empty()"),
    ("Patient", "name.where(given.exists()).family"),
    ("Patient", "extension('urn:a').value.ofType(string)"),
    ("Patient", "iif(gender = 'male', name.first().family)"),
    ("Observation", "value.ofType(Quantity).value"),
    ("Observation", "value.ofType(string)"),
    ("Observation", "code.coding.where(system = 'http://loinc.org').code"),
)
_EXTENSION = {"url": "urn:a", "valueString": "b"}
_WRONG: tuple[Any, ...] = (None, 7, "x", True, [], {}, ["x", None], {"code": "x"}, [{"code": "x"}])


def list_paths() -> Iterator[tuple[str, str]]:
    """Yield resource type and path of the columns and criteria of all views that unroll nothing."""
    for view in iterate_definitions():
        for select in view.get("select", ()):
            if not {*select} - {"column"} and "constant" not in view:
                yield from ((view["resource"], column["path"]) for column in select["column"])
                yield from ((view["resource"], one["path"]) for one in view.get("where", ()))


def spoil(chance: random.Random, value: Any) -> Any:
    """Change something somewhere in a resource: taken away, twice, of a wrong type, extended."""
    if isinstance(value, list) and value:
        place = chance.randrange(len(value))
        value[place] = spoil(chance, value[place])
    elif isinstance(value, dict) and value:
        key = chance.choice([key for key in value if key != "resourceType"] or ["id"])
        match chance.randrange(8):
            case 0:
                value.pop(key, None)
            case 1:
                value[key] = copy.deepcopy(chance.choice(_WRONG))
            case 2:
                value[f"_{key}"] = {"extension": [{**_EXTENSION}]}
            case 3:
                value[key] = [value.get(key), copy.deepcopy(value.get(key))]
            case 4:
                value["extension"] = [{**_EXTENSION}, {"url": "urn:c"}]
            case _:
                value[key] = spoil(chance, value.get(key))
    return value


def outcome(find: Any, resource: Mapping[str, Any]) -> Any:
    try:
        return find(resource)
    except EhrError as error:
        return type(error), str(error)


def test_a_reader_finds_what_the_engine_finds() -> None:
    chance = random.Random(5)
    resources: dict[str, list[dict[str, Any]]] = {}
    for number in range(40):
        for whole in draw_person(number):
            resources.setdefault(whole["resourceType"], []).append(whole)
    resources["Patient"] = [
        {**one, "active": True, "name": [{"use": "usual", "given": ["A", "B"]}, {"family": "C"}]}
        for one in resources["Patient"]
    ]
    found = plain = 0

    for kind, path in sorted({*list_paths(), *EXPRESSIONS}):
        # The keys, and units in one form, are the lake's own functions.
        if kind not in resources or "Key(" in path or "canonical" in path:
            continue
        read = compile_reader(path, context_type=kind, now=NOW)
        compiled = fhirpath.compile(path, context_type=kind)

        def evaluate(resource: Mapping[str, Any], compiled: Any = compiled) -> list[Any]:
            return [fhirpath.to_json(one) for one in compiled.evaluate(resource, now=NOW)]

        plain += is_plain(path, kind)
        for _ in range(40):
            resource = copy.deepcopy(chance.choice(resources[kind]))
            for _ in range(chance.randrange(5)):
                resource = spoil(chance, resource)
            before = copy.deepcopy(resource)
            expected = outcome(evaluate, resource)
            assert outcome(read, resource) == expected, (path, resource)
            assert resource == before
            found += bool(expected)

    assert plain > 60 and found > 1500


@pytest.mark.parametrize(("kind", "path"), EXPRESSIONS)
def test_these_need_no_engine(kind: str, path: str) -> None:
    assert is_plain(path, kind)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Patient", "Patient.name"),
        ("Patient", "name.given.count()"),
        ("Patient", "birthDate = '2000-01-01'"),
        ("Patient", "contained.id"),
        ("Observation", "value"),
        ("Observation", "value.exists()"),
        ("Observation", "status.extension('urn:a')"),
    ],
)
def test_these_are_the_engines(kind: str, path: str) -> None:
    assert not is_plain(path, kind)
