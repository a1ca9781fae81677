"""Mapping rules: mappings.toml, read and checked against the columns of the CDM."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from ehr_etl.omop.cdm import load_cdm
from ehr_etl.omop.fhir_values import find_values, list_codings
from ehr_fhir.errors import Fault

__all__ = ["EventRule", "MappingRules", "TargetRule", "load_mappings", "mappings_digest"]

_FILES = ("mappings.toml", "crosswalk.csv", "cdm_fields.csv")
_DOMAINS = ("Condition", "Drug", "Procedure", "Device", "Measurement", "Observation")

Values = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class CodedElement:
    """Where a further code of an event is, and the code system of a plain code."""

    paths: tuple[str, ...]
    system: str = ""


@dataclass(frozen=True)
class Choice:
    """What holds where an element has one of some values."""

    element: str
    values: frozenset[Any]
    result: Any


@dataclass(frozen=True)
class EventRule:
    """What a record of one FHIR type tells, as far as the CDM has a place for it."""

    resource_type: str
    target: str = ""
    domain: str = ""
    domains: tuple[Choice, ...] = ()
    needed: Values = field(default_factory=dict)
    refused: Values = field(default_factory=dict)
    noted: Values = field(default_factory=dict)
    code: tuple[str, ...] = ()
    start: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    part_of: tuple[str, ...] = ()
    visit: tuple[str, ...] = ()
    provider: tuple[str, ...] = ()
    care_site: tuple[str, ...] = ()
    quantity: tuple[str, ...] = ()
    days: tuple[str, ...] = ()
    refills: tuple[str, ...] = ()
    value: bool = False
    type: int = 0
    # Where no end is told and the CDM needs one.
    type_of_derived_end: int = 0
    types: tuple[Choice, ...] = ()
    concepts: Mapping[str, CodedElement] = field(default_factory=dict)

    def refusal(self, resource: Mapping[str, Any]) -> str | None:
        """Return why a record tells of nothing that took place; None if it does.

        >>> load_mappings().events["Immunization"].refusal({"status": "not-done"})
        'status=not-done'
        """
        for element, accepted in self.needed.items():
            values = list(_plain_values(resource, element))
            if not any(value in accepted for value in values):
                return f"{element}={values[0] if values else 'absent'}"
        return next(_matches(resource, self.refused), None)

    def notes(self, resource: Mapping[str, Any]) -> list[str]:
        """Return modifiers that a reader has to know of, and that do not keep a record out."""
        return list(_matches(resource, self.noted))

    def type_concept(self, resource: Mapping[str, Any]) -> int:
        """Return where the record comes from, by its category; the most general one if unsaid."""
        return int(_choose(self.types, resource, self.type))

    def default_domain(self, resource: Mapping[str, Any]) -> str:
        """Return the domain of a record whose concept has none."""
        return str(_choose(self.domains, resource, self.domain))


@dataclass(frozen=True)
class TargetRule:
    """A table of the CDM, and which of an event's values each of its columns takes."""

    table: str
    columns: Mapping[str, str]

    @cached_property
    def columns_by_value(self) -> Mapping[str, str]:
        """Return value of an event -> the column that takes it."""
        return {value: column for column, value in self.columns.items()}


@dataclass(frozen=True)
class MappingRules:
    """All rules."""

    guide: str
    fhir: str
    rules_since: str
    vocabularies: Mapping[str, str]
    precedence: tuple[str, ...]
    events: Mapping[str, EventRule]
    targets: Mapping[str, TargetRule]

    def target_of_domain(self, domain: str) -> str:
        """Return the target of a domain; what has no table of its own is an observation."""
        return domain if domain in _DOMAINS else "Observation"


@cache
def load_mappings() -> MappingRules:
    """Read the rules; a column that the CDM does not have is an error."""
    text = (files(__package__) / "mappings.toml").read_text("utf-8")
    data = tomllib.loads(text)
    targets = {
        name: TargetRule(target["table"], MappingProxyType(target["columns"]))
        for name, target in data["targets"].items()
    }
    for target in targets.values():
        unknown = target.columns.keys() - {item.name for item in load_cdm()[target.table]}
        if unknown:
            raise Fault(f"mappings.toml: {target.table} has no column {', '.join(unknown)}.")
    return MappingRules(
        guide=data["guide"],
        fhir=data["fhir"],
        rules_since=data["rules_since"].isoformat(),
        vocabularies=MappingProxyType(data["vocabularies"]),
        precedence=tuple(data["precedence"]["order"]),
        events=MappingProxyType(
            {name: _event_rule(name, event) for name, event in data["events"].items()}
        ),
        targets=MappingProxyType(targets),
    )


def mappings_digest() -> str:
    """Return a digest of all rules, the built-in crosswalk and the list of columns."""
    digest = hashlib.sha256()
    for name in _FILES:
        digest.update((files(__package__) / name).read_bytes())
    return digest.hexdigest()[:32]


def _event_rule(name: str, event: Mapping[str, Any]) -> EventRule:
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in event.items()
    }
    values["types"] = _choices(event.get("types", ()), "concept")
    values["domains"] = _choices(event.get("domains", ()), "domain")
    values["concepts"] = {
        key: CodedElement(tuple(element["paths"]), element.get("system", ""))
        for key, element in event.get("concepts", {}).items()
    }
    return EventRule(name, **values)


def _choices(items: Sequence[Mapping[str, Any]], result: str) -> tuple[Choice, ...]:
    return tuple(Choice(item["element"], frozenset(item["values"]), item[result]) for item in items)


def _choose(choices: Sequence[Choice], resource: Mapping[str, Any], otherwise: Any) -> Any:
    for choice in choices:
        if any(value in choice.values for value in _plain_values(resource, choice.element)):
            return choice.result
    return otherwise


def _matches(resource: Mapping[str, Any], listed: Values) -> Iterator[str]:
    for element, values in listed.items():
        for value in _plain_values(resource, element):
            if value in values:
                yield f"{element}={str(value).lower() if isinstance(value, bool) else value}"


def _plain_values(resource: Mapping[str, Any], element: str) -> Iterator[Any]:
    """Yield the values of an element; of a coded one its codes."""
    for value in find_values(resource, element):
        if isinstance(value, Mapping):
            yield from (coding.code for coding in list_codings(value))
        else:
            yield value
