"""The patient's choices as FHIR Consents: read into plain states, planned into writes.

Pure: no web, no gateway. The gateway turns the Consents into rules; the portal never decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ehr_fhir.intervals import date_interval
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import Resource
from ehr_portal.record.display import Provider
from ehr_portal.sharing.restrictions import Choice, Told, provision_of, told

CATEGORY = f"{JURISDICTION.fhir_base}/CodeSystem/consent-category"
DOMAIN = f"{JURISDICTION.fhir_base}/CodeSystem/data-domain"
SCOPE = "http://terminology.hl7.org/CodeSystem/consentscope"
_GENERAL = ("http://loinc.org", "59284-0")
PARTICIPATION = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"


@dataclass(frozen=True)
class Switch:
    """One organisation and whether it sees the record."""

    provider: Provider
    on: bool
    # By law (deemed), by the patient's own consent, or not at all.
    by_consent: bool
    until: str


@dataclass(frozen=True)
class Restriction:
    """One thing the patient closed; an empty field means any."""

    consent: str
    domain: str
    record: str
    organization: str
    since: str
    # What this page cannot say in its own words is shown, but not described as something else.
    plain: bool
    told: Told | None = None


def category(consent: Resource) -> str:
    """Return the code of our category of a Consent; sharing for a general permission (IHE PCF)."""
    codes = [c for kind in consent.get("category", ()) for c in kind.get("coding", ())]
    general = any((c.get("system"), c.get("code")) == _GENERAL for c in codes)
    permitted = "sharing" if general and _provision(consent).get("type") == "permit" else ""
    return next((c.get("code", "") for c in codes if c.get("system") == CATEGORY), permitted)


def joined(consents: Iterable[Resource]) -> bool:
    """Return whether the patient's account is open."""
    return any(category(c) == "joining" for c in _active(consents))


def switches(
    providers: Iterable[Provider], consents: Sequence[Resource], now: datetime
) -> list[Switch]:
    """Return the switch of each provider: those that see the record first."""
    found = [_switch(p, consents, now) for p in providers if not p.platform]
    return sorted(found, key=lambda s: (not s.on, not s.provider.deemed, s.provider.latin))


def restrictions(consents: Iterable[Resource]) -> list[Restriction]:
    """Return what is closed, newest first; a closed organisation is a switch, not a line here."""
    found = [
        _restriction(consent)
        for consent in _active(consents)
        if category(consent) == "restriction" and not _closes_organization(consent)
    ]
    return sorted(found, key=lambda r: r.since, reverse=True)


def closed(patient: str, now: datetime, choice: Choice) -> Resource:
    """Return the Consent that closes what a patient chose."""
    return _consent("restriction", patient, now, provision_of(choice, _instant(now)))


def ended(consents: Iterable[Resource], now: datetime) -> list[Resource]:
    """Return the sharings and restrictions that hold no more, the latest first."""
    over = [
        consent
        for consent in consents
        if category(consent) in ("sharing", "restriction")
        and not in_force(consent, now)
        and not _begins_later(consent, now)
    ]
    return sorted(over, key=_last_touched, reverse=True)


def turn_off(
    organization: str, provider: Provider, consents: Sequence[Resource], patient: str, now: datetime
) -> list[Resource]:
    """Return the Consents to write so that the organisation no longer sees the record."""
    writes = [_without(organization, c) for c in _sharing_with(organization, consents)]
    everyone = any(not _actors(c) for c in _sharing(consents))
    closed = _closed(organization, consents, now)
    if (provider.deemed or everyone) and not closed:
        writes.append(restriction(patient, now, organization=organization))
    return writes


def turn_on(
    organization: str,
    provider: Provider,
    consents: Sequence[Resource],
    patient: str,
    now: datetime,
    until: datetime | None = None,
) -> list[Resource]:
    """Return the Consents to write so that the organisation sees the record."""
    writes = [_without(organization, c) for c in _active(consents) if _closes(organization, c)]
    holding = [c for c in _sharing(consents) if in_force(c, now)]
    if not provider.deemed and not any(_covers(organization, c) for c in holding):
        writes.append(_renewed(organization, consents, patient, now, until))
    return writes


def restriction(
    patient: str,
    now: datetime,
    *,
    domain: str | None = None,
    organization: str | None = None,
    record: str | None = None,
) -> Resource:
    """Return a new restriction; what is not given is any."""
    provision: dict[str, Any] = {"type": "deny", "period": {"start": _instant(now)}}
    if organization:
        provision["actor"] = [_recipient(organization)]
    if domain:
        provision["class"] = [{"system": DOMAIN, "code": domain}]
    if record:
        provision["data"] = [{"meaning": "instance", "reference": {"reference": record}}]
    return _consent("restriction", patient, now, provision)


def lifted(consent: Resource) -> Resource:
    """Return a Consent as no longer in force."""
    return _with_status(consent, "inactive")


def _switch(provider: Provider, consents: Sequence[Resource], now: datetime) -> Switch:
    given = [c for c in _sharing(consents) if in_force(c, now) and _covers(provider.id, c)]
    closed = _closed(provider.id, consents, now)
    ends = [str(_provision(c).get("period", {}).get("end", "")) for c in given]
    return Switch(
        provider=provider,
        on=joined(consents) and (provider.deemed or bool(given)) and not closed,
        by_consent=bool(given),
        until="" if "" in ends or provider.deemed else max(ends, default=""),
    )


def _restriction(consent: Resource) -> Restriction:
    provision = _provision(consent)
    actors, classes, data = _actors(consent), provision.get("class", ()), provision.get("data", ())
    known = {
        "id", "type", "period", "actor", "class", "data", "securityLabel", "dataPeriod",
        "provision", "extension", "purpose",
    }  # fmt: skip
    return Restriction(
        consent=consent["id"],
        domain=str(classes[0].get("code", "")) if classes else "",
        record=str(data[0]["reference"].get("reference", "")) if data else "",
        organization=actors[0].removeprefix("Organization/") if actors else "",
        since=str(provision.get("period", {}).get("start") or consent.get("dateTime", "")),
        plain=set(provision) <= known and _plain_exceptions(provision),
        told=told(provision),
    )


def _plain_exceptions(provision: Mapping[str, Any]) -> bool:
    return all(
        set(inner) <= {"id", "type", "actor"}
        and all("reference" in actor.get("reference", {}) for actor in inner.get("actor", ()))
        for inner in provision.get("provision", ())
    )


def _begins_later(consent: Resource, now: datetime) -> bool:
    start = _provision(consent).get("period", {}).get("start")
    active = consent.get("status") == "active"
    return bool(active and start and date_interval(start)[0] > now.timestamp() * 1000)


def _last_touched(consent: Resource) -> str:
    return str(consent.get("meta", {}).get("lastUpdated", ""))


def _renewed(
    organization: str,
    consents: Sequence[Resource],
    patient: str,
    now: datetime,
    until: datetime | None,
) -> Resource:
    period = {"start": _instant(now)} | ({"end": _instant(until)} if until else {})
    # The same Consent is taken up again, so its history tells the whole story of the switch.
    for consent in consents:
        if category(consent) == "sharing" and _actors(consent) == [f"Organization/{organization}"]:
            provision = {**_provision(consent), "period": period}
            return {**_with_status(consent, "active"), "provision": provision}
    provision = {"type": "permit", "period": period, "actor": [_recipient(organization)]}
    return _consent("sharing", patient, now, provision)


def _consent(code: str, patient: str, now: datetime, provision: Mapping[str, Any]) -> Resource:
    return {
        "resourceType": "Consent",
        "status": "active",
        "scope": {"coding": [{"system": SCOPE, "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": CATEGORY, "code": code}]}],
        "patient": {"reference": f"Patient/{patient}"},
        "dateTime": _instant(now),
        "policyRule": {"text": f"eHR Commons {code} consent"},
        "provision": provision,
    }


def _recipient(organization: str) -> dict[str, Any]:
    return {
        "role": {"coding": [{"system": PARTICIPATION, "code": "IRCP"}]},
        "reference": {"reference": f"Organization/{organization}"},
    }


def _with_status(consent: Resource, status: str) -> Resource:
    return {**consent, "status": status}


def _without(organization: str, consent: Resource) -> Resource:
    """Return a Consent that no longer names an organisation; ended, when it named no other."""
    name, provision = f"Organization/{organization}", _provision(consent)
    others = [a for a in provision.get("actor", ()) if a["reference"].get("reference") != name]
    if not others:
        return _with_status(consent, "inactive")
    return {**consent, "provision": {**provision, "actor": others}}


def _active(consents: Iterable[Resource]) -> list[Resource]:
    return [consent for consent in consents if consent.get("status") == "active"]


def _sharing(consents: Iterable[Resource]) -> list[Resource]:
    return [
        consent
        for consent in _active(consents)
        if category(consent) == "sharing" and _provision(consent).get("type") == "permit"
    ]


def _sharing_with(organization: str, consents: Iterable[Resource]) -> list[Resource]:
    return [c for c in _sharing(consents) if f"Organization/{organization}" in _actors(c)]


def _covers(organization: str, consent: Resource) -> bool:
    actors = _actors(consent)
    return not actors or f"Organization/{organization}" in actors


def _closed(organization: str, consents: Iterable[Resource], now: datetime) -> bool:
    return any(_closes(organization, c) and in_force(c, now) for c in _active(consents))


def _closes(organization: str, consent: Resource) -> bool:
    return _closes_organization(consent) and f"Organization/{organization}" in _actors(consent)


def _closes_organization(consent: Resource) -> bool:
    # A restriction with actors and no selector closes the whole record to them.
    provision = _provision(consent)
    return (
        category(consent) == "restriction"
        and set(provision) <= {"type", "period", "actor"}
        and bool(_actors(consent))
    )


def in_force(consent: Resource, now: datetime) -> bool:
    """Return whether a Consent's term contains now; a Consent that is not active holds nothing."""
    if consent.get("status") != "active":
        return False
    period = _provision(consent).get("period", {})
    start, end = period.get("start") or consent.get("dateTime"), period.get("end")
    at = now.timestamp() * 1000
    # As the gateway counts: a day, month or year holds from its beginning to its end.
    begun = not start or date_interval(start)[0] <= at
    return begun and not (end and date_interval(end)[1] <= at)


def _actors(consent: Resource) -> list[str]:
    actors = _provision(consent).get("actor", ())
    return [str(actor.get("reference", {}).get("reference", "")) for actor in actors]


def _provision(consent: Resource) -> Mapping[str, Any]:
    provision: Mapping[str, Any] = consent.get("provision", {})
    return provision


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
