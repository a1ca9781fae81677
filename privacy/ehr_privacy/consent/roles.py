"""The role tables: profession × domain, who sees and who writes types with rules of their own."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

CELLS = ("open", "restricted", "none")
ROLES = (
    "patient",
    "carer",
    "clinician",
    "researcher",
    "steward",
    "auditor",
    "administrator",
    "system",
)
PROFESSIONS = (
    "doctor",
    "dentist",
    "dental-hygienist",
    "nurse",
    "midwife",
    "pharmacist",
    "medical-laboratory-technologist",
    "occupational-therapist",
    "optometrist",
    "physiotherapist",
    "radiographer",
    "chiropractor",
    "chinese-medicine-practitioner",
)


@dataclass(frozen=True)
class RoleMatrix:
    """The reviewed data of rules/roles.toml, validated."""

    cells: Mapping[str, Mapping[str, str]]
    readers: Mapping[str, frozenset[str]]
    directory_readers: Mapping[str, frozenset[str]]
    writers: Mapping[str, frozenset[str]]
    platform: str
    # Types that the platform writes about those alone who have joined.
    derived: frozenset[str]

    def cell(self, role: str, profession: str | None, domain: str) -> str:
        """Return the cell of a role, profession and domain: open, restricted, or none by default.

        >>> load_roles().cell("clinician", "pharmacist", "radiology")
        'restricted'
        """
        row = self.cells.get("system" if role == "system" else profession or "", {})
        cell = row.get(domain, "none")
        # A system acts in no profession, so nobody could be asked for a step-up consent.
        return "none" if role == "system" and cell == "restricted" else cell

    def cell_of_all(self, role: str, profession: str | None, domains: Iterable[str]) -> str:
        """Return the narrowest cell among domains, for a record that holds others.

        >>> load_roles().cell_of_all("clinician", "pharmacist", {"laboratory", "radiology"})
        'restricted'
        """
        return max((self.cell(role, profession, domain) for domain in domains), key=CELLS.index)


@cache
def load_roles() -> RoleMatrix:
    """Read and validate the role tables that ship with the package."""
    text = files("ehr_privacy").joinpath("rules/roles.toml").read_text(encoding="utf-8")
    return parse_roles(text)


def parse_roles(text: str) -> RoleMatrix:
    """Parse role tables; raise ValueError naming the first entry that is wrong."""
    data = tomllib.loads(text)
    domains = tuple(data["domains"])
    cells = {name: _row(name, row, domains) for name, row in data["cells"].items()}
    missing = {*PROFESSIONS, "system"} ^ set(cells)
    if missing:
        raise ValueError(f"roles.toml: cells: missing or unknown rows {sorted(missing)}")
    return RoleMatrix(
        cells=cells,
        readers=_role_sets("readers", data["readers"], {*ROLES}),
        directory_readers=_role_sets(
            "directory_readers", data["directory_readers"], {*ROLES, "author"}
        ),
        writers=_role_sets("writers", data["writers"], {*ROLES, "platform"}),
        platform=data["platform"],
        derived=frozenset(data["derived"]),
    )


def _row(name: str, row: Mapping[str, object], domains: tuple[str, ...]) -> Mapping[str, str]:
    cells = {str(domain): str(cell) for domain, cell in row.items()}
    if set(cells) != set(domains):
        raise ValueError(f"roles.toml: cells.{name}: names every domain once")
    if not set(cells.values()) <= set(CELLS):
        raise ValueError(f"roles.toml: cells.{name}: a cell is open, restricted or none")
    return cells


def _role_sets(
    table: str, data: Mapping[str, list[str]], known: set[str]
) -> Mapping[str, frozenset[str]]:
    for name, roles in data.items():
        if not set(roles) <= known:
            raise ValueError(f"roles.toml: {table}.{name}: an unknown role")
    return {name: frozenset(roles) for name, roles in data.items()}
