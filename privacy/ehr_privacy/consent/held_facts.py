"""Held facts: what others than a record's newest version say of it, and the facts in force.

A record is judged by what its author's newest version states, by what third parties stated since,
by the facts it inherits from the records that it names, and by corrections of its patient and of
stewards. All but the first are held beside the record. What third parties and references add closes
a record and never opens it: exceptions look at what the author, the patient and stewards say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from ehr_fhir.references import Target, local_target
from ehr_fhir.resource_links import list_references
from ehr_privacy.consent.model import ANY_DATE, DateRange, Record
from ehr_privacy.consent.resource_facts import is_author_path, record_facts, stated_dates

__all__ = [
    "AUTHOR",
    "KINDS",
    "PATIENT",
    "STEWARD",
    "STEWARD_NOT",
    "UPDATE",
    "HeldFact",
    "apply_held_facts",
    "drop_third_party_facts",
    "held_values",
    "hold_third_party_facts",
    "restate_labels",
]

# Sources of facts; any other is the record that a fact is inherited from, such as "Medication/m1".
UPDATE = "update"
# The author's clinical date, where the newest version is a third party's and states another.
AUTHOR = "author"
PATIENT = "patient"
STEWARD = "steward"
# What a steward says is not so.
STEWARD_NOT = "steward-not"
_OWN_WORD = frozenset({PATIENT, STEWARD})
_NOT_INHERITED = frozenset({UPDATE, AUTHOR, PATIENT, STEWARD, STEWARD_NOT})
KINDS = ("label", "domain", "episode", "author_person", "patient", "date")
_SET_KINDS = KINDS[:-1]
_ANY_DATE_TEXT = "any"


@dataclass(frozen=True, order=True)
class HeldFact:
    """One fact of a record that does not follow from its newest version.

    The value of a date is a day, `any` where it is not known to the day, or empty where there is
    none.
    """

    kind: str
    value: str
    source: str

    @property
    def is_inherited(self) -> bool:
        """Whether it comes from a record that this one names."""
        return self.source not in _NOT_INHERITED


def held_values(held: Iterable[HeldFact], kind: str, source: str) -> set[str]:
    """Return the values of a kind that one source states.

    >>> held_values([HeldFact("label", "HIV", PATIENT)], "label", PATIENT)
    {'HIV'}
    """
    return {fact.value for fact in held if (fact.kind, fact.source) == (kind, source)}


def apply_held_facts(stated: Record, held: Collection[HeldFact]) -> Record:
    """Return the facts in force: those a version states, with what is held beside it.

    >>> stated = Record("Condition", "c", labels=frozenset({"PSY"}))
    >>> record = apply_held_facts(stated, [HeldFact("label", "HIV", "Medication/m")])
    >>> sorted(record.labels), sorted(record.added_labels)
    (['HIV', 'PSY'], ['HIV'])
    """
    if not held:
        return stated
    labels, added_labels = _merge(held, "label", stated.labels)
    episodes, added_episodes = _merge(held, "episode", stated.episodes)
    people, added_people = _merge(held, "author_person", stated.author_people)
    patients, _ = _merge(held, "patient", stated.patients)
    domains, added_domains = _merge(held, "domain", stated.domains)
    domain = _choose_domain(stated.domain, domains - added_domains, domains)
    return replace(
        stated,
        patients=patients,
        directory=stated.directory and not patients,
        labels=labels,
        added_labels=added_labels,
        episodes=episodes,
        added_episodes=added_episodes,
        author_people=people,
        added_people=added_people,
        domain=domain,
        inner_domains=domains - {domain},
        clinical_date=_own_date(stated.clinical_date, held),
        added_dates=_added_dates(held),
    )


def restate_labels(record: Record, held: Collection[HeldFact], stated: frozenset[str]) -> Record:
    """Return a record's facts in force where its newest version states other labels."""
    labels, added = _merge(held, "label", stated)
    return replace(record, labels=labels, added_labels=added)


def hold_third_party_facts(
    before: Mapping[str, Any], now: Mapping[str, Any], held: Iterable[HeldFact]
) -> frozenset[HeldFact]:
    """Return the held facts after a third party's version `now` replaced the version `before`.

    Nothing that held is lost, and what only a third party states opens nothing: a fact stays the
    record's own only while every version since the author's last one states it.
    """
    held = frozenset(held)
    kept = set(drop_third_party_facts(held))
    stated_before, stated_now = _stated_values(before), _stated_values(now)
    for kind in _SET_KINDS:
        updates = held_values(held, kind, UPDATE)
        own_before = stated_before[kind] - updates
        own_now = own_before & stated_now[kind]
        kept |= {
            HeldFact(kind, value, UPDATE)
            for value in (own_before | updates | stated_now[kind]) - own_now
        }
    inherited = [fact for fact in held if fact.is_inherited]
    if inherited and not _links_to_sources(before) <= _links_to_sources(now):
        # What the record inherits it keeps, though it no longer names what that comes from.
        kept |= {HeldFact(fact.kind, fact.value, UPDATE) for fact in inherited}
    held_dates = {fact.source: fact.value for fact in held if fact.kind == "date"}
    author_date = held_dates.get(AUTHOR, _date_text(stated_dates(before)))
    date_now = _date_text(stated_dates(now))
    if date_now != author_date:
        kept.add(HeldFact("date", author_date, AUTHOR))
    dates = held_values(held, "date", UPDATE) | {date_now}
    kept |= {HeldFact("date", value, UPDATE) for value in dates - {author_date, ""}}
    return frozenset(kept)


def drop_third_party_facts(held: Iterable[HeldFact]) -> frozenset[HeldFact]:
    """Return the held facts after a version of the author's own: it ends what others stated."""
    return frozenset(fact for fact in held if fact.source not in (UPDATE, AUTHOR))


def _links_to_sources(resource: Mapping[str, Any]) -> set[tuple[Target, bool]]:
    """Return what a resource names, and whether it names it as its author or otherwise."""
    named = ((local_target(name), is_author_path(path)) for path, name in list_references(resource))
    return {(target, is_author) for target, is_author in named if target is not None}


def _stated_values(resource: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    record = record_facts(resource, None)
    return {
        "label": record.labels,
        "domain": record.domains,
        "episode": record.episodes,
        "author_person": record.author_people,
        "patient": record.patients,
    }


def _merge(
    held: Iterable[HeldFact], kind: str, stated: frozenset[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """Return all values in force of a kind, and those of them that others added."""
    by_source: dict[str, set[str]] = {}
    for fact in held:
        if fact.kind == kind:
            by_source.setdefault(fact.source, set()).add(fact.value)
    if not by_source:
        return stated, frozenset()
    denied = by_source.pop(STEWARD_NOT, set())
    corrected = {value for source in _OWN_WORD for value in by_source.pop(source, ())}
    updates = by_source.pop(UPDATE, set())
    own = (stated - updates - denied) | corrected
    added = updates.union(*by_source.values()) - denied - own
    return own | added, frozenset(added)


def _choose_domain(stated: str, own: frozenset[str], domains: frozenset[str]) -> str:
    """Return the record's first domain: one of its own, or one that leaves others beside it.

    An exception or a grant opens a record of one domain: a domain that only a third party states is
    never left alone.
    """
    if stated in own or (stated in domains and len(domains) > 1):
        return stated
    return min(own, default="other")


def _own_date(stated: date | None, held: Collection[HeldFact]) -> date | None:
    values = {fact.source: fact.value for fact in held if fact.kind == "date"}
    if STEWARD in values:
        return _parse_day(values[STEWARD])
    day = _parse_day(values[AUTHOR]) if AUTHOR in values else stated
    is_denied = day is not None and HeldFact("date", day.isoformat(), STEWARD_NOT) in held
    return None if is_denied else day


def _added_dates(held: Collection[HeldFact]) -> DateRange | None:
    dates: DateRange | None = None
    for value in held_values(held, "date", UPDATE) - held_values(held, "date", STEWARD_NOT):
        day = _parse_day(value)
        dates = (ANY_DATE if day is None else DateRange(day, day)) | dates
    return dates


def _date_text(dates: DateRange | None) -> str:
    if dates is None:
        return ""
    return _ANY_DATE_TEXT if dates == ANY_DATE else dates.first.isoformat()


def _parse_day(value: str) -> date | None:
    return None if value in ("", _ANY_DATE_TEXT) else date.fromisoformat(value)
