"""De-identification: what is not listed does not come out."""

from __future__ import annotations

import gzip
import json
import pickle
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class

from ehr_privacy.deid import Deidentifier, RulesError, load_rules, parse_rules, pseudonym
from ehr_privacy.deid import shift_days as shift
from ehr_privacy.deid.modifiers import find_element_type, find_modifiers
from ehr_privacy.deid.rules import Node

SAMPLE_TYPES = (
    *("AllergyIntolerance", "CarePlan", "CareTeam", "Claim", "Condition", "Device"),
    *("DiagnosticReport", "DocumentReference", "Encounter", "ExplanationOfBenefit"),
    *("ImagingStudy", "Immunization", "Location", "Medication", "MedicationAdministration"),
    *("MedicationRequest", "Observation", "Organization", "Patient", "Practitioner"),
    *("PractitionerRole", "Procedure", "Provenance", "RiskAssessment", "SupplyDelivery"),
)
# Types that the sample has none of.
OTHER_TYPES = (
    *("Appointment", "EpisodeOfCare", "FamilyMemberHistory", "Goal", "MedicationDispense"),
    *("MedicationStatement", "QuestionnaireResponse", "ServiceRequest", "Specimen"),
)
KEY = b"k" * 32
PATIENT = {"reference": "Patient/p1"}


def observation(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": "o1", "status": "final", "subject": PATIENT} | more


def strings(value: Any) -> Iterator[str]:
    """Yield every string of a JSON value, names of members included."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


class Planter:
    """Builds a resource of any type in which every string field holds a canary."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.count = 0

    def resource(self) -> dict[str, Any]:
        made = self._object(get_fhir_model_class(self.kind), depth=0)
        return {**made, "resourceType": self.kind, "id": "x1"}

    def _canary(self) -> str:
        self.count += 1
        # In turn: a Chinese name, a romanised one, a lower-case one, an HKID, a phone, an address.
        forms = (
            "陳大文{}",
            "CHAN Tai Man {}",
            "chan{}",
            "A123456({})",
            "+852 9123 45{}",
            "Flat {}",
        )
        return "canary" + forms[self.count % len(forms)].format(self.count)

    def _object(self, model: Any, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, info in model.model_fields.items():
            alias = info.alias or name
            if alias in ("resource_type", "resourceType", "modifierExtension", "implicitRules"):
                continue
            made[alias] = self._value(info, depth)
        return {name: value for name, value in made.items() if value is not None}

    def _value(self, info: Any, depth: int) -> Any:
        text = str(info.annotation)
        many = "List[" in text
        inner = re.search(r"abc\.(\w+)Type\b", text)
        name = inner[1] if inner else ""
        if name in ("Extension", "FHIRPrimitiveExtension", "Resource"):
            # Whole trees of their own; one planted leaf shows whether they pass.
            leaf = {"url": self._canary(), "valueString": self._canary()}
            return {"extension": [leaf]} if name == "FHIRPrimitiveExtension" else [leaf]
        model = get_fhir_model_class(name) if name else None
        if model is not None and depth < 4:
            value: Any = self._object(model, depth + 1)
        elif re.search(r"\b(bool|int|Decimal)\b", text):
            value = 3
        else:
            value = self._canary()
        return [value] if many else value


CONFIRMED = {
    "clinicalStatus": ("condition-clinical", "active"),
    "verificationStatus": ("condition-ver-status", "confirmed"),
}


def settle_modifiers(value: Any, owner: str, node: Node) -> None:
    """Give each modifier element a value that R4 knows: any other drops the whole resource."""
    if isinstance(value, list):
        for item in value:
            settle_modifiers(item, owner, node)
    if not isinstance(value, dict) or node.elements is None:
        return
    for name, modifier in find_modifiers(owner, node).items():
        if name not in value:
            continue
        if modifier == "concept":
            system, code = CONFIRMED[name]
            url = f"http://terminology.hl7.org/CodeSystem/{system}"
            value[name]["coding"].append({"system": url, "code": code})
        elif node.elements[name].values:
            value[name] = min(node.elements[name].values)
        else:
            value[name] = True
    for name, child in node.elements.items():
        settle_modifiers(value.get(name), find_element_type(owner, name), child)


@pytest.mark.parametrize("kind", SAMPLE_TYPES + OTHER_TYPES)
def test_no_canary_of_any_string_field_comes_out(deidentifier: Deidentifier, kind: str) -> None:
    planter = Planter(kind)
    resource = planter.resource()
    settle_modifiers(resource, kind, load_rules().types[kind])
    resource.pop("link", None)  # a Patient that another took the place of is dropped

    kept = deidentifier.scrub(resource)

    assert planter.count > 10
    assert kept is not None and kept["resourceType"] == kind
    assert [text for text in strings(kept) if "canary" in text] == []


def test_every_type_of_the_sample_is_listed_and_consent_is_not() -> None:
    assert set(load_rules().types) == {*SAMPLE_TYPES, *OTHER_TYPES}


@pytest.mark.parametrize("kind", ["Consent", "AuditEvent", "RelatedPerson", "Binary", "Unheard"])
def test_a_type_that_is_not_listed_is_dropped_whole(deidentifier: Deidentifier, kind: str) -> None:
    assert deidentifier.scrub({"resourceType": kind, "id": "x"}) is None


@pytest.mark.parametrize(
    "resource",
    [
        observation(modifierExtension=[{"url": "u"}]),
        observation(implicitRules="http://rules"),
        observation(component=[{"modifierExtension": [{"url": "u"}]}]),
        observation(code={"coding": [{"modifierExtension": [{"url": "u"}]}]}),
        observation(valueQuantity={"value": 1, "modifierExtension": [{"url": "u"}]}),
        observation(status="entered-in-error"),
        observation(status="chan"),
        observation(status=None),
    ],
)
def test_what_may_turn_the_meaning_drops_the_resource(
    deidentifier: Deidentifier, resource: dict[str, Any]
) -> None:
    assert deidentifier.scrub(resource) is None


def test_ids_and_references_are_pseudonyms_that_still_join(deidentifier: Deidentifier) -> None:
    patient = deidentifier.scrub({"resourceType": "Patient", "id": "p1"})
    kept = deidentifier.scrub(observation())

    assert patient is not None and kept is not None
    assert kept["subject"] == {"reference": f"Patient/{patient['id']}"}
    assert patient["id"] == pseudonym(KEY, "Patient/p1")
    assert re.fullmatch("[0-9a-f]{32}", kept["id"])


def test_the_pseudonym_is_the_one_others_can_compute() -> None:
    # HMAC-SHA256 of "Patient/a" under 32 bytes of k, by an independent tool.
    import hashlib
    import hmac

    expected = hmac.new(KEY, b"Patient/a", hashlib.sha256).hexdigest()[:32]

    assert pseudonym(KEY, "Patient/a") == expected


def test_references_of_other_forms_are_dropped(deidentifier: Deidentifier) -> None:
    forms = (
        *("#contained", "urn:uuid:0d1e", "https://elsewhere.org/Patient/p1"),
        *("Practitioner?identifier=npi|1", "Chan/p1", "Patient/p 1", "Coverage/c1"),
    )

    kept = deidentifier.scrub(observation(performer=[{"reference": form} for form in forms]))

    assert kept is not None and "performer" not in kept


def test_dates_of_one_patient_move_together_and_keep_their_intervals(
    deidentifier: Deidentifier,
) -> None:
    encounter = deidentifier.scrub(
        {
            "resourceType": "Encounter",
            "id": "e",
            "status": "finished",
            "subject": PATIENT,
            "period": {"start": "2020-02-28T23:50:00+08:00", "end": "2020-03-02T01:00:00+08:00"},
        }
    )
    kept = deidentifier.scrub(observation(effectiveDateTime="2020-02-29"))

    assert encounter is not None and kept is not None
    start, end = (datetime.fromisoformat(encounter["period"][name]) for name in ("start", "end"))
    # By days: the times of day are cut off, and the length of the stay is kept beside it.
    assert str(end - start) == "3 days, 0:00:00"
    assert encounter["length"]["value"] == 50
    moved = datetime.fromisoformat(kept["effectiveDateTime"])
    assert (moved.date() - start.date()).days == 1
    assert (datetime(2020, 2, 29) - moved).days in range(7, 365, 7)


def test_shifts_are_whole_weeks_never_none_and_spread() -> None:
    shifts = {shift(KEY, str(n)) for n in range(2000)}

    assert shifts == {-7 * n for n in range(1, 53)}


@pytest.mark.parametrize(
    "value",
    ["2020", "2020-02-30", "yesterday", "2020-02-01 chan", 20200201, "0001-01-01"],
)
def test_a_date_that_cannot_be_moved_is_dropped(deidentifier: Deidentifier, value: object) -> None:
    kept = deidentifier.scrub(observation(effectiveDateTime=value))

    assert kept is not None and "effectiveDateTime" not in kept


def test_a_date_without_a_patient_is_dropped(deidentifier: Deidentifier) -> None:
    resource = observation(effectiveDateTime="2020-01-01")
    del resource["subject"]

    kept = deidentifier.scrub(resource)

    assert kept is not None and "effectiveDateTime" not in kept


@pytest.mark.parametrize(
    ("born", "kept"),
    [
        ("1980-05-17", "1980"),
        ("1980", "1980"),
        ("1936-12-31", "1936"),
        ("1935-01-01", "1936"),
        ("1901", "1936"),
        ("chan", None),
    ],
)
def test_births_are_years_and_ninety_is_one_class(
    deidentifier: Deidentifier, born: str, kept: str | None
) -> None:
    patient = deidentifier.scrub({"resourceType": "Patient", "id": "p", "birthDate": born})

    assert patient is not None and patient.get("birthDate") == kept


def test_what_happened_before_the_oldest_class_is_dropped(deidentifier: Deidentifier) -> None:
    kept = deidentifier.scrub(observation(effectiveDateTime="1930-01-01"))

    assert kept is not None and "effectiveDateTime" not in kept


def test_ages_over_ninety_are_ninety(deidentifier: Deidentifier) -> None:
    years = {"value": 97, "system": "http://unitsofmeasure.org", "code": "a", "unit": "years"}
    kept = deidentifier.scrub(observation(valueQuantity=years))
    condition = deidentifier.scrub(
        {"resourceType": "Condition", "id": "c", "subject": PATIENT, "onsetAge": {"value": 95}}
    )

    assert kept is not None and kept["valueQuantity"]["value"] == 90
    assert condition is not None and condition["onsetAge"] == {"value": 90}


@pytest.mark.parametrize(
    ("address", "region"),
    [
        ({"district": "Kwun Tong"}, "Kowloon"),
        ({"district": "沙田"}, "New Territories"),
        ({"city": "Southern", "line": ["1 Road"]}, "Hong Kong Island"),
        ({"state": "MA", "city": "Concord"}, None),
    ],
)
def test_an_address_is_its_region_alone(
    deidentifier: Deidentifier, address: dict[str, Any], region: str | None
) -> None:
    patient = deidentifier.scrub({"resourceType": "Patient", "id": "p", "address": [address]})

    expected = [{"state": region, "country": "HK"}] if region else None
    assert patient is not None and patient.get("address") == expected


def test_all_eighteen_districts_have_a_region() -> None:
    english = {name for name in load_rules().regions if name.isascii()}

    assert len(english) == 18


def test_the_authors_choice_of_a_code_is_kept(deidentifier: Deidentifier) -> None:
    codings = [
        {"system": "http://loinc.org", "code": "8867-4", "userSelected": selected}
        for selected in (True, False, "true", 1)
    ]

    out = deidentifier.scrub(observation(code={"coding": codings}))

    assert out is not None
    told = [coding.get("userSelected") for coding in out["code"]["coding"]]
    assert told == [True, None, None, None]


@pytest.mark.parametrize(
    ("coding", "kept"),
    [
        ({"system": "http://loinc.org", "code": "8302-2", "display": "Height of Chan"}, True),
        ({"system": "http://loinc.org", "code": "Chan"}, False),
        ({"system": "http://snomed.info/sct", "code": "A123456"}, False),
        ({"system": "https://hospital.example/local", "code": "8302-2"}, False),
        ({"code": "8302-2"}, False),
    ],
)
def test_a_coding_passes_as_a_code_of_a_known_system_or_not_at_all(
    deidentifier: Deidentifier, coding: dict[str, str], kept: bool
) -> None:
    out = deidentifier.scrub(observation(code={"coding": [coding], "text": "Chan's height"}))

    expected = {"coding": [{"system": coding.get("system"), "code": coding["code"]}]}
    assert out is not None and out.get("code") == (expected if kept else None)


def test_one_key_gives_one_result_and_another_key_shares_nothing(
    deidentifier: Deidentifier,
) -> None:
    resource = observation(performer=[{"reference": "Practitioner/d"}])
    again = Deidentifier(load_rules(), KEY).scrub(resource)
    other = Deidentifier(load_rules(), b"l" * 32).scrub(resource)

    assert deidentifier.scrub(resource) == again
    assert again is not None and other is not None
    hexadecimal = re.compile("[0-9a-f]{32}")
    assert not set(hexadecimal.findall(str(again))) & set(hexadecimal.findall(str(other)))


def test_a_deidentifier_travels_to_a_worker(deidentifier: Deidentifier) -> None:
    copy = pickle.loads(pickle.dumps(deidentifier))

    assert copy.scrub(observation()) == deidentifier.scrub(observation())


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Deidentifier(load_rules(), b"short")


RULES = """version = "1"
reference_year = 2026
[systems]
[regions]
[values]
[datatypes.Period]
start = "dateshift"
[types.Patient]
{}
"""


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ('gender = "hash"', "line 9.*gender.*no method or datatype"),
        ('gender = "=sex"', "line 9.*no list of values"),
        ("gender = 3", "line 9.*a rule is"),
        ("gender = []", "line 9.*closed list"),
        ('name = "keep"\n"name.given" = "keep"', "line 10.*above this one"),
        ('"name.given" = "keep"\nname = "keep"', "line 10.*two rules"),
        ('gender = "keep"\n[rare_codes]\npersons = 1', "line 11.*persons.*2 or more"),
        ('gender = "keep"\n[rare_codes]\npersons = 5\nuncounted = "x"', "line 12.*a list"),
        ("gender", "deid.toml"),
    ],
)
def test_a_wrong_rule_is_an_error_that_names_its_line(rule: str, why: str) -> None:
    with pytest.raises(RulesError, match=why):
        parse_rules(RULES.format(rule))


def test_synthea_comes_through_without_a_name_and_with_its_codes(
    shared_data: Path, deidentifier: Deidentifier
) -> None:
    folder = shared_data / "synthea-r4-bulk-47"
    patients = list(lines(folder / "Patient.ndjson.gz"))
    secrets = {
        text
        for patient in patients
        for name in ("name", "telecom", "identifier")
        for entry in patient.get(name, ())
        for text in strings([entry.get("family"), entry.get("given"), entry.get("value")])
    } | {text for patient in patients for text in strings(patient["address"][0]["line"])}

    for kind in SAMPLE_TYPES:
        path = folder / f"{kind}.ndjson.gz"
        for resource in lines(path) if path.exists() else ():
            kept = deidentifier.scrub(resource)
            assert kept is not None
            out = json.dumps(kept)
            assert resource["id"] not in out
            assert not secrets & set(strings(kept))
            if kind in ("Condition", "Procedure", "Immunization"):
                name = "vaccineCode" if kind == "Immunization" else "code"
                assert kept[name]["coding"][0]["code"] == resource[name]["coding"][0]["code"]


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the resources of a file, at most three hundred."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file):
            if number < 300:
                yield json.loads(line)
