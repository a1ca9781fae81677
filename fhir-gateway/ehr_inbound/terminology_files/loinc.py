"""LOINC: the table of terms, the hierarchy of its parts if there, names in other languages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ehr_fhir.errors import NotFound
from ehr_fhir.terminology.code_system import SystemHeader
from ehr_gateway.terminology.load import LoadedConcept
from ehr_inbound.terminology_files.tables import find_file, read_csv

__all__ = ["read"]

_URL = "http://loinc.org"
# Columns of the table that are properties of R4 (https://hl7.org/fhir/R4/loinc.html).
_PROPERTIES = (
    "COMPONENT", "PROPERTY", "TIME_ASPCT", "SYSTEM", "SCALE_TYP", "METHOD_TYP", "CLASS",
    "CLASSTYPE", "ORDER_OBS", "STATUS", "VersionLastChanged",
)  # fmt: skip
_NO_LONGER_USED = frozenset({"DEPRECATED", "DISCOURAGED"})
_OTHER_NAMES = ("SHORTNAME", "CONSUMER_NAME", "DisplayName")


def read(path: Path, version: str | None) -> tuple[SystemHeader, Iterable[LoadedConcept]]:
    """Read `Loinc.csv`, or the folder of a release."""
    table = path if path.is_file() else find_file(path, "Loinc.csv")
    rows = list(read_csv(table))
    if version is None:
        changed = (row.get("VersionLastChanged", "") for row in rows)
        version = max((one for one in changed if one), key=_release, default=None)
    header = SystemHeader(_URL, version, "LOINC", "LOINC", language="en")
    parents, groups = _read_hierarchy(path)
    return header, _concepts(rows, parents, groups, _read_translations(path))


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _read_hierarchy(path: Path) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return what is above each code, and the names of the parts that group codes."""
    parents: dict[str, list[str]] = defaultdict(list)
    names: dict[str, str] = {}
    try:
        file = find_file(path, "ComponentHierarchyBySystem.csv")
    except NotFound:
        return parents, names
    for row in read_csv(file):
        names[row["CODE"]] = row["CODE_TEXT"]
        if row["IMMEDIATE_PARENT"]:
            parents[row["CODE"]].append(row["IMMEDIATE_PARENT"])
    return parents, names


def _read_translations(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Return (language, name) of each code, by the linguistic variants of a release."""
    names: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for file in sorted(path.rglob("*LinguisticVariant.csv")) if path.is_dir() else ():
        # The file's name begins with language and country: zhCN5LinguisticVariant.csv.
        language = f"{file.name[:2]}-{file.name[2:4]}"
        for row in read_csv(file):
            if name := row.get("LONG_COMMON_NAME") or row.get("SHORTNAME"):
                names[row["LOINC_NUM"]].append((language, name))
    return names


def _concepts(
    rows: list[dict[str, str]],
    parents: dict[str, list[str]],
    groups: dict[str, str],
    translations: dict[str, list[tuple[str, str]]],
) -> Iterator[LoadedConcept]:
    terms = {row["LOINC_NUM"] for row in rows}
    known = terms | groups.keys()
    for row in rows:
        code = row["LOINC_NUM"]
        others = [row[name] for name in _OTHER_NAMES if row.get(name)]
        detail: dict[str, Any] = {"code": code, "display": row["LONG_COMMON_NAME"]}
        detail["designation"] = [
            *({"language": "en", "value": name} for name in dict.fromkeys(others)),
            *({"language": one, "value": name} for one, name in translations.get(code, ())),
        ]
        detail["property"] = [
            {"code": "inactive", "valueBoolean": row.get("STATUS") in _NO_LONGER_USED},
            *({"code": name, "valueString": row[name]} for name in _PROPERTIES if row.get(name)),
        ]
        yield LoadedConcept(detail, tuple(one for one in parents.get(code, ()) if one in known))
    for code, name in groups.items():
        if code not in terms:
            abstract = [{"code": "notSelectable", "valueBoolean": True}]
            above = tuple(one for one in parents.get(code, ()) if one in known)
            yield LoadedConcept({"code": code, "display": name, "property": abstract}, above)
