"""Write the pages on OMOP: conformance from its list, and where each column comes from."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ehr_etl.omop.cdm import load_cdm
from ehr_etl.omop.mappings import EventRule, load_mappings
from tests.conftest import ROOT

CONFORMANCE = ROOT / "docs/reference/omop-conformance.md"
MAPPING = ROOT / "docs/reference/omop-mapping.md"
_LIST = ROOT / "tests/data/omop_conformance.toml"
_CONFORMANCE_HEAD = """# OMOP: conformance with the FHIR to OMOP guide

Made by `make omop-pages` from `tests/data/omop_conformance.toml`. The guide is
`hl7.fhir.uv.omop`, edition 2.0.0-ballot, for CDM 5.4. A requirement that is met names the tests
that fail if it no longer is, or the page that documents what it asks for; a test sees to it that
they are there. What is not met says why.

"""
_MAPPING_HEAD = """# OMOP: where each column comes from

Made by `make omop-pages` from `etl/ehr_etl/omop/mappings.toml`. Elements are tried in their order.
Why it is so, and what is lost: [OMOP](../explanation/omop.md).

## Records

| FHIR R4 | goes to | if | start | end | type concept |
| --- | --- | --- | --- | --- | --- |
"""
_COLUMNS_HEAD = """
A domain is that of the code's concept; the one given here holds where the vocabulary knows none.
Components of an Observation are rows of their own, with the date of the whole.

## Columns
"""


@dataclass(frozen=True)
class Requirement:
    """A requirement of the guide, and what is done about it."""

    number: str
    verb: str
    says: str
    status: str
    tests: tuple[str, ...] = ()
    page: str = ""
    note: str = ""


def load_requirements() -> list[Requirement]:
    """Return the requirements; short names of test files are written out."""
    data = tomllib.loads(_LIST.read_text("utf-8"))
    files = {name: path for name, path in data.items() if isinstance(path, str)}
    listed = []
    for item in data["requirement"]:
        tests = [test.partition("::") for test in item.pop("tests", [])]
        named = tuple(f"{files.get(file, file)}{mark}{test}" for file, mark, test in tests)
        listed.append(Requirement(tests=named, **item))
    return listed


def conformance_text() -> str:
    """Return the page on conformance."""
    requirements = load_requirements()
    counts = Counter(requirement.status for requirement in requirements)
    told = ", ".join(f"{counts[status]} {status}"
                     for status in ("met", "not met", "not applicable"))  # fmt: skip
    lines = [f"{len(requirements)} requirements: {told}.", ""]
    lines += ["| f2o- | | requirement | | by | note |", "| --- | --- | --- | --- | --- | --- |"]
    for item in requirements:
        by = "<br>".join(_short(test) for test in item.tests)
        if item.page:
            by = f"[{item.page.rpartition('/')[2]}]({_link(item.page)})"
        lines.append(
            f"| {item.number} | {item.verb} | {item.says} | {item.status} | {by} | {item.note} |"
        )
    return _CONFORMANCE_HEAD + "\n".join(lines) + "\n"


def mapping_text() -> str:
    """Return the page on the columns."""
    rules = load_mappings()
    records = [_record_line(rule) for rule in rules.events.values()]
    sections = []
    for target in rules.targets.values():
        fields = [field.name for field in load_cdm()[target.table]]
        empty = [name for name in fields if name not in target.columns]
        listed = [f"| `{name}` | {target.columns[name]} |" for name in fields
                  if name in target.columns]  # fmt: skip
        sections += [f"\n### `{target.table}`\n", "| column | takes |", "| --- | --- |", *listed]
        if empty:
            sections.append(f"\nAlways null: {', '.join(f'`{name}`' for name in empty)}.")
    return _MAPPING_HEAD + "\n".join([*records, _COLUMNS_HEAD, *sections]) + "\n"


def _record_line(rule: EventRule) -> str:
    target = rule.target or f"domain {rule.domain}"
    target += "".join(
        f"; {choice.result} ({choice.element}: {', '.join(sorted(choice.values))})"
        for choice in rule.domains
    )
    conditions = [f"{name} is {_list(values)}"
                  for name, values in rule.needed.items()]  # fmt: skip
    conditions += [f"{name} is not {_list(values)}"
                   for name, values in rule.refused.items()]  # fmt: skip
    types = [f"{choice.result} ({choice.element}: {_list(sorted(choice.values))})"
             for choice in rule.types]  # fmt: skip
    types += [str(rule.type)] if rule.type else []
    paths = (", ".join(rule.start), ", ".join(rule.end))
    cells = (rule.resource_type, target, "; ".join(conditions), *paths, ", ".join(types))
    return f"| {' | '.join(cells)} |"


def _list(values: Iterable[object]) -> str:
    return ", ".join(str(value).lower() if isinstance(value, bool) else str(value)
                     for value in values)  # fmt: skip


def _short(test: str) -> str:
    file, _, name = test.partition("::")
    return f"`{name or file.rpartition('/')[2]}`"


def _link(page: str) -> str:
    folder, _, name = page.removeprefix("docs/").rpartition("/")
    return name if folder == "reference" else f"../{folder}/{name}"


if __name__ == "__main__":
    CONFORMANCE.write_text(conformance_text(), "utf-8")
    MAPPING.write_text(mapping_text(), "utf-8")
