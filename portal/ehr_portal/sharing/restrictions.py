"""What a patient restricts: built into a Consent from a form's choices, parsed back for the page.

Pure. The gateway refuses what it cannot enforce; the form offers only what it can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_
from ehr_portal.sharing.consents import (
    RECIPIENT_ROLE,
    active_consents,
    build_consent,
    consent_category,
    format_instant,
    provision_of,
    recipient_references,
)

DOMAIN = f"{JURISDICTION.fhir_base}/CodeSystem/data-domain"
# An extension of the provision: it stays closed in an emergency.
SEALED = f"{JURISDICTION.fhir_base}/StructureDefinition/sealed"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
# Kinds of actor that are named by an identifier, not by a reference to a resource.
_ACTOR_SYSTEMS = {
    "profession": f"{JURISDICTION.fhir_base}/CodeSystem/profession",
    "group": f"{JURISDICTION.fhir_base}/CodeSystem/actor-group",
    "person": f"{JURISDICTION.fhir_base}/sid/account",
}
# Of v3-Confidentiality; all other labels are of v3-ActCode.
_CONFIDENTIALITY_CODES = ("R", "V")
# What this portal can say in its own words.
_KNOWN_ELEMENTS = frozenset(
    {
        "id", "type", "period", "actor", "class", "data", "securityLabel", "dataPeriod",
        "provision", "extension", "purpose",
    }
)  # fmt: skip

SECURITY_LABEL_TITLES = {
    "PSY": N_("Mental health"),
    "HIV": N_("HIV"),
    "STD": N_("Sexually transmitted infections"),
    "SEX": N_("Sexuality and reproduction"),
    "SDV": N_("Violence and abuse"),
    "ETH": N_("Alcohol and drugs"),
    "GDIS": N_("Genetic conditions"),
    "R": N_("Marked as very restricted"),
}
PROFESSION_TITLES = {
    "doctor": N_("Doctors"),
    "dentist": N_("Dentists"),
    "nurse": N_("Nurses"),
    "midwife": N_("Midwives"),
    "pharmacist": N_("Pharmacists"),
    "medical-laboratory-technologist": N_("Laboratory staff"),
    "occupational-therapist": N_("Occupational therapists"),
    "optometrist": N_("Optometrists"),
    "physiotherapist": N_("Physiotherapists"),
    "radiographer": N_("Radiographers"),
    "chiropractor": N_("Chiropractors"),
    "chinese-medicine-practitioner": N_("Chinese medicine practitioners"),
}


@dataclass(frozen=True)
class RestrictionChoice:
    """What to close, to whom, how firmly and for how long; an empty field means any."""

    domain: str = ""
    security_label: str = ""
    # The id of the organisation that wrote the records.
    author: str = ""
    # A reference to a single record.
    record: str = ""
    # A reference to an Encounter: the visit and all that was recorded in it.
    encounter: str = ""
    first_day: str = ""
    last_day: str = ""
    # everyone, group:carers, organization:ID, profession:CODE or person:LOGIN
    recipient: str = "everyone"
    # The id of an organisation to which it stays open.
    exception: str = ""
    sealed: bool = False
    until: str = ""

    @property
    def is_specific(self) -> bool:
        """Return whether it says what to close, or to whom: neither would close everything."""
        selectors = (self.domain, self.security_label, self.author, self.record, self.encounter)
        return any((*selectors, self.first_day, self.last_day)) or self.recipient != "everyone"


@dataclass(frozen=True)
class RestrictedActor:
    """To whom a restriction closes: a kind of `RestrictionChoice.recipient`, or empty."""

    kind: str
    id: str
    # As the Consent's author wrote it.
    display: str


@dataclass(frozen=True)
class RestrictionTerms:
    """A provision in parts that a page can say; an empty part means any."""

    domains: tuple[str, ...]
    security_labels: tuple[str, ...]
    authors: tuple[str, ...]
    records: tuple[str, ...]
    encounters: tuple[str, ...]
    first_day: str
    last_day: str
    actors: tuple[RestrictedActor, ...]
    # The ids of the organisations to which it stays open.
    exceptions: tuple[str, ...]
    sealed: bool
    until: str


@dataclass(frozen=True)
class Restriction:
    """One restriction of the patient, as a line of the page."""

    consent_id: str
    # The single record it closes, if it closes one; the organisation it closes to, if only one.
    record: str
    organization: str
    since: str
    # A restriction made elsewhere with other conditions is listed, but not described as simpler.
    is_plain: bool
    terms: RestrictionTerms


def active_restrictions(consents: Iterable[Resource]) -> list[Restriction]:
    """Return what is closed, newest first; a closed organisation is a switch, not a line here."""
    restrictions = [
        _parse_restriction(consent)
        for consent in active_consents(consents)
        if consent_category(consent) == "restriction" and not restricts_whole_record(consent)
    ]
    return sorted(restrictions, key=lambda restriction: restriction.since, reverse=True)


def restricts_whole_record(consent: Resource) -> bool:
    """Return whether a Consent closes the whole record to somebody: actors and no selector."""
    return (
        consent_category(consent) == "restriction"
        and set(provision_of(consent)) <= {"type", "period", "actor"}
        and bool(recipient_references(consent))
    )


def build_restriction(patient: str, now: datetime, choice: RestrictionChoice) -> Resource:
    """Return the Consent that closes what a patient chose, from now on."""
    provision = build_provision(choice, format_instant(now))
    return build_consent("restriction", patient, now, provision)


def build_provision(choice: RestrictionChoice, since: str) -> dict[str, Any]:
    """Return the Consent.provision of a choice, in force since a FHIR dateTime."""
    period = {"start": since} | ({"end": choice.until} if choice.until else {})
    provision: dict[str, Any] = {"type": "deny", "period": period}
    if choice.sealed:
        provision["extension"] = [{"url": SEALED, "valueBoolean": True}]
    if choice.recipient != "everyone":
        kind, _, identifier = choice.recipient.partition(":")
        provision["actor"] = [build_actor(kind, identifier)]
    if choice.domain:
        provision["class"] = [{"system": DOMAIN, "code": choice.domain}]
    if choice.security_label:
        is_confidentiality = choice.security_label in _CONFIDENTIALITY_CODES
        system = "v3-Confidentiality" if is_confidentiality else "v3-ActCode"
        label = {"system": f"{_TERMINOLOGY}/{system}", "code": choice.security_label}
        provision["securityLabel"] = [label]
    if data := _build_data(choice):
        provision["data"] = data
    if choice.first_day or choice.last_day:
        bounds = {"start": choice.first_day, "end": choice.last_day}
        provision["dataPeriod"] = {name: day for name, day in bounds.items() if day}
    if choice.exception:
        actor = build_actor("organization", choice.exception)
        provision["provision"] = [{"type": "permit", "actor": [actor]}]
    return provision


def build_actor(kind: str, identifier: str) -> dict[str, Any]:
    """Return a Consent.provision.actor: an organisation by reference, others by identifier."""
    if kind == "organization":
        reference: dict[str, Any] = {"reference": f"Organization/{identifier}"}
    else:
        reference = {"identifier": {"system": _ACTOR_SYSTEMS[kind], "value": identifier}}
    return {"role": RECIPIENT_ROLE, "reference": reference}


def parse_terms(provision: Mapping[str, Any]) -> RestrictionTerms:
    """Return a Consent.provision in parts."""
    data = provision.get("data", ())
    data_period = provision.get("dataPeriod", {})
    exceptions = [
        _parse_actor(actor)
        for nested in provision.get("provision", ())
        for actor in nested.get("actor", ())
    ]
    return RestrictionTerms(
        domains=_codes(provision.get("class", ())),
        security_labels=_codes(provision.get("securityLabel", ())),
        authors=tuple(
            reference.partition("/")[2]
            for reference in _references_with_meaning(data, "authoredby")
        ),
        records=_references_with_meaning(data, "instance"),
        encounters=_references_with_meaning(data, "related"),
        first_day=str(data_period.get("start", "")),
        last_day=str(data_period.get("end", "")),
        actors=tuple(_parse_actor(actor) for actor in provision.get("actor", ())),
        exceptions=tuple(actor.id for actor in exceptions if actor.kind == "organization"),
        sealed=any(
            extension.get("url") == SEALED and extension.get("valueBoolean")
            for extension in provision.get("extension", ())
        ),
        until=str(provision.get("period", {}).get("end", "")),
    )


def _parse_restriction(consent: Resource) -> Restriction:
    provision = provision_of(consent)
    recipients, data = recipient_references(consent), provision.get("data", ())
    return Restriction(
        consent_id=consent["id"],
        record=str(data[0]["reference"].get("reference", "")) if data else "",
        organization=recipients[0].removeprefix("Organization/") if recipients else "",
        since=str(provision.get("period", {}).get("start") or consent.get("dateTime", "")),
        is_plain=set(provision) <= _KNOWN_ELEMENTS and _has_plain_exceptions(provision),
        terms=parse_terms(provision),
    )


def _has_plain_exceptions(provision: Mapping[str, Any]) -> bool:
    return all(
        set(nested) <= {"id", "type", "actor"}
        and all("reference" in actor.get("reference", {}) for actor in nested.get("actor", ()))
        for nested in provision.get("provision", ())
    )


def _build_data(choice: RestrictionChoice) -> list[dict[str, Any]]:
    reference_by_meaning = {
        "instance": choice.record,
        "related": choice.encounter,
        "authoredby": f"Organization/{choice.author}" if choice.author else "",
    }
    return [
        {"meaning": meaning, "reference": {"reference": reference}}
        for meaning, reference in reference_by_meaning.items()
        if reference
    ]


def _references_with_meaning(data: Sequence[Resource], meaning: str) -> tuple[str, ...]:
    return tuple(
        str(item.get("reference", {}).get("reference", ""))
        for item in data
        if item.get("meaning", "instance") == meaning
    )


def _codes(codings: Sequence[Resource]) -> tuple[str, ...]:
    return tuple(str(coding.get("code", "")) for coding in codings)


def _parse_actor(actor: Resource) -> RestrictedActor:
    reference = actor.get("reference", {})
    display = str(reference.get("display", ""))
    resource_type, _, resource_id = str(reference.get("reference", "")).partition("/")
    if resource_type:
        kind = "organization" if resource_type == "Organization" else "person"
        return RestrictedActor(kind, resource_id, display)
    identifier = reference.get("identifier", {})
    kind_by_system = {system: kind for kind, system in _ACTOR_SYSTEMS.items()}
    return RestrictedActor(
        kind_by_system.get(str(identifier.get("system", "")), ""),
        str(identifier.get("value", "")),
        display,
    )
