"""Which data domains a resource falls in, by the reviewed rules/domains.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from ehr_privacy.consent.clinical_consents import is_clinical_consent
from ehr_privacy.consent.code_systems import (
    NO_SYSTEM,
    is_known_system,
    normalize_code,
    normalize_system,
)
from ehr_privacy.consent.model import DOMAINS

__all__ = ["CodeDomains", "DomainRules", "OpenType", "domains_of", "load_domains", "parse_domains"]

Json = Mapping[str, Any]  # JSON of every shape

# Advance directives and consents to treatment sum up what is agreed about care.
_CLINICAL_CONSENT_DOMAIN = "summary"
# Who, whom, when and in which state. What a record contains and has nothing else, such as the
# referral in a claim, does not tell what was asked for, and nothing of it can be in doubt.
_TELLING_NOTHING = frozenset({
    "authoredOn", "encounter", "id", "intent", "performer", "requester", "resourceType", "status",
    "subject",
})  # fmt: skip


@dataclass(frozen=True)
class OpenType:
    """A type whose domain its codes tell: where they stand, and what it may be without them."""

    elements: tuple[str, ...]
    domains: tuple[str, ...]
    # What it is alone where a code says so, and not in doubt.
    if_said: tuple[str, ...] = ()


@dataclass(frozen=True)
class CodeDomains:
    """The domains that one code says; `alone` if what stands beside it does not count."""

    domains: tuple[str, ...] = ()
    alone: bool = False


@dataclass(frozen=True)
class DomainRules:
    """The reviewed data of rules/domains.toml, validated."""

    directory: frozenset[str]
    gathering: frozenset[str]
    clinical_date: tuple[tuple[str, ...], ...]
    types: Mapping[str, str]
    # System -> normalized code -> domains.
    codes: Mapping[str, Mapping[str, CodeDomains]]
    open_types: Mapping[str, OpenType]
    # Types of one domain, with the elements whose codes may add another.
    added_by: Mapping[str, tuple[str, ...]]


@cache
def load_domains() -> DomainRules:
    """Read and validate the domain rules that ship with the package."""
    text = files("ehr_privacy").joinpath("rules/domains.toml").read_text(encoding="utf-8")
    return parse_domains(text)


def parse_domains(text: str) -> DomainRules:
    """Parse domain rules; raise ValueError naming the first entry that is wrong."""
    data = tomllib.loads(text)
    codes: dict[str, dict[str, CodeDomains]] = {}
    for number, row in enumerate(data["codes"], 1):
        systems = set(row) - {"domain", "alone"}
        if row["domain"] not in DOMAINS or systems != {*map(normalize_system, systems)}:
            raise ValueError(f"domains.toml: codes {number}: unknown domain or system")
        for system in systems:
            of_system = codes.setdefault(system, {})
            for code in map(normalize_code, row[system]):
                said = of_system.get(code, CodeDomains())
                of_system[code] = CodeDomains(
                    (*said.domains, row["domain"]), said.alone or row.get("alone", False)
                )
    for kind, row in data["doubt"].items():
        named = {*row["domains"], *row.get("if_said", ())}
        if not named <= {*DOMAINS} or not row["elements"]:
            raise ValueError(f"domains.toml: doubt.{kind}: unknown domain, or no element")
    for name, domain in data["types"].items():
        if domain not in DOMAINS:
            raise ValueError(f"domains.toml: types.{name}: unknown domain")
    return DomainRules(
        directory=frozenset(data["directory"]),
        gathering=frozenset(data["gathering"]),
        clinical_date=tuple(tuple(path.split(".")) for path in data["clinical_date"]),
        types=data["types"],
        codes=codes,
        open_types={
            kind: OpenType(
                tuple(row["elements"]), tuple(row["domains"]), tuple(row.get("if_said", ()))
            )
            for kind, row in data["doubt"].items()
        },
        added_by={kind: tuple(elements) for kind, elements in data["usual"].items()},
    )


def domains_of(resource: Json, *, is_held: bool = False) -> tuple[str, ...]:
    """Return the data domains that a resource counts under, its own first.

    In doubt, when no code of a known system says which, it counts under every one that its type
    may be of, unless it is held in another record and tells nothing at all.

    >>> glucose = {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]}
    >>> domains_of({"resourceType": "Observation", "code": glucose})
    ('laboratory',)
    >>> domains_of({"resourceType": "Observation", "code": {"text": "Glucose"}})
    ('observation', 'laboratory', 'radiology', 'investigation', 'birth')
    >>> domains_of({"resourceType": "ServiceRequest", "status": "completed"}, is_held=True)
    ('referral',)
    """
    rules = load_domains()
    kind = str(resource["resourceType"])
    if kind == "Consent":
        # A rule is of no clinical domain.
        return (_CLINICAL_CONSENT_DOMAIN if is_clinical_consent(resource) else "other",)
    usual = rules.types.get(kind, "other")
    open_type = rules.open_types.get(kind)
    elements = open_type.elements if open_type else rules.added_by.get(kind, ())
    if not elements:
        return (usual,)
    said: list[str] = []
    likely: list[str] = []
    for element in elements:
        # The first element that says something certain decides: a category before a code.
        is_decided = bool(said)
        for coding in _codings(resource, element):
            code, is_certain = _domains_of_code(coding.get("system"), coding.get("code"))
            if code.alone and is_certain:
                return code.domains
            if not is_decided:
                (said if is_certain else likely).extend(code.domains)
    if open_type is None:
        domains = [usual, *said, *likely]
    elif not said:
        tells_nothing = is_held and resource.keys() <= _TELLING_NOTHING
        possible = (usual,) if tells_nothing else open_type.domains
        domains = [*possible, *likely]
    elif {*said} & {*open_type.domains, *open_type.if_said}:
        domains = [*said, *likely]
    else:
        domains = [usual, *said, *likely]
    return tuple(dict.fromkeys(domains))


# A store has few codes for many records, and each write asks for those of its own.
@lru_cache(maxsize=16_384)
def _domains_of_code(system: object, code: object) -> tuple[CodeDomains, bool]:
    """Return what a code says, and whether that is certain: its system is known, or it has none."""
    if not isinstance(code, str):
        return CodeDomains(), False
    name, codes = normalize_system(system), load_domains().codes
    compared = normalize_code(code)
    if name in codes:
        return codes[name].get(compared, CodeDomains()), True
    if is_known_system(name):
        return CodeDomains(), True
    of_any = [some[compared] for some in codes.values() if compared in some]
    domains = tuple(dict.fromkeys(domain for said in of_any for domain in said.domains))
    return CodeDomains(domains, any(said.alone for said in of_any)), name == NO_SYSTEM


def _codings(resource: Json, element: str) -> Iterator[Json]:
    value = resource.get(element)
    for concept in _objects(value if isinstance(value, list) else [value]):
        yield from _objects(concept.get("coding"))


def _objects(value: object) -> Sequence[Json]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
