"""What a column has of a key, by its path: nothing, the key whole, or something made of it."""

from __future__ import annotations

from typing import Any

import pytest

from ehr_etl.gold.library import (
    list_library_names,
    list_view_names,
    load_library_view,
    load_view,
)
from ehr_etl.sql_on_fhir import parse_view
from ehr_etl.sql_on_fhir.keys import KeyUse, key_use_by_column


def _use(*selects: dict[str, Any], where: tuple[str, ...] = ()) -> KeyUse:
    view = {
        "resource": "Encounter",
        "select": list(selects),
        "where": [{"path": path} for path in where],
    }
    return key_use_by_column(parse_view(view))["value"]


def _column(path: str) -> dict[str, Any]:
    return {"column": [{"name": "value", "path": path}]}


@pytest.mark.parametrize(
    "path",
    [
        "getResourceKey()",
        "id",
        "%resource.id",
        "subject.getReferenceKey(Patient)",
        "subject.getReferenceKey()",
        "subject.reference",
        "participant.individual.reference.first()",
        "participant[0].individual.reference",
        "participant.individual.where(display = 'x').reference",
        "participant.individual.select(reference)",
        "subject.resolve().id",
        "subject.resolve().ofType(Patient).id",
        "id | subject.reference",
        "id.combine(subject.reference)",
        "identifier.value",
        "identifier.first().value",
    ],
)
def test_a_path_that_only_navigates_gives_the_key_whole(path: str) -> None:
    assert _use(_column(path)) is KeyUse.WHOLE


@pytest.mark.parametrize(
    "path",
    [
        "'a' & id",
        "'a' + id",
        "id.substring(0, 8)",
        "id.upper()",
        "id.lower()",
        "id.length()",
        "id.replace('a', 'b')",
        "id.split('a').first()",
        "id.matches('^a')",
        "id = 'a'",
        "id in ('a' | 'b')",
        "id < 'a'",
        "id.toInteger()",
        "id.startsWith('a')",
        "iif(id.startsWith('a'), 1, 2)",
        "iif(status = 'finished', id, 'none')",
        "status.where(%resource.id.startsWith('a'))",
        "participant.individual.reference.join(',')",
        "(id | 'a').count()",
        "(id | 'a').distinct().count()",
        "id.where($this = 'a').exists()",
        "(id | 'a').isDistinct()",
        "getResourceKey().substring(1)",
        "subject.getReferenceKey().upper()",
        "participant[iif(%resource.id.startsWith('a'), 0, 1)].individual.display",
        "(subject.reference | 'x').join('')",
        "id.select($this.substring(0, 1))",
    ],
)
def test_what_is_computed_from_a_key_is_told_from_a_key(path: str) -> None:
    assert _use(_column(path)) is KeyUse.COMPUTED


@pytest.mark.parametrize(
    "path",
    [
        "status",
        "type.coding.first().code",
        "participant.individual.reference.count()",
        "subject.reference.exists()",
        "subject.resolve() is Patient",
        "'id'",
    ],
)
def test_what_tells_nothing_of_a_key_is_left(path: str) -> None:
    assert _use(_column(path)) is KeyUse.NONE


@pytest.mark.parametrize(
    ("focus", "path", "use"),
    [
        ("subject.reference", "$this", KeyUse.WHOLE),
        ("subject.reference", "$this.substring(0, 4)", KeyUse.COMPUTED),
        ("subject", "reference", KeyUse.WHOLE),
        ("identifier", "value", KeyUse.WHOLE),
        ("identifier", "value.upper()", KeyUse.COMPUTED),
        ("participant.where(%resource.id.startsWith('a'))", "individual.display", KeyUse.COMPUTED),
        ("id.substring(0, 4)", "$this", KeyUse.COMPUTED),
    ],
)
@pytest.mark.parametrize("word", ["forEach", "forEachOrNull"])
def test_a_focus_brings_its_keys_to_the_columns_within(
    word: str, focus: str, path: str, use: KeyUse
) -> None:
    assert _use({word: focus, **_column(path)}) is use
    assert _use({word: focus, "select": [_column(path)]}) is use
    assert _use({word: focus, "unionAll": [_column("'x'"), _column(path)]}) is use


def test_rows_that_a_key_chooses_tell_of_it_in_every_column() -> None:
    status = _column("status")
    chosen = {"forEach": "participant.where(%resource.id.startsWith('a'))"}
    other = {"column": [{"name": "other", "path": "individual.display"}]}

    assert _use(status, where=("id.startsWith('a')",)) is KeyUse.COMPUTED
    assert _use(status, {**chosen, **other}) is KeyUse.COMPUTED
    assert _use({"select": [{**chosen, "select": [other]}], **status}) is KeyUse.COMPUTED
    assert _use(status, where=("subject.reference.exists()",)) is KeyUse.NONE


@pytest.mark.parametrize("name", [*list_view_names(), *list_library_names()])
def test_no_view_of_ours_computes_anything_from_a_key(name: str) -> None:
    view = load_view(name) if name in list_view_names() else load_library_view(name)
    uses = key_use_by_column(view)

    assert KeyUse.COMPUTED not in uses.values()
    assert KeyUse.WHOLE in uses.values()
