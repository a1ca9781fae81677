"""The registry of search parameters: all of R4's, compiled."""

from __future__ import annotations

import pytest

from ehr_fhir import definitions
from ehr_fhir.errors import Fault
from ehr_fhir.index import extract, indexed
from ehr_fhir.paths import compile_expression
from ehr_fhir.search_parameters import INDEXED, parameters

# R4 gives these no expression: they search text, or name a query.
_WITHOUT_EXPRESSION = {"_content", "_query", "_text"}


@pytest.mark.parametrize("kind", sorted(definitions.resource_types()))
def test_every_parameter_of_an_indexed_type_compiles(kind: str) -> None:
    missing = {
        one.code for one in parameters(kind).values() if one.type in INDEXED and not one.paths
    }

    assert missing <= _WITHOUT_EXPRESSION
    assert {one.code for one in indexed(kind)} >= {"_profile", "_security", "_tag"}
    assert extract({"resourceType": kind}) == [] or kind == "Patient"


def test_a_composite_is_searched_by_its_parts_where_they_lie_in_the_resource_itself() -> None:
    known = parameters("Observation")

    assert known["code-value-quantity"].components == ("code", "value-quantity")
    assert not known["code-value-quantity"].supported
    assert not known["component-code-value-quantity"].searched


def test_parameters_of_every_resource_are_the_types_too() -> None:
    assert parameters("Basic")["_tag"].type == "token"


def test_a_cast_leaves_one_datatype() -> None:
    paths = compile_expression("(Observation.value as Quantity)", "Observation")

    assert [(path.steps, path.datatype) for path in paths] == [(("valueQuantity",), "Quantity")]


def test_a_term_of_another_type_is_passed_over() -> None:
    assert compile_expression("Person.name", "Patient") == ()


def test_fhirpath_outside_the_subset_is_an_error() -> None:
    with pytest.raises(Fault, match="outside the subset"):
        compile_expression("Patient.name.select(given)", "Patient")


def test_a_path_that_leads_nowhere_is_an_error() -> None:
    with pytest.raises(Fault, match="leads nowhere"):
        compile_expression("Patient.nothing", "Patient")
