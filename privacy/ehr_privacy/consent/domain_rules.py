"""Which data domain a resource falls in, from the reviewed rules/domains.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from ehr_privacy.consent.model import DOMAINS

__all__ = ["DomainRule", "DomainRules", "domain_of", "load_domains", "parse_domains"]

Json = Mapping[str, Any]  # JSON of every shape


@dataclass(frozen=True)
class DomainRule:
    """One line of the domain rules: which codes of a type give which domain."""

    category: frozenset[str]
    code: frozenset[str]
    domain: str


@dataclass(frozen=True)
class DomainRules:
    """The reviewed data of rules/domains.toml, validated."""

    directory: frozenset[str]
    gathering: frozenset[str]
    clinical_date: tuple[tuple[str, ...], ...]
    types: Mapping[str, str]
    rules: Mapping[str, tuple[DomainRule, ...]]


@cache
def load_domains() -> DomainRules:
    """Read and validate the domain rules that ship with the package."""
    text = files("ehr_privacy").joinpath("rules/domains.toml").read_text(encoding="utf-8")
    return parse_domains(text)


def parse_domains(text: str) -> DomainRules:
    """Parse domain rules; raise ValueError naming the first entry that is wrong."""
    data = tomllib.loads(text)
    rules: dict[str, list[DomainRule]] = {}
    for number, row in enumerate(data["rules"], 1):
        if row["domain"] not in DOMAINS or set(row) - {"type", "category", "code", "domain"}:
            raise ValueError(f"domains.toml: rule {number}: unknown domain or key")
        rule = DomainRule(
            frozenset(row.get("category", ())), frozenset(row.get("code", ())), row["domain"]
        )
        rules.setdefault(row["type"], []).append(rule)
    for name, domain in data["types"].items():
        if domain not in DOMAINS:
            raise ValueError(f"domains.toml: types.{name}: unknown domain")
    return DomainRules(
        directory=frozenset(data["directory"]),
        gathering=frozenset(data["gathering"]),
        clinical_date=tuple(tuple(path.split(".")) for path in data["clinical_date"]),
        types=data["types"],
        rules={name: tuple(of_type) for name, of_type in rules.items()},
    )


def domain_of(resource: Json) -> str:
    """Return the data domain of a resource by the rule file."""
    rules = load_domains()
    kind = str(resource["resourceType"])
    of_type = rules.rules.get(kind, ())
    if of_type:
        categories = _codes(resource.get("category"))
        codes = _codes(resource.get("code"))
        for rule in of_type:
            if (not rule.category or rule.category & categories) and (
                not rule.code or rule.code & codes
            ):
                return rule.domain
    return rules.types.get(kind, "other")


def _codes(value: object) -> frozenset[str]:
    concepts = value if isinstance(value, list) else [value]
    return frozenset(
        str(coding["code"])
        for concept in _objects(concepts)
        for coding in _objects(concept.get("coding"))
        if coding.get("code")
    )


def _objects(value: object) -> Sequence[Json]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
