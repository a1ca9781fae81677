"""The catalogue of open data as DCAT-AP 3.0 in JSON-LD.

One document with its own context: who reads it fetches nothing else. Texts are in every language of
the pages. What DCAT-AP demands of each class is checked by `test_open_data_catalogue`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from ehr_analytics.open_data.declaration import Declaration
from ehr_fhir.jurisdiction import JURISDICTION

__all__ = ["CATALOGUE_FILE", "DATA_FILES", "CatalogueEntry", "build_catalogue", "load_texts"]

CATALOGUE_FILE = "catalogue.jsonld"
# Media type of each file of a dataset, and its name in the EU's authority table of file types.
DATA_FILES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"data.csv": ("text/csv", "CSV"), "data.json": ("application/json", "JSON")}
)
_AUTHORITY = "http://publications.europa.eu/resource/authority"
_IANA = "https://www.iana.org/assignments/media-types"
_CONTEXT = {
    "adms": "http://www.w3.org/ns/adms#",
    "dcat": "http://www.w3.org/ns/dcat#",
    "dcatap": "http://data.europa.eu/r5r/",
    "dct": "http://purl.org/dc/terms/",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "spdx": "http://spdx.org/rdf/terms#",
    "vcard": "http://www.w3.org/2006/vcard/ns#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
}


@cache
def load_texts() -> Mapping[str, Mapping[str, str]]:
    """Return the texts of the catalogue and of dictionaries: name -> language -> text."""
    return tomllib.loads(files(__package__).joinpath("catalogue.toml").read_text("utf-8"))


@dataclass(frozen=True)
class CatalogueEntry:
    """A dataset as the catalogue tells of it; `files` has size and SHA-256 of each data file."""

    declaration: Declaration
    first_day: str
    last_day: str
    issued: str
    modified: str
    files: Mapping[str, tuple[int, str]]


def build_catalogue(base_url: str, entries: Sequence[CatalogueEntry]) -> dict[str, object]:
    """Return the catalogue of a platform at an address as a JSON-LD document."""
    root = f"{base_url}/open-data"
    publishers = {entry.declaration.publisher_page: entry.declaration for entry in entries}
    # An empty catalogue is the platform's own, whose address is known.
    first = next(iter(publishers), base_url)
    catalogue: dict[str, object] = {
        "@id": f"{root}/{CATALOGUE_FILE}",
        "@type": "dcat:Catalog",
        "dct:title": _tag(load_texts()["title"]),
        "dct:description": _tag(load_texts()["description"]),
        "dct:publisher": {"@id": first},
        "dct:language": [{"@id": f"{_AUTHORITY}/language/{code}"} for code in ("ENG", "ZHO")],
        "foaf:homepage": {"@id": root},
        "dcat:dataset": [{"@id": f"{root}/{entry.declaration.id}"} for entry in entries],
        "dcat:service": [{"@id": f"{root}/{entry.declaration.id}/rows"} for entry in entries],
    }
    if entries:
        catalogue["dct:modified"] = _date_time(max(entry.modified for entry in entries))
    graph: list[dict[str, object]] = [catalogue]
    graph += [
        {
            "@id": page,
            "@type": "foaf:Agent",
            "foaf:name": _tag(declaration.publisher),
        }
        for page, declaration in publishers.items()
    ]
    if not entries:
        graph.append(
            {"@id": first, "@type": "foaf:Agent", "foaf:name": _tag(load_texts()["title"])}
        )
    for entry in entries:
        graph += _describe(root, entry)
    return {"@context": _CONTEXT, "@graph": graph}


def _describe(root: str, entry: CatalogueEntry) -> list[dict[str, object]]:
    """Return the dataset, its distributions and its data service."""
    declaration = entry.declaration
    address = f"{root}/{declaration.id}"
    licence = {"@id": declaration.licence}
    dataset: dict[str, object] = {
        "@id": address,
        "@type": "dcat:Dataset",
        "dct:title": _tag(declaration.title),
        "dct:description": _tag(declaration.description),
        "dct:identifier": declaration.id,
        "dct:publisher": {"@id": declaration.publisher_page},
        "dcat:contactPoint": {
            "@type": "vcard:Kind",
            "vcard:fn": _tag(declaration.publisher),
            _contact_property(declaration.contact): {"@id": declaration.contact},
        },
        "dcat:theme": {"@id": f"{_AUTHORITY}/data-theme/{declaration.theme}"},
        "dct:accrualPeriodicity": {"@id": f"{_AUTHORITY}/frequency/{declaration.frequency}"},
        "dct:accessRights": {"@id": f"{_AUTHORITY}/access-right/PUBLIC"},
        "dct:temporal": {
            "@type": "dct:PeriodOfTime",
            "dcat:startDate": {"@type": "xsd:date", "@value": entry.first_day},
            "dcat:endDate": {"@type": "xsd:date", "@value": entry.last_day},
        },
        "dct:issued": _date_time(entry.issued),
        "dct:modified": _date_time(entry.modified),
        "dcat:landingPage": {"@id": address},
        "dcat:distribution": [{"@id": f"{address}/{name}"} for name in entry.files],
    }
    distributions: list[dict[str, object]] = [
        {
            "@id": f"{address}/{name}",
            "@type": "dcat:Distribution",
            "dct:title": _tag(declaration.title),
            "dcat:accessURL": {"@id": address},
            "dcat:downloadURL": {"@id": f"{address}/{name}"},
            "dcat:mediaType": {"@id": f"{_IANA}/{DATA_FILES[name][0]}"},
            "dct:format": {"@id": f"{_AUTHORITY}/file-type/{DATA_FILES[name][1]}"},
            "dct:license": licence,
            "dcatap:availability": {"@id": f"{_AUTHORITY}/planned-availability/STABLE"},
            "dcat:byteSize": {"@type": "xsd:nonNegativeInteger", "@value": str(size)},
            "spdx:checksum": {
                "@type": "spdx:Checksum",
                "spdx:algorithm": {"@id": "spdx:checksumAlgorithm_sha256"},
                "spdx:checksumValue": {"@type": "xsd:hexBinary", "@value": digest},
            },
        }
        for name, (size, digest) in entry.files.items()
    ]
    service: dict[str, object] = {
        "@id": f"{address}/rows",
        "@type": "dcat:DataService",
        "dct:title": _tag(declaration.title),
        "dcat:endpointURL": {"@id": f"{address}/rows"},
        "dcat:endpointDescription": {"@id": f"{address}/dictionary.json"},
        "dcat:servesDataset": {"@id": address},
        "dct:license": licence,
    }
    return [dataset, *distributions, service]


def _tag(texts: Mapping[str, str]) -> list[dict[str, str]]:
    tags = [language.tag for language in JURISDICTION.languages]
    return [{"@language": tag, "@value": texts[tag]} for tag in tags if tag in texts]


def _date_time(text: str) -> dict[str, str]:
    return {"@type": "xsd:dateTime", "@value": text}


def _contact_property(contact: str) -> str:
    return "vcard:hasEmail" if contact.startswith("mailto:") else "vcard:hasURL"
