"""FHIRPath and ViewDefinitions: what is read and what is refused, before any row is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehr_etl.gold.views import VIEWS, load_view, read_view_file
from ehr_etl.sql_on_fhir import compile_view, parse_view
from ehr_etl.sql_on_fhir.elements import elements, is_type
from ehr_etl.sql_on_fhir.fhirpath import Binary, Call, Literal, Member, Variable, parse
from ehr_fhir.errors import Invalid, NotFound, Unprocessable


def _view(**content: object) -> dict[str, object]:
    select = [{"column": [{"name": "id", "path": "id"}]}]
    return {"resource": "Patient", "select": select, **content}


def _path(path: str) -> dict[str, object]:
    return _view(select=[{"column": [{"name": "c", "path": path}]}])


def test_and_binds_tighter_than_or() -> None:
    tree = parse("a or b and c")

    assert tree == Binary(
        "or", Member(None, "a"), Binary("and", Member(None, "b"), Member(None, "c"))
    )


def test_literals_variables_and_calls_are_read() -> None:
    assert parse("'it\\'s'") == Literal("it's", "string")
    assert parse("%`my name`") == Variable("my name")
    assert parse("@2020-01-01") == Literal("2020-01-01", "date")
    assert parse("a.where(b = 1)") == Call(
        Member(None, "a"), "where", (Binary("=", Member(None, "b"), Literal(1, "integer")),)
    )


@pytest.mark.parametrize("path", ["@@", "a.", "a b", "where(", "a[0", "", "1 +"])
def test_what_is_not_fhirpath_is_refused(path: str) -> None:
    with pytest.raises(Unprocessable):
        parse(path)


def test_elements_come_with_type_and_cardinality() -> None:
    patient = elements("Patient")

    assert (patient["name"].type, patient["name"].many) == ("HumanName", True)
    assert (patient["birthDate"].type, patient["birthDate"].many) == ("date", False)
    assert elements("Observation")["valueQuantity"].choice == "value"
    assert not is_type("Pateint")


@pytest.mark.parametrize("name", VIEWS)
def test_the_views_of_the_lake_compile(name: str) -> None:
    compiled = compile_view(load_view(name))

    assert "id" in dict(compiled.columns)


def test_only_the_elements_a_view_reads_are_parsed() -> None:
    compiled = compile_view(parse_view(_path("name.family.first()")))

    assert compiled.schema == "`name` ARRAY<STRUCT<`family` STRING>>, `id` STRING"


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
