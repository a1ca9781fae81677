"""FHIRPath and ViewDefinitions: what is read and what is refused, before any row is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ehr_etl.gold.library import list_view_names, load_view, read_view_file
from ehr_etl.sql_on_fhir import SparkDialect, compile_view, parse_view
from ehr_etl.sql_on_fhir.types import is_type
from ehr_fhir.errors import Invalid, NotFound, Unprocessable
from ehr_fhir.fhirpath import parse


def _view(**content: object) -> dict[str, object]:
    select = [{"column": [{"name": "id", "path": "id"}]}]
    return {"resource": "Patient", "select": select, **content}


def _path(path: str) -> dict[str, object]:
    return _view(select=[{"column": [{"name": "c", "path": path}]}])


def _rows(path: str) -> str:
    # Each variable of a lambda has a number that no other query has.
    compiled = compile_view(parse_view(_path(path)))
    return re.sub(r"\bv\d+", "v", SparkDialect().render(compiled.rows))


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("gender // as it was given", "gender"),
        ("gender /* m */ = 'male'", "gender = 'male'"),
        ("1 + -1 = 0", "(1) + (-1) = 0"),
        ("gender = 'a' or gender = 'b' and active", "gender = 'a' or (gender = 'b' and active)"),
        ("`gender`", "gender"),
        ("%`resource`.id", "%resource.id"),
        ("gender = '\\u006d'", "gender = 'm'"),
    ],
)
def test_a_path_is_read_as_the_engine_of_the_gateway_reads_it(path: str, same: str) -> None:
    assert _rows(path) == _rows(same)


@pytest.mark.parametrize(
    "path",
    [
        "@@",
        "a.",
        "a b",
        "where(",
        "a[0",
        "",
        "1 +",
        "@2020-13-45",
        "@2020:30",
        "first(1,)",
        "'\\q'",
    ],
)
def test_what_is_not_fhirpath_is_refused_with_the_place(path: str) -> None:
    with pytest.raises(Invalid):
        parse(path)
    with pytest.raises(Unprocessable, match="line 1, column") as refused:
        parse_view(_path(path))

    assert refused.value.issues[0].expression == "ViewDefinition.select[0].column[0].path"


@pytest.mark.parametrize(
    "path",
    [
        "now()",
        "birthDate < today()",
        "$total",
        "name.aggregate($total)",
        "birthDate + 4 days",
        "name | telecom",
        "birthDate = '1970'",
        "4 years = 4 'a'",
        "name.family.matches('a++')",
        "name.family.matches('\\\\pL')",
        "contained.id",
        "valueQuantity",
        "name.given.round()",
    ],
)
def test_what_only_the_engine_evaluates_is_refused_in_a_view(path: str) -> None:
    with pytest.raises(Unprocessable):
        compile_view(parse_view(_path(path)))


def test_the_types_of_columns_are_those_of_r4() -> None:
    assert not is_type("Pateint")
    assert is_type("dateTime")


@pytest.mark.parametrize("name", list_view_names())
def test_the_views_of_the_lake_compile(name: str) -> None:
    compiled = compile_view(load_view(name))

    assert "id" in compiled.column_names


def test_only_the_elements_a_view_reads_are_parsed() -> None:
    compiled = compile_view(parse_view(_path("name.family.first()")))

    assert list(compiled.elements.leaf_paths()) == ["name.family", "id"]


@pytest.mark.parametrize(
    "view",
    [
        _view(resource="Pateint"),
        _view(select=[]),
        _view(select=[{}]),
        _view(select=[{"column": [{"name": "a b", "path": "id"}]}]),
        _view(select=[{"column": [{"name": "a", "path": 1}]}]),
        _view(select=[{"column": [{"name": "a", "path": "id", "type": "wrong"}]}]),
        _view(select=[{"forEach": "name", "repeat": ["name"], "column": []}]),
        _view(constant=[{"name": "c"}]),
    ],
)
def test_a_view_of_a_wrong_shape_is_refused_with_the_place(view: dict[str, object]) -> None:
    with pytest.raises(Unprocessable, match="ViewDefinition"):
        parse_view(view)


@pytest.mark.parametrize(
    "path",
    ["nmae", "name", "name.nope()", "%undefined", "id + 1", "name = 'x'", "birthDate > 5"],
)
def test_a_path_that_cannot_be_evaluated_is_refused_before_any_row_is_read(path: str) -> None:
    with pytest.raises(Unprocessable):
        compile_view(parse_view(_path(path)))


def test_of_a_choice_only_the_type_asked_for_is_parsed() -> None:
    compiled = compile_view(parse_view(_path("deceased.ofType(boolean)")))

    assert list(compiled.elements.leaf_paths()) == ["deceasedBoolean", "id"]


def test_a_criterion_must_be_boolean() -> None:
    with pytest.raises(Unprocessable, match="not a boolean"):
        compile_view(parse_view(_view(where=[{"path": "name.family"}])))


def test_a_view_file_that_is_missing_or_broken_is_said_so(tmp_path: Path) -> None:
    broken = tmp_path / "view.json"
    broken.write_text("{")

    with pytest.raises(NotFound):
        read_view_file(tmp_path / "absent.json")
    with pytest.raises(Invalid, match="not JSON"):
        read_view_file(broken)
