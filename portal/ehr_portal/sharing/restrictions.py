"""What a patient closes, as a Consent: planned from a form's choices, and told back in parts.

Pure. The gateway refuses what it cannot enforce; this page offers only what it can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import Resource
from ehr_portal.i18n import N_

EHR = JURISDICTION.fhir_base
SEALED = f"{EHR}/StructureDefinition/sealed"
DOMAIN = f"{EHR}/CodeSystem/data-domain"
_TERMS = "http://terminology.hl7.org/CodeSystem"
_ROLE = {"coding": [{"system": f"{_TERMS}/v3-ParticipationType", "code": "IRCP"}]}
_IDENTIFIED = {
    "profession": f"{EHR}/CodeSystem/profession",
    "group": f"{EHR}/CodeSystem/actor-group",
    "person": f"{EHR}/sid/account",
}
_CONFIDENTIALITY = ("R", "V")

LABELS = {
    "PSY": N_("Mental health"),
    "HIV": N_("HIV"),
    "STD": N_("Sexually transmitted infections"),
    "SEX": N_("Sexuality and reproduction"),
    "SDV": N_("Violence and abuse"),
    "ETH": N_("Alcohol and drugs"),
    "GDIS": N_("Genetic conditions"),
    "R": N_("Marked as very restricted"),
}
PROFESSIONS = {
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
class Choice:
    """What is closed, against whom, how firmly and for how long; empty means any."""

    domain: str = ""
    label: str = ""
    author: str = ""
    record: str = ""
    # An Encounter: the visit and all that was recorded in it.
    episode: str = ""
    first: str = ""
    last: str = ""
    # everyone, group:carers, organization:x, profession:x or person:x
    against: str = "everyone"
    besides: str = ""
    sealed: bool = False
    until: str = ""

    @property
    def selects(self) -> bool:
        """Return whether it says what is closed, or against whom."""
        chosen = (self.domain, self.label, self.author, self.record, self.episode)
        return any((*chosen, self.first, self.last)) or self.against != "everyone"


@dataclass(frozen=True)
class Told:
    """A restriction in parts that a page can say."""

    domains: tuple[str, ...]
    labels: tuple[str, ...]
    authors: tuple[str, ...]
    records: tuple[str, ...]
    episodes: tuple[str, ...]
    first: str
    last: str
    against: tuple[tuple[str, str, str], ...]
    besides: tuple[str, ...]
    sealed: bool
    until: str


def provision_of(choice: Choice, since: str) -> dict[str, Any]:
    """Return the provision of a choice."""
    period = {"start": since} | ({"end": choice.until} if choice.until else {})
    provision: dict[str, Any] = {"type": "deny", "period": period}
    if choice.sealed:
        provision["extension"] = [{"url": SEALED, "valueBoolean": True}]
    if choice.against != "everyone":
        kind, _, value = choice.against.partition(":")
        provision["actor"] = [actor(kind, value)]
    if choice.domain:
        provision["class"] = [{"system": DOMAIN, "code": choice.domain}]
    if choice.label:
        system = "v3-Confidentiality" if choice.label in _CONFIDENTIALITY else "v3-ActCode"
        provision["securityLabel"] = [{"system": f"{_TERMS}/{system}", "code": choice.label}]
    if data := _data(choice):
        provision["data"] = data
    if choice.first or choice.last:
        bounds = {"start": choice.first, "end": choice.last}
        provision["dataPeriod"] = {name: day for name, day in bounds.items() if day}
    if choice.besides:
        provision["provision"] = [
            {"type": "permit", "actor": [actor("organization", choice.besides)]}
        ]
    return provision


def actor(kind: str, value: str) -> dict[str, Any]:
    """Return one actor as the rules name it."""
    if kind == "organization":
        return {"role": _ROLE, "reference": {"reference": f"Organization/{value}"}}
    identifier = {"system": _IDENTIFIED[kind], "value": value}
    return {"role": _ROLE, "reference": {"identifier": identifier}}


def told(provision: Mapping[str, Any]) -> Told:
    """Tell a provision in parts."""
    data = provision.get("data", ())
    period = provision.get("dataPeriod", {})
    inner = [one for inside in provision.get("provision", ()) for one in inside.get("actor", ())]
    return Told(
        domains=tuple(str(one.get("code", "")) for one in provision.get("class", ())),
        labels=tuple(str(one.get("code", "")) for one in provision.get("securityLabel", ())),
        authors=_meant(data, "authoredby"),
        records=_meant(data, "instance", whole=True),
        episodes=_meant(data, "related", whole=True),
        first=str(period.get("start", "")),
        last=str(period.get("end", "")),
        against=tuple(_whom(one) for one in provision.get("actor", ())),
        besides=tuple(value for kind, value, _ in map(_whom, inner) if kind == "organization"),
        sealed=any(
            one.get("url") == SEALED and one.get("valueBoolean")
            for one in provision.get("extension", ())
        ),
        until=str(provision.get("period", {}).get("end", "")),
    )


def _data(choice: Choice) -> list[dict[str, Any]]:
    meant = (
        ("instance", choice.record),
        ("related", choice.episode),
        ("authoredby", f"Organization/{choice.author}" if choice.author else ""),
    )
    return [
        {"meaning": meaning, "reference": {"reference": reference}}
        for meaning, reference in meant
        if reference
    ]


def _meant(data: Sequence[Resource], meaning: str, *, whole: bool = False) -> tuple[str, ...]:
    references = [
        str(one.get("reference", {}).get("reference", ""))
        for one in data
        if one.get("meaning", "instance") == meaning
    ]
    return tuple(one if whole else one.partition("/")[2] for one in references)


def _whom(one: Resource) -> tuple[str, str, str]:
    reference = one.get("reference", {})
    shown = str(reference.get("display", ""))
    kind, _, value = str(reference.get("reference", "")).partition("/")
    if kind:
        return ("organization" if kind == "Organization" else "person", value, shown)
    identifier = reference.get("identifier", {})
    found = {system: kind for kind, system in _IDENTIFIED.items()}
    return (
        found.get(str(identifier.get("system", "")), ""),
        str(identifier.get("value", "")),
        shown,
    )
