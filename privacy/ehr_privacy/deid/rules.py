"""The allow-list file, read and validated; a wrong rule is an error that names its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, NoReturn

from ehr_fhir.definitions import code_systems
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_privacy.deid.code_checks import CHECKS

METHODS = frozenset(
    {"keep", "drop", "pseudonym", "reference", "dateshift", "deceased", "year", "age", "region"}
    | {"coding", "quantity", "linkid"}
)

# Below two every code of one person would pass.
_FEWEST_PERSONS = 2
_SECTION = re.compile(r"\s*\[(?P<name>[^\[\]]+)\]")
_KEY = re.compile(r"\s*(\"(?P<quoted>[^\"]+)\"|(?P<bare>[A-Za-z0-9_-]+))\s*=")


class RulesError(ValueError):
    """A rule file that must not be used."""


@dataclass(frozen=True)
class CodeForm:
    """How the codes of a system look: a regular expression, or a check by its name."""

    pattern: re.Pattern[str] | None = None
    check: str = ""

    def accepts(self, code: str) -> bool:
        """Say whether a code has the form."""
        if self.pattern is not None:
            return self.pattern.fullmatch(code) is not None
        return CHECKS[self.check](code)


@dataclass(frozen=True)
class Node:
    """What to do with one element: a method, a closed list, or the elements below it."""

    method: str = ""
    values: frozenset[str] = frozenset()
    elements: Mapping[str, Node] | None = None


@dataclass(frozen=True, eq=False)
class DeidRules:
    """The reviewed allow-list; two are one only if they are the same object, so that it hashes."""

    version: str
    reference_year: int
    systems: Mapping[str, CodeForm]
    regions: Mapping[str, str]
    types: Mapping[str, Node]
    # Type -> paths of the element that says when an event was, the first that is there.
    event_dates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # System -> codes whose dates are public knowledge; one that ends with * stands for a beginning.
    known_dates: Mapping[str, frozenset[str]] = field(default_factory=dict)
    # "age" and "birth" -> codes of observations that tell a person's age or birth date.
    told: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    # A code that fewer persons have is rare.
    rare_code_persons: int = 0
    # Systems of which no code is rare; one that ends with * stands for a beginning.
    uncounted_systems: tuple[str, ...] = ()

    def knows_code(self, system: str, code: str) -> bool:
        """Say whether a code may pass: of a listed system and its form, or one of HL7's own."""
        form = self.systems.get(system)
        if form is not None and form.accepts(code):
            return True
        return code in code_systems().get(system, ())

    def is_counted(self, system: str) -> bool:
        """Say whether a code of a system is rare where few persons have it."""
        return not any(
            system.startswith(name[:-1]) if name.endswith("*") else system == name
            for name in self.uncounted_systems
        )

    def has_known_date(self, system: str, code: str) -> bool:
        """Say whether everybody knows, within weeks, when records of a code were made."""
        codes = self.known_dates.get(system)
        if codes is None:
            return False
        return code in codes or any(f"{code[:end]}*" in codes for end in range(1, len(code) + 1))


@cache
def load_rules() -> DeidRules:
    """Read and validate the allow-list that ships with the package."""
    text = files("ehr_privacy").joinpath("rules/deid.toml").read_text(encoding="utf-8")
    return parse_rules(text)


def parse_rules(text: str) -> DeidRules:
    """Parse an allow-list; raise RulesError with the line of the first rule that is wrong."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RulesError(f"deid.toml: {error}") from None
    lines = _lines(text)
    reader = _Reader(data, lines)
    return DeidRules(
        version=str(data["version"]),
        reference_year=int(data["reference_year"]),
        systems={name: reader.form(name, form) for name, form in data["systems"].items()},
        regions=JURISDICTION.regions,
        types={name: reader.elements("types", name) for name in data["types"]},
        event_dates={name: tuple(paths) for name, paths in data.get("event_dates", {}).items()},
        known_dates={name: frozenset(codes) for name, codes in data.get("known_dates", {}).items()},
        told={
            name: frozenset((system, code) for system, codes in listed.items() for code in codes)
            for name, listed in data.get("told", {}).items()
        },
        **reader.rare_codes(),
    )


@dataclass(frozen=True)
class _Reader:
    data: Mapping[str, Any]  # parsed TOML
    lines: Mapping[tuple[str, str], int]

    def form(self, system: str, form: str) -> CodeForm:
        if form.startswith("="):
            if form[1:] not in CHECKS:
                self.fail("systems", system, f"no check is called {form[1:]}")
            return CodeForm(check=form[1:])
        try:
            return CodeForm(re.compile(form, re.ASCII))
        except re.error:
            self.fail("systems", system, "not a regular expression")

    def rare_codes(self) -> dict[str, Any]:
        """Read the section of rare codes; an allow-list without one counts nothing."""
        section = self.data.get("rare_codes")
        if section is None:
            return {}
        persons, systems = section.get("persons"), section.get("uncounted", [])
        if isinstance(persons, bool) or not isinstance(persons, int) or persons < _FEWEST_PERSONS:
            self.fail("rare_codes", "persons", f"a number of {_FEWEST_PERSONS} or more")
        if not isinstance(systems, list) or not all(isinstance(name, str) for name in systems):
            self.fail("rare_codes", "uncounted", "a list of code systems")
        return {"rare_code_persons": persons, "uncounted_systems": tuple(systems)}

    def elements(self, table: str, name: str, seen: tuple[str, ...] = ()) -> Node:
        """Read one section; its dotted keys become a tree."""
        section = f"{table}.{name}"
        tree: dict[str, Any] = {}
        for path, rule in self.data[table][name].items():
            *parents, leaf = path.split(".")
            place = tree
            for parent in parents:
                place = place.setdefault(parent, {})
                if isinstance(place, Node):
                    self.fail(section, path, "an element has a rule of its own above this one")
            if leaf in place:
                self.fail(section, path, "the element has two rules")
            place[leaf] = self.rule(section, path, rule, seen)
        return _tree(tree)

    def rule(self, section: str, path: str, rule: object, seen: tuple[str, ...]) -> Node:
        if isinstance(rule, list):
            if not rule or not all(isinstance(value, str) for value in rule):
                self.fail(section, path, "a closed list holds codes")
            return Node(values=frozenset(rule))
        if not isinstance(rule, str):
            self.fail(section, path, "a rule is a method, a datatype or a list of codes")
        if rule.startswith("="):
            if rule[1:] not in self.data["values"]:
                self.fail(section, path, f"no list of values is called {rule[1:]}")
            return Node(values=frozenset(self.data["values"][rule[1:]]))
        if rule in METHODS:
            return Node(method=rule)
        if rule in self.data["datatypes"] and rule not in seen:
            return self.elements("datatypes", rule, (*seen, rule))
        self.fail(section, path, f"no method or datatype is called {rule}")

    def fail(self, section: str, key: str, why: str) -> NoReturn:
        line = self.lines.get((section, key), 0)
        raise RulesError(f"deid.toml line {line}: [{section}] {key}: {why}")


def _tree(tree: Mapping[str, Any]) -> Node:
    return Node(
        elements={k: v if isinstance(v, Node) else _tree(v) for k, v in tree.items()},
    )


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Return the line of each key by section: the TOML parser does not say."""
    lines: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _SECTION.match(line):
            section = match["name"]
        elif match := _KEY.match(line):
            lines[section, match["quoted"] or match["bare"]] = number
    return lines
