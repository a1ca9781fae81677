"""The allow-list file, read and validated; a wrong rule is an error that names its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NoReturn

from ehr_fhir.jurisdiction import JURISDICTION

METHODS = frozenset(
    {"keep", "drop", "pseudonym", "reference", "dateshift", "year", "age90", "region"}
    | {"coding", "quantity"}
)

_SECTION = re.compile(r"\s*\[(?P<name>[^\[\]]+)\]")
_KEY = re.compile(r"\s*(\"(?P<quoted>[^\"]+)\"|(?P<bare>[A-Za-z0-9_-]+))\s*=")


class RulesError(ValueError):
    """A rule file that must not be used."""


@dataclass(frozen=True)
class Node:
    """What to do with one element: a method, a closed list, or the elements below it."""

    method: str = ""
    values: frozenset[str] = frozenset()
    elements: Mapping[str, Node] | None = None


@dataclass(frozen=True)
class DeidRules:
    """The reviewed allow-list."""

    version: str
    reference_year: int
    systems: Mapping[str, re.Pattern[str]]
    regions: Mapping[str, str]
    types: Mapping[str, Node]


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
        systems={name: reader.pattern(name, form) for name, form in data["systems"].items()},
        regions=JURISDICTION.regions,
        types={name: reader.elements("types", name) for name in data["types"]},
    )


@dataclass(frozen=True)
class _Reader:
    data: Mapping[str, Any]  # parsed TOML
    lines: Mapping[tuple[str, str], int]

    def pattern(self, system: str, form: str) -> re.Pattern[str]:
        try:
            return re.compile(form)
        except re.error:
            self.fail("systems", system, "not a regular expression")

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
