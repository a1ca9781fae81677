"""Reading one Consent.provision, strictly: every element is understood or refused with its path."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NoReturn

from ehr_fhir.dates import datetime_interval
from ehr_fhir.errors import Invalid, Unprocessable
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_privacy.consent.code_systems import normalize_system
from ehr_privacy.consent.labels import LABEL_SYSTEMS, LABELS
from ehr_privacy.consent.model import DOMAINS, Value
from ehr_privacy.consent.roles import PROFESSIONS
from ehr_privacy.consent.tables import SELECTOR_COLUMNS

Json = Mapping[str, Any]  # JSON of every shape

EHR_SYSTEM = JURISDICTION.fhir_base
DATA_DOMAIN = f"{EHR_SYSTEM}/CodeSystem/data-domain"
PROFESSION = f"{EHR_SYSTEM}/CodeSystem/profession"
ACTOR_GROUP = f"{EHR_SYSTEM}/CodeSystem/actor-group"
CARER_POWER = f"{EHR_SYSTEM}/CodeSystem/carer-power"
ACCOUNT = f"{EHR_SYSTEM}/sid/account"
SEALED = f"{EHR_SYSTEM}/StructureDefinition/sealed"

_ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_NORMAL = "N"
_RECIPIENTS = {(f"{_TERMINOLOGY}/v3-ParticipationType", code) for code in ("IRCP", "PRCP")}
# The systems that the rules of Consents are told by, under their names in rules/systems.toml.
_CANONICAL = {
    normalize_system(system): system
    for system in (
        f"{_TERMINOLOGY}/consentscope",
        f"{_TERMINOLOGY}/v3-ParticipationType",
        "http://loinc.org",
        *LABEL_SYSTEMS,
    )
}
# Whose record it is, or who is named in it as having made it.
_AUTHOR = {"Organization": "author", "Practitioner": "author_person"}
_PEOPLE = ("Practitioner", "Person")
_KNOWN = frozenset(
    "id extension type period actor action securityLabel purpose class dataPeriod data "
    "provision".split()
)


@dataclass(frozen=True)
class Provision:
    """One provision, understood: whom it names, what it selects, when it holds."""

    path: str
    type: str
    present: frozenset[str]
    since: int = 0
    until: int | None = None
    sealed: bool = False
    actors: tuple[tuple[str, str | None], ...] = ()
    domains: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    authors: tuple[tuple[str, str], ...] = ()
    episodes: tuple[str, ...] = ()
    records: tuple[tuple[str, str], ...] = ()
    data_period: tuple[int, int | None] | None = None
    purposes: frozenset[str] = frozenset()
    actions: tuple[tuple[str | None, str], ...] = ()
    exceptions: tuple[Provision, ...] = field(default=())

    def require_type(self, wanted: str) -> None:
        """Refuse a provision of the other type."""
        if self.type != wanted:
            refuse(f"{self.path}.type", f"This category needs a provision of type {wanted}.")

    def allow_only(self, *names: str) -> None:
        """Refuse elements that mean nothing in this category."""
        for name in sorted(self.present - {"id", "type", *names}):
            refuse(f"{self.path}.{name}", "This element cannot be enforced in this category.")

    def require_purpose(self, *purposes: str) -> None:
        """Refuse a provision limited to other purposes, or to other actions than access."""
        if self.purposes and not self.purposes & set(purposes):
            refuse(f"{self.path}.purpose", "This purpose cannot be enforced in this category.")
        if self.actions and not any(code == "access" for _, code in self.actions):
            refuse(f"{self.path}.action", "Rules are about access; other actions are not enforced.")

    def actors_of(self, *kinds: str) -> list[str]:
        """Return the names of the actors; refuse none, or one of another kind."""
        names = [value for kind, value in self.actors if kind in kinds and value is not None]
        if not names or len(names) != len(self.actors):
            refuse(f"{self.path}.actor", f"Name at least one actor, each of them {kinds[0]}.")
        return names

    def person_and_organization(self) -> tuple[str, str]:
        """Return the one person and the one organisation a grant is for."""
        found = dict(self.actors)
        person, organization = found.get("person"), found.get("organization")
        if len(self.actors) != 2 or person is None or organization is None:
            refuse(f"{self.path}.actor", "Name one person and the organisation they act for.")
        return person, organization

    def powers(self) -> frozenset[str]:
        """Return the powers of a carer; to view when none is named."""
        for system, code in self.actions:
            if system != CARER_POWER or code not in ("view", "manage"):
                refuse(f"{self.path}.action", "A carer's powers are view and manage.")
        return frozenset(code for _, code in self.actions) or frozenset({"view"})

    def refuse_normal_level(self) -> None:
        """Refuse to deny what is of the level N: the rest would be open, which nobody means."""
        if _NORMAL in self.labels:
            refuse(f"{self.path}.securityLabel", "Only a provision that permits stands at a level.")

    def conditions(self) -> list[dict[str, Value]]:
        """Return selector and actor columns, one row for each combination that matches.

        Without labels, which are rules of their own (`label_permits`).
        """
        empty: dict[str, Value] = {column.name: None for column in SELECTOR_COLUMNS}
        if self.data_period:
            empty["period_from"], empty["period_to"] = self.data_period
        instances: list[dict[str, Value]] = []
        instances += [{"record_type": kind, "record_id": name} for kind, name in self.records]
        instances += [{"episode": name} for name in self.episodes]
        instances += [{_AUTHOR[kind]: name} for kind, name in self.authors]
        return [
            {**empty, "domain": domain, **instance, **actor}
            for domain, instance, actor in product(
                self.domains or (None,), instances or [{}], self._whom()
            )
        ]

    def _whom(self) -> list[dict[str, Value]]:
        actors = self.actors or (("everyone", None),)
        return [{"actor_kind": kind, "actor_value": value} for kind, value in actors]


def read_provision(consent: Json, default: str | None = None) -> Provision:
    """Read the provision of a Consent; `default` is its type when it is left out."""
    node = consent.get("provision")
    if node is None and default is None:
        refuse("Consent.provision", "This category needs a provision.")
    return _read(node or {}, "Consent.provision", default, _started(consent), depth=0)


def read_term(period: Json, path: str) -> tuple[int, int | None]:
    """Return a Period as a half-open term; no start means since ever."""
    start, end = period.get("start"), period.get("end")
    since = _read_date(start, f"{path}.start")[0] if start is not None else 0
    until = _read_date(end, f"{path}.end")[1] if end is not None else None
    if until is not None and until <= since:
        refuse(path, "The period ends before it starts.")
    return since, until


def refuse(path: str, why: str) -> NoReturn:
    """Refuse with 422 and the element's path."""
    raise Unprocessable(why, expression=path)


def concept_codes(concept: object) -> set[tuple[str | None, str]]:
    """Return the (system, code) pairs of a CodeableConcept, whatever the systems' spelling.

    >>> sorted(concept_codes({"coding": [{"system": "https://loinc.org/", "code": "59284-0"}]}))
    [('http://loinc.org', '59284-0')]
    """
    codings = concept.get("coding") if isinstance(concept, Mapping) else None
    return {
        (_canonical_system(coding.get("system")), str(coding.get("code")))
        for coding in list_objects(codings)
    }


def _canonical_system(system: str | None) -> str | None:
    return _CANONICAL.get(normalize_system(system), system)


def list_objects(value: object) -> Sequence[Json]:
    """Return the objects of a JSON array; nothing when it is not one."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _started(consent: Json) -> int:
    """A term without a start began when the consent was given, if that is said."""
    given = consent.get("dateTime")
    return _read_date(given, "Consent.dateTime")[0] if given is not None else 0


def _read(node: Json, path: str, default: str | None, started: int, depth: int) -> Provision:
    for name in node:
        if name not in _KNOWN:
            refuse(f"{path}.{name}", "This element cannot be enforced.")
    kind = node.get("type", default)
    if kind not in ("permit", "deny"):
        refuse(f"{path}.type", "A rule is of type permit or deny.")
    if depth and "period" in node:
        refuse(f"{path}.period", "An exception holds as long as its restriction.")
    since, until = read_term(node.get("period", {}), f"{path}.period")
    if "start" not in node.get("period", {}):
        since = started
        if until is not None and until <= since:
            refuse(f"{path}.period", "The period ends before it starts.")
    records, episodes, authors = _read_data(node, path)
    data_period = node.get("dataPeriod")
    return Provision(
        path=path,
        type=kind,
        present=frozenset(node),
        since=since,
        until=until,
        sealed=_read_sealed(node, path, depth),
        actors=tuple(
            _read_actor(actor, f"{path}.actor[{number}]")
            for number, actor in enumerate(list_objects(node.get("actor")))
        ),
        domains=_read_classes(node, path),
        labels=_read_labels(node, path),
        authors=authors,
        episodes=episodes,
        records=records,
        data_period=read_days(data_period, f"{path}.dataPeriod") if data_period else None,
        purposes=_read_purposes(node),
        actions=_read_actions(node),
        exceptions=_read_exceptions(node, path, depth),
    )


def read_days(period: Json, path: str) -> tuple[int, int | None]:
    """Return a period of clinical dates, widened to whole days of the jurisdiction."""
    since, until = read_term(period, path)
    if any("T" in str(period.get(end, "")) for end in ("start", "end")):
        refuse(path, "Clinical periods are told in whole days.")
    return since, until


def _read_exceptions(node: Json, path: str, depth: int) -> tuple[Provision, ...]:
    inner = list_objects(node.get("provision"))
    if inner and depth:
        refuse(f"{path}.provision", "Exceptions of exceptions cannot be enforced.")
    return tuple(
        _read(exception, f"{path}.provision[{number}]", None, 0, depth + 1)
        for number, exception in enumerate(inner)
    )


def _read_sealed(node: Json, path: str, depth: int) -> bool:
    sealed = False
    for number, extension in enumerate(list_objects(node.get("extension"))):
        if extension.get("url") != SEALED or depth or "valueBoolean" not in extension:
            refuse(f"{path}.extension[{number}]", "This extension cannot be enforced.")
        sealed = bool(extension["valueBoolean"])
    return sealed


def _read_actor(actor: Json, path: str) -> tuple[str, str | None]:
    if not concept_codes(actor.get("role")) & _RECIPIENTS:
        refuse(f"{path}.role", "An actor's role is IRCP or PRCP: the one who would receive.")
    reference = actor.get("reference")
    reference = reference if isinstance(reference, Mapping) else {}
    identifier = reference.get("identifier")
    if isinstance(identifier, Mapping) and "reference" not in reference:
        return _identified(identifier.get("system"), identifier.get("value"), path)
    parts = str(reference.get("reference", "")).split("/")
    if len(parts) == 2 and parts[1]:
        if parts[0] == "Organization":
            return "organization", parts[1]
        if parts[0] in _PEOPLE:
            return "person", parts[1]
        if parts[0] == "RelatedPerson":
            return "carer", parts[1]
    refuse(f"{path}.reference", "Name an organisation, a person, a profession or the carers.")


def _identified(system: object, value: object, path: str) -> tuple[str, str | None]:
    if system == PROFESSION and value in PROFESSIONS:
        return "profession", str(value)
    if system == ACCOUNT and isinstance(value, str) and value:
        return "person", value
    if system == ACTOR_GROUP and value == "carers":
        return "carer", None
    if system == ACTOR_GROUP and value == "everyone":
        return "everyone", None
    refuse(f"{path}.reference.identifier", "Not a profession, an account or a group known here.")


def _read_classes(node: Json, path: str) -> tuple[str, ...]:
    for number, coding in enumerate(list_objects(node.get("class"))):
        if coding.get("system") != DATA_DOMAIN or coding.get("code") not in DOMAINS:
            refuse(f"{path}.class[{number}]", "Classes are data domains of this server.")
    return tuple(str(coding["code"]) for coding in list_objects(node.get("class")))


def _read_labels(node: Json, path: str) -> tuple[str, ...]:
    known = LABELS | {_NORMAL}
    for number, coding in enumerate(list_objects(node.get("securityLabel"))):
        system = _canonical_system(coding.get("system"))
        if system not in LABEL_SYSTEMS or coding.get("code") not in known:
            refuse(f"{path}.securityLabel[{number}]", "Not a sensitivity label used here.")
    return tuple(str(coding["code"]) for coding in list_objects(node.get("securityLabel")))


def _read_data(
    node: Json, path: str
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...], tuple[tuple[str, str], ...]]:
    records, episodes, authors = [], [], []
    for number, data in enumerate(list_objects(node.get("data"))):
        where = f"{path}.data[{number}]"
        reference = data.get("reference")
        text = reference.get("reference") if isinstance(reference, Mapping) else None
        kind, _, name = str(text or "").partition("/")
        if not kind or not _ID.fullmatch(name):
            refuse(f"{where}.reference", "Name one record of this server: Type/id.")
        match data.get("meaning"), kind:
            case "instance", _:
                records.append((kind, name))
            case "related", "Encounter":
                episodes.append(name)
            case "authoredby", ("Organization" | "Practitioner"):
                authors.append((kind, name))
            case _:
                refuse(
                    f"{where}.meaning",
                    "Data is a single instance, what is related to an Encounter, "
                    "or what is authored by an Organization or a Practitioner.",
                )
    return tuple(records), tuple(episodes), tuple(authors)


def _read_purposes(node: Json) -> frozenset[str]:
    return frozenset(str(coding.get("code")) for coding in list_objects(node.get("purpose")))


def _read_actions(node: Json) -> tuple[tuple[str | None, str], ...]:
    pairs = {pair for item in list_objects(node.get("action")) for pair in concept_codes(item)}
    return tuple(sorted(pairs, key=str))


def _read_date(value: object, path: str) -> tuple[int, int]:
    try:
        return datetime_interval(str(value))
    except Invalid:
        refuse(path, "Not a date, or a time without its time zone.")
