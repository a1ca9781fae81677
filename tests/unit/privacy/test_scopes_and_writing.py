"""Scopes, role tables, and who may write."""

from __future__ import annotations

import pytest

from ehr_fhir.errors import Invalid
from ehr_privacy.consent import (
    DOMAINS,
    PROFESSIONS,
    Record,
    Requester,
    covers_interaction,
    has_scope,
    load_roles,
    may_write,
    parse_scopes,
)
from ehr_privacy.consent.roles import parse_roles

OF_ANN = Record("Observation", "o", frozenset({"ann"}), "observation", author="clinic")


@pytest.mark.parametrize(
    ("scope", "interaction", "covered"),
    [
        ("user/*.rs", "read", True),
        ("user/*.rs", "vread", True),
        ("user/*.rs", "history", True),
        ("user/*.r", "search", False),
        ("user/*.s", "search", True),
        ("user/*.s", "read", False),
        ("user/Observation.cruds", "delete", True),
        ("user/Condition.cruds", "read", False),
        ("user/*.read", "search", True),
        ("user/*.read", "create", False),
        ("user/*.write", "update", True),
        ("user/*.write", "read", False),
        ("system/*.*", "delete", True),
        ("openid fhirUser", "read", False),
    ],
)
def test_a_scope_covers_the_interactions_of_its_letters(
    scope: str, interaction: str, covered: bool
) -> None:
    scopes = parse_scopes(scope)

    assert covers_interaction(scopes, interaction, "Observation", in_patient=False) is covered


@pytest.mark.parametrize(
    "scope",
    ["user/*.sr", "user/*.x", "user/*", "users/*.r", "everything", "patient/Observation.rs?x=1"],
)
def test_a_scope_that_is_not_understood_is_refused_never_ignored(scope: str) -> None:
    with pytest.raises(Invalid):
        parse_scopes(f"openid {scope}")


def test_named_scopes_are_kept() -> None:
    assert has_scope(parse_scopes("ehr/feed.read user/*.r"), "ehr/feed.read")
    assert not has_scope(parse_scopes("user/*.r"), "ehr/feed.read")


def test_every_profession_has_a_cell_for_every_domain() -> None:
    roles = load_roles()

    cells = {roles.cell("clinician", p, d) for p in PROFESSIONS for d in DOMAINS}

    assert cells == {"open", "restricted", "none"}
    assert all(set(roles.cells[p]) == set(DOMAINS) for p in (*PROFESSIONS, "system"))


def test_the_public_facts_of_hong_kong_are_in_the_role_table() -> None:
    cells = load_roles().cells

    restricted = {d for d, cell in cells["pharmacist"].items() if cell == "restricted"}
    assert restricted == {"birth", "radiology", "investigation", "other"}
    for domain in ("birth", "laboratory", "radiology", "investigation", "referral"):
        assert cells["dentist"][domain] == "open"


@pytest.mark.parametrize("wrong", ['person = "maybe"', 'secrets = "open"'])
def test_a_wrong_cell_is_an_error_that_names_its_row(wrong: str) -> None:
    text = f'platform = "p"\ndomains = ["person"]\n[cells.doctor]\n{wrong}\n'

    with pytest.raises(ValueError, match=r"roles\.toml: cells\.doctor"):
        parse_roles(text)


def who(role: str, organization: str | None = "clinic", scopes: str = "user/*.cruds") -> Requester:
    return Requester(
        role,
        "x",
        organization,
        "doctor" if role == "clinician" else None,
        "TREAT",
        "ann",
        parse_scopes(scopes),
    )


CONSENT = Record("Consent", "c", frozenset({"ann"}))
HERBS = Record("MedicationRequest", "m", frozenset({"ann"}), "chinese-medicine")
SCORE = Record("RiskAssessment", "r", frozenset({"ann"}))
PATIENT = Record("Patient", "ann", frozenset({"ann"}), "person")
HOSPITAL = Record("Organization", "h", directory=True)
PLACE = Record("Location", "l", directory=True)


@pytest.mark.parametrize(
    ("requester", "interaction", "record", "joined", "visible", "answer"),
    [
        (who("clinician"), "create", OF_ANN, True, True, "deposit"),
        (who("clinician", scopes="user/*.rs"), "create", OF_ANN, True, True, "no scope"),
        (who("clinician"), "create", HERBS, True, True, "no role"),
        (who("clinician"), "create", OF_ANN, False, True, "no not-joined"),
        (who("clinician"), "create", PATIENT, False, True, "deposit"),
        (who("clinician"), "update", OF_ANN, True, True, "deposit"),
        (who("clinician"), "update", OF_ANN, True, False, "no not-visible"),
        (who("clinician"), "delete", OF_ANN, True, False, "no not-visible"),
        (who("clinician"), "create", CONSENT, True, True, "no role"),
        (who("clinician"), "create", HOSPITAL, True, True, "no role"),
        (who("clinician"), "create", PLACE, True, True, "deposit"),
        (who("system"), "create", OF_ANN, True, True, "deposit"),
        (who("system"), "create", CONSENT, True, True, "no role"),
        (who("system"), "create", HOSPITAL, True, True, "no role"),
        (who("system", "ehr-commons"), "create", OF_ANN, False, True, "platform"),
        (who("system", "ehr-commons"), "update", OF_ANN, False, False, "platform"),
        # What it works out itself takes joining, as a hospital's deposit does.
        (who("system", "ehr-commons"), "create", SCORE, False, True, "no not-joined"),
        (who("system", "ehr-commons"), "update", SCORE, False, True, "no not-joined"),
        (who("system", "ehr-commons"), "update", SCORE, True, False, "platform"),
        (who("system", "ehr-commons"), "create", CONSENT, False, True, "platform"),
        (who("system", "ehr-commons"), "create", HOSPITAL, False, True, "platform"),
        (who("clinician", "ehr-commons"), "create", CONSENT, False, True, "no role"),
        (who("patient", None), "create", CONSENT, False, True, "patient"),
        (who("patient", None), "create", OF_ANN, True, True, "no role"),
        (
            who("patient", None),
            "update",
            Record("Consent", "c", frozenset({"bob"})),
            True,
            True,
            "no not-own",
        ),
        (who("patient", None), "create", Record("Consent", "c"), True, True, "no not-own"),
        (who("carer", None), "create", CONSENT, True, True, "no no-power"),
        (who("steward", None), "create", CONSENT, True, True, "steward"),
        (who("steward", None), "create", OF_ANN, True, True, "no role"),
        (who("administrator", None), "update", HOSPITAL, True, True, "administrator"),
        (who("administrator", None), "update", PLACE, True, True, "directory"),
        (who("administrator", None), "create", OF_ANN, True, True, "no role"),
        (who("researcher", None), "create", OF_ANN, True, True, "no role"),
        (who("auditor", None), "create", Record("AuditEvent", "a"), True, True, "no role"),
    ],
)
def test_who_may_write(
    requester: Requester, interaction: str, record: Record, joined: bool, visible: bool, answer: str
) -> None:
    decision = may_write(requester, interaction, record, joined, visible)

    assert f"{'' if decision.permit else 'no '}{decision.reason}" == answer


@pytest.mark.parametrize(
    ("requester", "answer"),
    [
        (who("patient", None), "no held"),
        (who("carer", None), "no held"),
        (who("steward", None), "steward"),
        (who("system", "ehr-commons"), "platform"),
    ],
)
def test_who_may_write_a_hold(requester: Requester, answer: str) -> None:
    decision = may_write(requester, "update", CONSENT, True, True, manages=True, holds=True)

    assert f"{'' if decision.permit else 'no '}{decision.reason}" == answer


def test_a_carer_who_manages_may_write_consents() -> None:
    assert may_write(who("carer", None), "create", CONSENT, True, True, manages=True).permit
