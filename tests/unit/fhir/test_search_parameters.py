"""The registry of search parameters: all of R4's, compiled."""

from __future__ import annotations

import pytest

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid
from ehr_fhir.index.rows import extract_rows, indexed_parameters
from ehr_fhir.search_parameters import (
    INDEXED_TYPES,
    compile_expression,
    paired_elements,
    parameters_of,
)

# R4 gives these no expression: they search text, or name a query.
_WITHOUT_EXPRESSION = {"_content", "_query", "_text"}


@pytest.mark.parametrize("kind", sorted(definitions.resource_types()))
def test_every_parameter_of_an_indexed_type_compiles(kind: str) -> None:
    missing = {
        one.code
        for one in parameters_of(kind).values()
        if one.type in INDEXED_TYPES and not one.is_indexed
    }

    assert missing <= _WITHOUT_EXPRESSION
    assert {one.code for one in indexed_parameters(kind)} >= {"_profile", "_security", "_tag"}
    assert extract_rows({"resourceType": kind}) == [] or kind == "Patient"


def test_a_value_knows_which_element_it_stands_in_where_a_composite_asks() -> None:
    assert paired_elements("Observation")["component-code"] == {"component"}
    assert "code" not in paired_elements("Observation")
    assert paired_elements("MolecularSequence")["chromosome"] == {"referenceSeq"}
    assert paired_elements("MolecularSequence")["variant-start"] == {"variant"}


def test_parameters_of_every_resource_are_the_types_too() -> None:
    assert parameters_of("Basic")["_tag"].type == "token"


def test_a_cast_leaves_one_datatype() -> None:
    paths = parameters_of("Observation")["value-quantity"].paths

    assert [(path.steps, path.datatype) for path in paths] == [
        (("valueQuantity",), "Quantity"),
        (("valueSampledData",), "SampledData"),
    ]


def test_a_term_of_another_type_is_passed_over() -> None:
    assert compile_expression("Person.name", "Patient").walks == ()


@pytest.mark.parametrize(
    "expression", ["Patient.name.select(given)", "Patient.name.given | Patient.name.first().family"]
)
def test_an_expression_that_is_no_plain_path_is_left_to_the_engine(expression: str) -> None:
    assert compile_expression(expression, "Patient").walks is None


def test_a_path_that_leads_nowhere_is_an_error() -> None:
    with pytest.raises(Invalid, match="line 1, column 9: Patient has no `nothing`"):
        compile_expression("Patient.nothing", "Patient")


@pytest.mark.parametrize("kind", sorted(definitions.resource_types()))
def test_each_composite_pairs_parameters_that_are_indexed(kind: str) -> None:
    known = parameters_of(kind)

    for one in known.values():
        assert all(known[part.code].is_indexed for part in one.components)
        assert bool(one.components) == (one.type == "composite")
