"""From FHIR resources to rule rows; what cannot be enforced is refused with its path."""

from __future__ import annotations

from json import dumps, loads
from typing import Any

import pytest

from ehr_fhir.errors import Unprocessable, operation_outcome
from ehr_privacy.consent import SOURCE_TABLES, TABLES, rule_rows

CODES = "https://ehr-commons.hk/fhir/CodeSystem"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
ROLE = {"coding": [{"system": f"{TERMINOLOGY}/v3-ParticipationType", "code": "IRCP"}]}
CLINIC = {"role": ROLE, "reference": {"reference": "Organization/kwun-fong"}}
PERSON = {"role": ROLE, "reference": {"reference": "Practitioner/dr.lee"}}
CARER = {"role": ROLE, "reference": {"reference": "RelatedPerson/c.may"}}
TERM = {"start": "2026-01-01", "end": "2026-01-31"}
JANUARY, FEBRUARY = 1767196800000, 1769875200000


def consent(category: str, provision: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    made = {
        "resourceType": "Consent",
        "id": "c",
        "status": "active",
        "scope": {"coding": [{"system": f"{TERMINOLOGY}/consentscope", "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": f"{CODES}/consent-category", "code": category}]}],
        "patient": {"reference": "Patient/ann"},
        "provision": provision,
    }
    return {name: value for name, value in {**made, **more}.items() if value is not None}


def account(name: str, *links: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": name, "link": list(links)}


def link(kind: str, reference: str) -> dict[str, Any]:
    return {"type": kind, "other": {"reference": reference}}


def refused_at(resource: dict[str, Any]) -> str | None:
    with pytest.raises(Unprocessable) as refused:
        rule_rows(resource)
    expression = operation_outcome(refused.value)["issue"][0].get("expression")
    return expression[0] if expression else None


def test_joining_needs_no_provision_and_begins_when_it_was_given() -> None:
    (row,) = rule_rows(consent("joining", None, dateTime="2026-01-01T12:00:00+08:00"))

    assert row.table == "consent_joining"
    assert row.values == {
        "consent": "c",
        "patient": "ann",
        "since": JANUARY + 12 * 3_600_000,
        "until": None,
    }


def test_dates_are_whole_days_of_hong_kong() -> None:
    (row,) = rule_rows(consent("sharing", {"type": "permit", "period": TERM, "actor": [CLINIC]}))

    assert (row.values["since"], row.values["until"]) == (JANUARY, FEBRUARY)
    assert row.values["organization"] == "kwun-fong"


def test_an_end_includes_its_last_second() -> None:
    period = {"start": "2026-01-01T00:00:00+08:00", "end": "2026-01-31T23:59:59+08:00"}

    (row,) = rule_rows(consent("sharing", {"type": "permit", "period": period, "actor": [CLINIC]}))

    assert (row.values["since"], row.values["until"]) == (JANUARY, FEBRUARY)


def test_several_values_of_one_kind_are_alternatives() -> None:
    provision = {
        "type": "deny",
        "class": [{"system": f"{CODES}/data-domain", "code": d} for d in ("birth", "radiology")],
        "actor": [CLINIC, PERSON],
        "provision": [{"type": "permit", "actor": [PERSON]}],
    }

    rows = rule_rows(consent("restriction", provision))

    assert [row.table for row in rows] == ["consent_restriction"] * 4 + ["consent_exception"]
    assert {(row.values["domain"], row.values["actor_value"]) for row in rows[:4]} == {
        ("birth", "kwun-fong"),
        ("birth", "dr.lee"),
        ("radiology", "kwun-fong"),
        ("radiology", "dr.lee"),
    }


def test_every_row_has_exactly_the_columns_of_its_table() -> None:
    everyone = {"type": "deny"}
    data = [{"meaning": "instance", "reference": {"reference": "Observation/o"}}]
    grant = {"type": "permit", "actor": [PERSON, CLINIC], "period": TERM}
    resources = [
        consent("joining", None),
        consent("sharing", {"type": "permit", "actor": [CLINIC]}),
        consent("restriction", {**everyone, "provision": [{"type": "permit"}]}),
        consent("research", everyone),
        consent("step-up", grant),
        consent("emergency", {**grant, "period": {"start": "2026-01-01T00:00:00Z"}}),
        consent("carer", {"type": "permit", "actor": [CARER]}),
        consent("hold", {"type": "deny", "actor": [CLINIC], "data": data, "period": TERM}),
        account("ann", link("replaced-by", "Patient/bob")),
        {
            "resourceType": "Organization",
            "id": "ha",
            "extension": [
                {
                    "url": "https://ehr-commons.hk/fhir/StructureDefinition/deemed-sharing",
                    "valuePeriod": {"start": "2016-03-13"},
                }
            ],
        },
        {
            "resourceType": "PractitionerRole",
            "id": "yu-at-ha",
            "practitioner": {"reference": "Practitioner/yu"},
            "organization": {"reference": "Organization/ha"},
        },
    ]

    rows = [(r["resourceType"], row) for r in resources for row in rule_rows(r)]

    assert {row.table for _, row in rows} == set(TABLES)
    for kind, row in rows:
        assert set(row.values) == {column.name for column in TABLES[row.table]}
        assert row.table in SOURCE_TABLES[kind]
        for column in TABLES[row.table]:
            value = row.values[column.name]
            assert column.nullable or value is not None
            assert value is None or isinstance(value, str if column.type == "TEXT" else int)


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "Observation", "id": "o"},
        {"resourceType": "RelatedPerson", "id": "r"},
        {"resourceType": "Organization", "id": "o"},
        consent("sharing", {"type": "nonsense"}, status="inactive"),
        consent("sharing", {"type": "nonsense"}, status="entered-in-error"),
        consent(
            "x", None, scope={"coding": [{"system": f"{TERMINOLOGY}/consentscope", "code": "adr"}]}
        ),
    ],
)
def test_what_is_no_rule_makes_no_rows(resource: dict[str, Any]) -> None:
    assert rule_rows(resource) == []


def deny(**more: Any) -> dict[str, Any]:
    return consent("restriction", {"type": "deny", **more})


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        (deny(code=[{"text": "x"}]), "Consent.provision.code"),
        (deny(extension=[{"url": "u"}]), "Consent.provision.extension[0]"),
        (deny(modifierExtension=[{"url": "u"}]), "Consent.provision.modifierExtension"),
        (deny(purpose=[{"code": "HPAYMT"}]), "Consent.provision.purpose"),
        (deny(purpose=[{"code": "HRESCH"}]), "Consent.provision.purpose"),
        (deny(purpose=[{"code": "ETREAT"}]), "Consent.provision.purpose"),
        (
            deny(provision=[{"type": "permit", "purpose": [{"code": "ETREAT"}]}]),
            "Consent.provision.provision[0].purpose",
        ),
        (
            consent(
                "sharing", {"type": "permit", "actor": [CLINIC], "purpose": [{"code": "ETREAT"}]}
            ),
            "Consent.provision.purpose",
        ),
        (deny(action=[{"coding": [{"code": "correct"}]}]), "Consent.provision.action"),
        (
            deny(actor=[{"reference": {"reference": "Organization/x"}}]),
            "Consent.provision.actor[0].role",
        ),
        (
            deny(actor=[{"role": ROLE, "reference": {"reference": "Group/x"}}]),
            "Consent.provision.actor[0].reference",
        ),
        (
            deny(
                actor=[
                    {
                        "role": ROLE,
                        "reference": {
                            "identifier": {"system": f"{CODES}/profession", "value": "spy"}
                        },
                    }
                ]
            ),
            "Consent.provision.actor[0].reference.identifier",
        ),
        (
            deny(**{"class": [{"system": f"{CODES}/data-domain", "code": "secrets"}]}),
            "Consent.provision.class[0]",
        ),
        (
            deny(
                **{
                    "class": [
                        {"system": "http://hl7.org/fhir/resource-types", "code": "Observation"}
                    ]
                }
            ),
            "Consent.provision.class[0]",
        ),
        (
            deny(securityLabel=[{"system": f"{TERMINOLOGY}/v3-Confidentiality", "code": "N"}]),
            "Consent.provision.securityLabel",
        ),
        (
            deny(data=[{"meaning": "dependents", "reference": {"reference": "Observation/o"}}]),
            "Consent.provision.data[0].meaning",
        ),
        (
            deny(data=[{"meaning": "related", "reference": {"reference": "Observation/o"}}]),
            "Consent.provision.data[0].meaning",
        ),
        (
            deny(data=[{"meaning": "authoredby", "reference": {"reference": "Patient/p"}}]),
            "Consent.provision.data[0].meaning",
        ),
        (
            deny(
                data=[
                    {
                        "meaning": "instance",
                        "reference": {"reference": "https://x.org/Observation/o"},
                    }
                ]
            ),
            "Consent.provision.data[0].reference",
        ),
        (deny(dataPeriod={"start": "2026-01-01T10:00:00Z"}), "Consent.provision.dataPeriod"),
        (deny(period={"start": "2026-02-01", "end": "2026-01-01"}), "Consent.provision.period"),
        (deny(period={"start": "2026-01-01T10:00:00"}), "Consent.provision.period.start"),
        (deny(provision=[{"type": "deny"}]), "Consent.provision.provision[0].type"),
        (
            deny(provision=[{"type": "permit", "period": TERM}]),
            "Consent.provision.provision[0].period",
        ),
        (
            deny(provision=[{"type": "permit", "provision": [{"type": "deny"}]}]),
            "Consent.provision.provision[0].provision",
        ),
        (consent("restriction", {"type": "permit"}), "Consent.provision.type"),
        (consent("restriction", None), "Consent.provision"),
        (consent("sharing", {"type": "deny", "actor": [CLINIC]}), "Consent.provision.type"),
        (consent("sharing", {"type": "permit"}), "Consent.provision.actor"),
        (consent("sharing", {"type": "permit", "actor": [PERSON]}), "Consent.provision.actor"),
        (
            consent("sharing", {"type": "permit", "actor": [CLINIC], "dataPeriod": TERM}),
            "Consent.provision.dataPeriod",
        ),
        (consent("joining", {"type": "deny"}), "Consent.provision.type"),
        (
            consent("step-up", {"type": "permit", "actor": [PERSON, CLINIC]}),
            "Consent.provision.period.end",
        ),
        (
            consent("step-up", {"type": "permit", "actor": [PERSON], "period": TERM}),
            "Consent.provision.actor",
        ),
        (
            consent("emergency", {"type": "permit", "actor": [PERSON, CLINIC]}),
            "Consent.provision.period.start",
        ),
        (
            consent("emergency", {"type": "permit", "actor": [PERSON, CLINIC], "period": TERM}),
            "Consent.provision.period.end",
        ),
        (consent("research", {"type": "deny", "actor": [CLINIC]}), "Consent.provision.actor"),
        (consent("carer", {"type": "permit", "actor": [CLINIC]}), "Consent.provision.actor"),
        (
            consent(
                "carer",
                {"type": "permit", "actor": [CARER], "action": [{"coding": [{"code": "access"}]}]},
            ),
            "Consent.provision.action",
        ),
        (
            consent("hold", {"type": "deny", "actor": [CLINIC], "period": TERM}),
            "Consent.provision.data",
        ),
        (consent("unheard", {"type": "permit"}), "Consent.category"),
        (
            consent("joining", None, patient={"reference": "https://x.org/Patient/ann"}),
            "Consent.patient",
        ),
        (consent("joining", None, patient={"display": "Ann"}), "Consent.patient"),
        (consent("joining", None, id=None), "Consent.id"),
        (consent("joining", None, modifierExtension=[{"url": "u"}]), "Consent.modifierExtension"),
        (
            consent("joining", {"type": "permit"}, scope={"coding": [{"code": "treatment"}]}),
            "Consent.scope",
        ),
    ],
)
def test_what_cannot_be_enforced_is_refused_with_its_path(
    resource: dict[str, Any], path: str
) -> None:
    assert refused_at(resource) == path


def test_a_partial_or_missing_birth_date_limits_carers_for_longer_never_for_less() -> None:
    def term(birth: str | None) -> tuple[Any, Any]:
        patient = {"resourceType": "Patient", "id": "p", "birthDate": birth}
        (row,) = rule_rows({k: v for k, v in patient.items() if v})
        return row.values["since"], row.values["until"]

    exact, year = term("2010-06-15"), term("2010")

    assert year[0] < exact[0] and exact[1] < year[1]
    assert term(None) == (0, None)
    assert term("chan") == (0, None)


def test_only_a_link_that_says_the_same_person_of_another_account_here_counts() -> None:
    resource = account(
        "ann",
        link("replaced-by", "Patient/bob"),
        link("replaces", "Patient/old/_history/2"),
        link("replaces", "Patient/bob"),
        link("refer", "Patient/referred"),
        link("seealso", "Patient/seen"),
        link("replaces", "Patient/ann"),
        link("replaced-by", "RelatedPerson/rel"),
        link("replaced-by", "http://elsewhere.org/fhir/Patient/far"),
        {"type": "replaces", "other": {"identifier": {"value": "1"}}},
        {"type": "replaces"},
    )

    rows = [row.values for row in rule_rows(resource) if row.table == "consent_link"]

    assert rows == [
        {"consent": "ann", "patient": "ann", "other": other} for other in ("bob", "old")
    ]


@pytest.mark.parametrize(
    ("canonical", "spelling"),
    [
        (f"{TERMINOLOGY}/consentscope", "http://hl7.org/fhir/consentscope"),
        (f"{TERMINOLOGY}/consentscope", f"{TERMINOLOGY}/consentscope|1.0"),
        (f"{TERMINOLOGY}/v3-ParticipationType", "urn:oid:2.16.840.1.113883.5.90"),
        (f"{TERMINOLOGY}/v3-ActCode", "http://hl7.org/fhir/v3/ActCode"),
        (f"{TERMINOLOGY}/v3-ActCode", "urn:oid:2.16.840.1.113883.5.4"),
    ],
)
def test_a_consent_holds_in_every_spelling_of_its_systems(canonical: str, spelling: str) -> None:
    label = [{"system": f"{TERMINOLOGY}/v3-ActCode", "code": "PSY"}]
    written = consent("restriction", {"type": "deny", "actor": [CLINIC], "securityLabel": label})
    assert canonical in dumps(written)

    respelled = loads(dumps(written).replace(canonical, spelling))

    assert rule_rows(respelled) == rule_rows(written)
