"""From FHIR resources to rule rows.

Only an active Consent makes rows. What it asks and the rules cannot enforce is refused with the
element's path (422), so that nothing is stored as if it held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ehr_fhir.errors import Unprocessable
from ehr_fhir.references import local_target
from ehr_privacy.consent.clinical_consents import CATEGORY, SCOPE, is_clinical_consent
from ehr_privacy.consent.decide import TREATMENT
from ehr_privacy.consent.label_permits import closed_labels, closing_rows, rules_by_label
from ehr_privacy.consent.minor_terms import minor_term
from ehr_privacy.consent.model import RuleRow, Value
from ehr_privacy.consent.modifiers import DEEMED, PATIENT_PRIVACY, refuse_unknown_modifiers
from ehr_privacy.consent.pcf import pcf_rule_rows
from ehr_privacy.consent.provision import (
    Provision,
    concept_codes,
    list_objects,
    read_provision,
    read_term,
    refuse,
)

Json = Mapping[str, Any]  # JSON of every shape

_LOINC_CONSENT = ("http://loinc.org", "59284-0")
_DAY_MS = 86_400_000
# How long a declared emergency lasts (our setting).
EMERGENCY_MS = _DAY_MS
# What Patient.link says of two accounts of one person; `refer` and `seealso` do not say so.
_MERGED = ("replaced-by", "replaces")


def rule_rows(resource: Json) -> list[RuleRow]:
    """Return the rule rows of a Consent, Organization, Patient or PractitionerRole.

    Other resources have none.

    Raises Unprocessable, with the element's path, for what cannot be enforced.
    """
    refuse_unknown_modifiers(resource)
    return stored_rule_rows(resource)


def stored_rule_rows(resource: Json) -> list[RuleRow]:
    """Return the rule rows of a resource that is stored.

    An earlier version of this program may have taken a modifier that `rule_rows` refuses by now:
    what was in force stays so until the resource is written again.
    """
    reader = _READERS.get(str(resource["resourceType"]))
    return reader(resource) if reader else []


def _consent(resource: Json) -> list[RuleRow]:
    if resource.get("status") != "active" or is_clinical_consent(resource):
        return []
    scope = concept_codes(resource.get("scope"))
    if PATIENT_PRIVACY not in scope:
        if resource.get("provision") or scope & {(SCOPE, "research"), (None, "research")}:
            refuse("Consent.scope", "Rules are read from consents of scope patient-privacy only.")
        return []
    category = _category(resource)
    facts = {"consent": _id(resource, "Consent"), "patient": _patient(resource)}
    if category == "":
        return pcf_rule_rows(resource, facts)
    provision = read_provision(resource, default=_DEFAULT_TYPE.get(category))
    return _CATEGORIES[category](provision, facts)


def _category(resource: Json) -> str:
    codes = {
        pair for item in list_objects(resource.get("category")) for pair in concept_codes(item)
    }
    ours = sorted(code for system, code in codes if system == CATEGORY)
    if len(ours) == 1 and ours[0] in _CATEGORIES:
        return ours[0]
    if not ours and _LOINC_CONSENT in codes:
        return ""
    refuse("Consent.category", "Name exactly one category this server can enforce.")


def _join(provision: Provision, facts: dict[str, str]) -> list[RuleRow]:
    provision.require_type("permit")
    provision.allow_only("period")
    return [_row("consent_joining", facts, provision)]


def _share(provision: Provision, facts: dict[str, str]) -> list[RuleRow]:
    provision.require_type("permit")
    provision.allow_only("purpose", "period", "actor", "action")
    provision.require_purpose("TREAT")
    organizations = provision.actors_of("organization")
    return [_row("consent_sharing", facts, provision, organization=name) for name in organizations]


def _restrict(provision: Provision, facts: dict[str, str]) -> list[RuleRow]:
    provision.require_type("deny")
    provision.require_purpose("TREAT")
    provision.refuse_normal_level()
    for exception in provision.exceptions:
        exception.require_type("permit")
        exception.require_purpose("TREAT")
    rules = rules_by_label(closed_labels(provision.labels), provision.exceptions)
    rows = []
    for table, values in closing_rows(provision.conditions(), rules, provision.exceptions):
        if table == "consent_restriction":
            rows.append(_row(table, facts, provision, sealed=int(provision.sealed), **values))
        else:
            rows.append(RuleRow(table, {"consent": facts["consent"], **values}))
    return rows


def _step_up(provision: Provision, facts: dict[str, str]) -> list[RuleRow]:
    provision.require_type("permit")
    provision.allow_only("purpose", "period", "actor", "class", "action")
    provision.require_purpose("TREAT")
    if provision.until is None:
        refuse("Consent.provision.period.end", "A step-up grant needs an end.")
    person, organization = provision.person_and_organization()
    return [
        _row(
            "consent_grant",
            facts,
            provision,
            person=person,
            organization=organization,
            domain=domain,
        )
        for domain in provision.domains or ("*",)
    ]


def _emergency(provision: Provision, facts: dict[str, str]) -> list[RuleRow]:
    provision.require_type("permit")
    provision.allow_only("purpose", "period", "actor", "action")
    provision.require_purpose(*TREATMENT)
    if provision.since == 0:
        refuse("Consent.provision.period.start", "An emergency needs the instant it began.")
    person, organization = provision.person_and_organization()
    limit = provision.since + EMERGENCY_MS
    until = limit if provision.until is None else provision.until
    if until > limit:
        refuse("Consent.provision.period.end", "An emergency lasts 24 hours at most.")
    row = _row("consent_emergency", facts, provision, person=person, organization=organization)
    return [RuleRow(row.table, {**row.values, "until": until})]


def _research(provision: Provision, facts: dict[str, str]) -> list[RuleRow]:
    provision.allow_only("period", "actor", "purpose", "action")
    provision.require_purpose("HRESCH")
    if provision.actors:
        refuse("Consent.provision.actor", "Research is agreed to or not, for every project.")
    permit = int(provision.type == "permit")
    return [_row("consent_research", facts, provision, permit=permit)]


def _carer(provision: Provision, facts: dict[str, str]) -> list[RuleRow]:
    provision.require_type("permit")
    provision.allow_only("period", "actor", "action")
    powers = provision.powers()
    return [
        _row(
            "consent_carer",
            facts,
            provision,
            person=person,
            can_view=int("view" in powers),
            can_manage=int("manage" in powers),
        )
        for person in provision.actors_of("carer", "person")
    ]


def _hold(provision: Provision, facts: dict[str, str]) -> list[RuleRow]:
    provision.require_type("deny")
    provision.allow_only("period", "actor", "data")
    if provision.until is None:
        refuse("Consent.provision.period.end", "A hold needs the date on which it ends.")
    if not provision.records:
        refuse("Consent.provision.data", "A hold names the results it keeps.")
    organization = provision.actors_of("organization")
    if len(organization) != 1:
        refuse("Consent.provision.actor", "A hold names the one organisation that holds.")
    return [
        _row(
            "consent_hold",
            facts,
            provision,
            record_type=record_type,
            record_id=record_id,
            organization=organization[0],
        )
        for record_type, record_id in provision.records
    ]


def _organization(resource: Json) -> list[RuleRow]:
    name = _id(resource, "Organization")
    rows: list[RuleRow] = []
    if resource.get("active") is False:
        return rows  # nobody is deemed to share with an organisation that is no more
    for number, extension in enumerate(list_objects(resource.get("extension"))):
        if extension.get("url") != DEEMED:
            continue
        period = extension.get("valuePeriod")
        path = f"Organization.extension[{number}].valuePeriod"
        if not isinstance(period, Mapping):
            refuse(path, "Deemed sharing needs its period.")
        since, until = read_term(period, path)
        values: dict[str, Value] = {"consent": name, "organization": name}
        rows.append(RuleRow("consent_deemed", {**values, "since": since, "until": until}))
    return rows


def _account(resource: Json) -> list[RuleRow]:
    return [*_minor(resource), *_links(resource)]


def _links(resource: Json) -> list[RuleRow]:
    name = _id(resource, "Patient")
    named = (
        local_target(str(link["other"].get("reference", "")))
        for link in list_objects(resource.get("link"))
        if link.get("type") in _MERGED and isinstance(link.get("other"), Mapping)
    )
    others = {account.id for account in named if account is not None and account.type == "Patient"}
    facts: dict[str, Value] = {"consent": name, "patient": name}
    return [RuleRow("consent_link", {**facts, "other": other}) for other in sorted(others - {name})]


def _minor(resource: Json) -> list[RuleRow]:
    """The years of a carer's label limit; an unknown birth date limits always."""
    name = _id(resource, "Patient")
    since, until = minor_term(resource.get("birthDate"))
    values: dict[str, Value] = {"consent": name, "patient": name, "since": since, "until": until}
    return [RuleRow("consent_minor", values)]


def _membership(resource: Json) -> list[RuleRow]:
    """Whom a practitioner works for; a role without an end that is not active says nothing."""
    practitioner, organization = (
        _local_id(resource.get(name), kind)
        for name, kind in (("practitioner", "Practitioner"), ("organization", "Organization"))
    )
    period = resource.get("period")
    period = period if isinstance(period, Mapping) else {}
    if practitioner is None or organization is None:
        return []
    if resource.get("active") is False and not period:
        return []
    values: dict[str, Value] = {
        "consent": _id(resource, "PractitionerRole"),
        "practitioner": practitioner,
        "organization": organization,
        **_days_of(period),
    }
    return [RuleRow("consent_membership", values)]


def _days_of(period: Json) -> dict[str, Value]:
    """Return a period as whole days; one that makes no sense is open."""
    try:
        since, until = read_term(period, "PractitionerRole.period")
    except Unprocessable:
        since, until = 0, None
    # A clinical date is the beginning of its day.
    return {"since": max(since - _DAY_MS, 0), "until": until}


def _local_id(value: object, kind: str) -> str | None:
    reference = value.get("reference") if isinstance(value, Mapping) else None
    target = local_target(reference) if isinstance(reference, str) else None
    return target.id if target is not None and target.type == kind else None


def _row(table: str, facts: dict[str, str], provision: Provision, **more: Value) -> RuleRow:
    return RuleRow(table, {**facts, "since": provision.since, "until": provision.until, **more})


def _id(resource: Json, kind: str) -> str:
    if not resource.get("id"):
        refuse(f"{kind}.id", "Rules need the id of the resource they come from.")
    return str(resource["id"])


def _patient(resource: Json) -> str:
    reference = resource.get("patient")
    text = reference.get("reference") if isinstance(reference, Mapping) else None
    parts = text.split("/") if isinstance(text, str) else []
    if len(parts) < 2 or parts[0] != "Patient" or not parts[1]:
        refuse("Consent.patient", "Rules need a patient of this server: Patient/id.")
    return parts[1]


_CATEGORIES: dict[str, Callable[[Provision, dict[str, str]], list[RuleRow]]] = {
    "joining": _join,
    "sharing": _share,
    "restriction": _restrict,
    "step-up": _step_up,
    "research": _research,
    "emergency": _emergency,
    "carer": _carer,
    "hold": _hold,
}
_DEFAULT_TYPE = {"joining": "permit"}
_READERS: dict[str, Callable[[Json], list[RuleRow]]] = {
    "Consent": _consent,
    "Organization": _organization,
    "Patient": _account,
    "PractitionerRole": _membership,
}

__all__ = ["rule_rows", "stored_rule_rows"]
