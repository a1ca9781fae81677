"""Elements that change what a rule means: each that R4 has is understood or refused (§2.6.1)."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ehr_fhir import definitions
from ehr_fhir.errors import Unprocessable
from ehr_privacy.consent import SOURCE_TABLES, rule_rows, stored_rule_rows
from ehr_privacy.consent.modifiers import DEEMED

Json = dict[str, Any]
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
CODES = "https://ehr-commons.hk/fhir/CodeSystem"
MODIFIER = {"modifierExtension": [{"url": "http://example.org/not", "valueBoolean": True}]}
RULES = {"implicitRules": "http://example.org/rules"}
ROLE = {"coding": [{"system": f"{TERMINOLOGY}/v3-ParticipationType", "code": "IRCP"}]}
PROFESSION = {"system": f"{CODES}/profession", "value": "pharmacist"}
CONSENT: Json = {
    "resourceType": "Consent",
    "id": "c",
    "status": "active",
    "contained": [
        {"resourceType": "Organization", "id": "o", "contact": [{"name": {"text": "x"}}]}
    ],
    "scope": {"coding": [{"system": f"{TERMINOLOGY}/consentscope", "code": "patient-privacy"}]},
    "category": [{"coding": [{"system": f"{CODES}/consent-category", "code": "restriction"}]}],
    "patient": {"reference": "Patient/p"},
    "policy": [{"uri": "http://example.org/policy"}],
    "verification": [{"verified": True}],
    "provision": {
        "type": "deny",
        "actor": [{"role": ROLE, "reference": {"identifier": PROFESSION}}],
        "data": [{"meaning": "instance", "reference": {"reference": "Observation/1"}}],
        "provision": [
            {
                "type": "permit",
                "actor": [{"role": ROLE, "reference": {"reference": "Organization/a"}}],
                "data": [{"meaning": "instance", "reference": {"reference": "Observation/1"}}],
            }
        ],
    },
}
PERIOD = {"url": DEEMED, "valuePeriod": {"start": "2026-01-01"}}
ORGANIZATION: Json = {"resourceType": "Organization", "id": "o", "extension": [PERIOD]}
PATIENT: Json = {
    "resourceType": "Patient",
    "id": "p",
    "link": [{"other": {"reference": "Patient/q"}, "type": "replaces"}],
}
# What R4 marks as modifying in the types that rules come from, and what becomes of it.
UNDERSTOOD = {
    "Consent.status", "Consent.scope", "Organization.active", "Patient.active",
    "Patient.deceased[x]", "Patient.link",
}  # fmt: skip
# Of a contact or a language: no rule is read from these parts.
NOT_READ = {
    "Organization.contact.modifierExtension", "Patient.contact.modifierExtension",
    "Patient.communication.modifierExtension", "PractitionerRole.availableTime.modifierExtension",
}  # fmt: skip


def refused_at(resource: Json) -> str | None:
    """Return the place at which the rules refuse a resource."""
    try:
        rule_rows(resource)
    except Unprocessable as error:
        return error.issues[0].expression
    return None


def places(node: Any, path: str) -> Iterator[tuple[Json, str]]:
    """Yield every object of a resource and its path."""
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from places(item, f"{path}[{number}]")
    elif isinstance(node, dict):
        yield node, path
        for name, value in node.items():
            yield from places(value, f"{path}.{name}")


def test_what_the_tests_start_from_is_a_rule() -> None:
    assert [bool(rule_rows(one)) for one in (CONSENT, ORGANIZATION, PATIENT)] == [True] * 3


@pytest.mark.parametrize("modifier", [MODIFIER, RULES], ids=["modifierExtension", "implicitRules"])
@pytest.mark.parametrize("prefix", ["", "_"])
def test_an_unknown_modifier_is_refused_at_any_depth_of_a_consent(
    modifier: Json, prefix: str
) -> None:
    (name,) = modifier
    count = len(list(places(CONSENT, "Consent")))
    for number in range(count):
        consent = json.loads(json.dumps(CONSENT))
        node, path = list(places(consent, "Consent"))[number]
        node[f"{prefix}{name}"] = modifier[name]

        assert refused_at(consent) == f"{path}.{name}"

    assert count > 20


def test_an_identifier_that_is_old_names_nobody() -> None:
    consent = copy.deepcopy(CONSENT)
    identifier = consent["provision"]["actor"][0]["reference"]["identifier"]
    identifier["use"] = "official"
    assert refused_at(consent) is None
    consent["provision"]["actor"][0]["reference"]["identifier"] = {**identifier, "use": "old"}

    assert refused_at(consent) == "Consent.provision.actor[0].reference.identifier.use"


@pytest.mark.parametrize(
    "change",
    [
        {"status": "inactive"},
        {"status": "draft"},
        {"scope": {"coding": [{"system": f"{TERMINOLOGY}/consentscope", "code": "adr"}]},
         "provision": None},
    ],
)  # fmt: skip
def test_a_consent_that_is_no_rule_may_bear_any_modifier(change: Json) -> None:
    consent = {**CONSENT, **change, **RULES}

    assert rule_rows({name: value for name, value in consent.items() if value is not None}) == []


def test_accounts_deeming_and_membership_are_not_read_beside_a_modifier() -> None:
    for modifier in (MODIFIER, RULES):
        (name,) = modifier
        assert refused_at({**PATIENT, **modifier}) == f"Patient.{name}"
        assert refused_at({**ORGANIZATION, **modifier}) == f"Organization.{name}"
        assert refused_at({"resourceType": "Organization", "id": "o", **modifier}) is None
    link = {**PATIENT["link"][0], **MODIFIER}
    assert refused_at({**PATIENT, "link": [link]}) == "Patient.link[0].modifierExtension"
    role = {"resourceType": "PractitionerRole", "id": "r", **RULES}
    assert refused_at(role) is None
    named = {"practitioner": {"reference": "Practitioner/a"},
             "organization": {"reference": "Organization/b"}}  # fmt: skip
    assert refused_at({**role, **named}) == "PractitionerRole.implicitRules"


def test_nobody_is_deemed_to_share_with_an_organisation_that_is_no_more() -> None:
    assert rule_rows({**ORGANIZATION, "active": True}) != []
    assert rule_rows({**ORGANIZATION, "active": False}) == []


def test_every_modifier_of_the_definitions_is_understood_or_refused() -> None:
    refused = {
        f"{owner}.{name}"
        for owner in definitions.elements()
        if owner.partition(".")[0] in SOURCE_TABLES
        for name in definitions.marked_elements(owner, "isModifier")
    } - UNDERSTOOD

    assert {name for name in refused if name.rpartition(".")[2] not in (*MODIFIER, *RULES)} == set()
    assert refused >= NOT_READ


def test_what_an_earlier_version_took_stays_in_force_until_it_is_written_again() -> None:
    for resource in (CONSENT, ORGANIZATION, PATIENT):
        assert stored_rule_rows({**resource, **RULES}) == rule_rows(resource)
