"""ICD-10 in ClaML, WHO's XML: chapters, blocks and categories, each with its preferred rubric."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ehr_fhir.errors import Invalid
from ehr_fhir.terminology.code_system import SystemHeader
from ehr_gateway.terminology.load import LoadedConcept

__all__ = ["read"]

_URL = "http://hl7.org/fhir/sid/icd-10"
# A document may define entities that grow without end, or name files to be read.
_FORBIDDEN = b"<!ENTITY"
_HEAD_BYTES = 65_536


def read(path: Path, version: str | None) -> tuple[SystemHeader, Iterable[LoadedConcept]]:
    """Read a ClaML file; raise Invalid for XML that is none."""
    with path.open("rb") as file:
        if _FORBIDDEN in file.read(_HEAD_BYTES):
            raise Invalid("An XML file that defines entities is not read.")
    try:
        # The head of the file was looked through: it defines no entity.
        root = ElementTree.parse(path).getroot()  # noqa: S314
    except ElementTree.ParseError as error:
        raise Invalid(f"{path} is not XML.") from error
    title = root.find("Title")
    if version is None and title is not None:
        version = title.get("version")
    header = SystemHeader(_URL, version, "ICD_10", "ICD-10", is_case_sensitive=False, language="en")
    return header, _concepts(root)


def _concepts(root: ElementTree.Element) -> Iterator[LoadedConcept]:
    codes = {one.get("code") for one in root.iter("Class")}
    for one in root.iter("Class"):
        detail: dict[str, Any] = {"code": one.attrib["code"]}
        for rubric in one.iter("Rubric"):
            text = " ".join("".join(rubric.itertext()).split())
            if rubric.get("kind") == "preferred" and "display" not in detail:
                detail["display"] = text
            elif rubric.get("kind") in ("preferredLong", "inclusion"):
                detail.setdefault("designation", []).append({"language": "en", "value": text})
        kind = one.get("kind", "category")
        detail["property"] = [
            {"code": "kind", "valueCode": kind},
            # Chapters and blocks group categories; no record has them.
            {"code": "notSelectable", "valueBoolean": kind != "category"},
        ]
        above = [parent.get("code", "") for parent in one.iter("SuperClass")]
        yield LoadedConcept(detail, tuple(code for code in above if code in codes))
