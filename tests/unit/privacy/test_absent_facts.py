"""Which types can bear a date or an author, by R4's definitions."""

from __future__ import annotations

import pytest

from ehr_fhir.definitions import json_elements
from ehr_privacy.consent.absent_facts import PEOPLE, types_without_author, types_without_date
from ehr_privacy.consent.domain_rules import load_domains

CLINICAL = (
    "Observation Condition Procedure Encounter MedicationRequest DiagnosticReport Immunization"
    " DocumentReference AllergyIntolerance CarePlan Goal Specimen ImagingStudy ServiceRequest"
).split()


@pytest.mark.parametrize("kind", CLINICAL)
def test_clinical_types_bear_a_date_and_an_author(kind: str) -> None:
    assert kind not in types_without_date()
    assert kind not in types_without_author()


def test_no_type_without_a_date_has_an_element_that_gives_one() -> None:
    firsts = {path[0] for path in load_domains().clinical_date}

    for kind in types_without_date() - PEOPLE:
        assert not firsts & {*json_elements(kind)}, kind
