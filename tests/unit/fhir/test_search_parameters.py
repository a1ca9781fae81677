"""The registry of search parameters: all of R4's, compiled."""

from __future__ import annotations

import pytest

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid
from ehr_fhir.index.rows import extract, indexed
from ehr_fhir.search_parameters import INDEXED, compiled, parameters, slots

# R4 gives these no expression: they search text, or name a query.
_WITHOUT_EXPRESSION = {"_content", "_query", "_text"}


@pytest.mark.parametrize("kind", sorted(definitions.resource_types()))
def test_every_parameter_of_an_indexed_type_compiles(kind: str) -> None:
    missing = {
        one.code for one in parameters(kind).values() if one.type in INDEXED and not one.supported
    }

    assert missing <= _WITHOUT_EXPRESSION
    assert {one.code for one in indexed(kind)} >= {"_profile", "_security", "_tag"}
    assert extract({"resourceType": kind}) == [] or kind == "Patient"


def test_a_value_knows_which_element_it_stands_in_where_a_composite_asks() -> None:
    assert slots("Observation")["component-code"] == {"component"}
    assert "code" not in slots("Observation")
    assert slots("MolecularSequence")["chromosome"] == {"referenceSeq"}
    assert slots("MolecularSequence")["variant-start"] == {"variant"}


def test_parameters_of_every_resource_are_the_types_too() -> None:
    assert parameters("Basic")["_tag"].type == "token"


def test_a_cast_leaves_one_datatype() -> None:
    paths = parameters("Observation")["value-quantity"].paths

    assert [(path.steps, path.datatype) for path in paths] == [
        (("valueQuantity",), "Quantity"),
        (("valueSampledData",), "SampledData"),
    ]


def test_a_term_of_another_type_is_passed_over() -> None:
    assert compiled("Person.name", "Patient").walks == ()


@pytest.mark.parametrize(
    "expression", ["Patient.name.select(given)", "Patient.name.given | Patient.name.first().family"]
)
def test_an_expression_that_is_no_plain_path_is_left_to_the_engine(expression: str) -> None:
    assert compiled(expression, "Patient").walks is None


def test_a_path_that_leads_nowhere_is_an_error() -> None:
    with pytest.raises(Invalid, match="line 1, column 9: Patient has no `nothing`"):
        compiled("Patient.nothing", "Patient")


@pytest.mark.parametrize("kind", sorted(definitions.resource_types()))
def test_each_composite_pairs_parameters_that_are_indexed(kind: str) -> None:
    known = parameters(kind)

    for one in known.values():
        assert all(known[part.code].supported for part in one.components)
        assert bool(one.components) == (one.type == "composite")
