"""One switch for each organisation: whether it sees the record, and the writes that turn it.

*On* is an active sharing Consent that names the organisation. A public hospital ("deemed") sees
the record of everyone who joined without one; *off* is then a restriction against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ehr_portal.gateway.client import Resource
from ehr_portal.record.providers import Provider
from ehr_portal.sharing.consents import (
    active_consents,
    build_consent,
    consent_category,
    deactivate_consent,
    format_instant,
    has_joined,
    is_in_force,
    provision_of,
    recipient_references,
)
from ehr_portal.sharing.restrictions import (
    RestrictionChoice,
    build_actor,
    build_restriction,
    restricts_whole_record,
)


@dataclass(frozen=True)
class Switch:
    """One organisation and whether it sees the record."""

    provider: Provider
    is_on: bool
    # The last day of the consent; empty where it has none, or where the law decides.
    until: str


def sharing_switches(
    providers: Iterable[Provider], consents: Sequence[Resource], now: datetime
) -> list[Switch]:
    """Return the switch of each provider: those that see the record first."""
    switches = [
        _build_switch(provider, consents, now) for provider in providers if not provider.platform
    ]
    return sorted(
        switches,
        key=lambda switch: (
            not switch.is_on,
            not switch.provider.deemed,
            switch.provider.latin,
        ),
    )


def stop_sharing(
    provider: Provider, consents: Sequence[Resource], patient: str, now: datetime
) -> list[Resource]:
    """Return the Consents to write so that the provider no longer sees the record."""
    writes = [
        _remove_recipient(provider.id, consent)
        for consent in _sharing_consents(consents)
        if _reference(provider.id) in recipient_references(consent)
    ]
    shares_with_everyone = any(
        not recipient_references(consent) for consent in _sharing_consents(consents)
    )
    if (provider.deemed or shares_with_everyone) and not _is_restricted(provider.id, consents, now):
        choice = RestrictionChoice(recipient=f"organization:{provider.id}")
        writes.append(build_restriction(patient, now, choice))
    return writes


def start_sharing(
    provider: Provider,
    consents: Sequence[Resource],
    patient: str,
    now: datetime,
    until: datetime | None = None,
) -> list[Resource]:
    """Return the Consents to write so that the provider sees the record, for ever or `until`."""
    writes = [
        _remove_recipient(provider.id, consent)
        for consent in active_consents(consents)
        if _restricts(provider.id, consent)
    ]
    if not provider.deemed and not _sharing_in_force(provider.id, consents, now):
        writes.append(_renew_sharing(provider.id, consents, patient, now, until))
    return writes


def _build_switch(provider: Provider, consents: Sequence[Resource], now: datetime) -> Switch:
    sharing = _sharing_in_force(provider.id, consents, now)
    restricted = _is_restricted(provider.id, consents, now)
    ends = [str(provision_of(consent).get("period", {}).get("end", "")) for consent in sharing]
    return Switch(
        provider=provider,
        is_on=has_joined(consents) and (provider.deemed or bool(sharing)) and not restricted,
        until="" if "" in ends or provider.deemed else max(ends, default=""),
    )


def _renew_sharing(
    organization: str,
    consents: Sequence[Resource],
    patient: str,
    now: datetime,
    until: datetime | None,
) -> Resource:
    end = {"end": format_instant(until)} if until else {}
    period = {"start": format_instant(now)} | end
    # The same Consent is used again, so that its history is the whole story of the switch.
    for consent in consents:
        is_sharing = consent_category(consent) == "sharing"
        if is_sharing and recipient_references(consent) == [_reference(organization)]:
            provision = {**provision_of(consent), "period": period}
            return {**consent, "status": "active", "provision": provision}
    actor = build_actor("organization", organization)
    provision = {"type": "permit", "period": period, "actor": [actor]}
    return build_consent("sharing", patient, now, provision)


def _remove_recipient(organization: str, consent: Resource) -> Resource:
    """Return a Consent that no longer names an organisation; inactive if it named no other."""
    provision = provision_of(consent)
    others = [
        actor
        for actor in provision.get("actor", ())
        if actor["reference"].get("reference") != _reference(organization)
    ]
    if not others:
        return deactivate_consent(consent)
    return {**consent, "provision": {**provision, "actor": others}}


def _sharing_consents(consents: Iterable[Resource]) -> list[Resource]:
    return [
        consent
        for consent in active_consents(consents)
        if consent_category(consent) == "sharing" and provision_of(consent).get("type") == "permit"
    ]


def _sharing_in_force(
    organization: str, consents: Iterable[Resource], now: datetime
) -> list[Resource]:
    # A sharing that names nobody is with everybody.
    return [
        consent
        for consent in _sharing_consents(consents)
        if is_in_force(consent, now)
        and (
            not recipient_references(consent)
            or _reference(organization) in recipient_references(consent)
        )
    ]


def _is_restricted(organization: str, consents: Iterable[Resource], now: datetime) -> bool:
    return any(
        _restricts(organization, consent) and is_in_force(consent, now) for consent in consents
    )


def _restricts(organization: str, consent: Resource) -> bool:
    is_recipient = _reference(organization) in recipient_references(consent)
    return restricts_whole_record(consent) and is_recipient


def _reference(organization: str) -> str:
    return f"Organization/{organization}"
