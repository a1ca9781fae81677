"""Every regular expression of the packages takes linear time as it is used, whatever the text.

Python's engine backtracks: an expression whose parts can share a text in many ways stands still for
minutes on some, and the whole process with it. Each compiled expression of a module is attacked by
texts made from it, through the methods by which its module uses it. Patterns that clients choose
are RE2's: `ehr_fhir/fhirpath/linear_regex.py`.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from tests.lib.regex_attacks import seconds_of_slowest

PACKAGES = ("ehr_fhir", "ehr_gateway", "ehr_inbound", "ehr_portal", "ehr_privacy")
METHODS = {"match", "fullmatch", "search", "sub", "subn", "findall", "finditer", "split"}
# On 20,000 characters; a quadratic expression takes two seconds and more, a linear one 5 ms.
ENOUGH = 0.7


def modules() -> Iterator[ModuleType]:
    for name in PACKAGES:
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if ".migrations" not in found.name:
                yield importlib.import_module(found.name)


def methods_in(module: ModuleType) -> dict[str, set[str]]:
    """Return by which methods a module uses each name."""
    used: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used.setdefault(node.value.id, set()).add(node.attr)
    return used


@cache
def patterns() -> dict[str, tuple[re.Pattern[str], set[str]]]:
    found: dict[str, tuple[re.Pattern[str], set[str]]] = {}
    for module in modules():
        used = methods_in(module)
        for name, value in vars(module).items():
            # A bound method, such as `re.compile(...).fullmatch`, is used as what it is.
            bound = getattr(value, "__self__", None)
            pattern = bound if isinstance(bound, re.Pattern) else value
            if not isinstance(pattern, re.Pattern) or not isinstance(pattern.pattern, str):
                continue
            methods = {value.__name__} if pattern is bound else used.get(name, set()) & METHODS
            found[f"{module.__name__}.{name}"] = pattern, methods or {"match", "fullmatch"}
    return found


@pytest.mark.parametrize("name", sorted(patterns()))
def test_an_expression_takes_linear_time_on_every_attack(name: str) -> None:
    pattern, methods = patterns()[name]

    assert seconds_of_slowest(pattern, methods, ENOUGH) < ENOUGH, pattern.pattern


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"(a+)+$", "match"),
        (r"(\w+\s?)*!", "match"),
        (r"\s*\(x\)$", "search"),
        (r"^https?://.+/([A-Z][a-z]+)/(\w{1,64})(?:/_history/.+)?$", "fullmatch"),
        (r"[a-z]*\.", "sub"),
    ],
)
def test_the_attacks_find_expressions_that_are_slow(pattern: str, method: str) -> None:
    if method == "fullmatch":
        # Quadratic with a small factor: it shows on a longer text than the attacks have.
        assert seconds_of_slowest(re.compile(pattern), {method}, 0.1) > 0.02
        return
    assert seconds_of_slowest(re.compile(pattern), {method}, 0.2) > 0.2
