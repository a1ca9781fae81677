"""What a kick-off of `$import` asks for, checked, and kept as JSON until the import is forgotten.

After the manifest approach of smart-on-fhir/bulk-import (draft of 38ccdcb), as Parameters or in its
own JSON.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid
from ehr_gateway.import_sources import ImportSources
from ehr_gateway.interaction_codes import NOT_WRITTEN

__all__ = ["ImportInput", "ImportRequest", "check_input_type", "check_source", "parse_inputs"]

FORMATS = frozenset({"application/fhir+ndjson", "application/ndjson", "ndjson"})
# Chosen: each is a file that is open at some time; an export of a large store has some hundreds.
MOST_INPUTS = 1000
_LONGEST_URL = 4096
_URI = re.compile(r"[!-~]{1,1000}")


@dataclass(frozen=True)
class ImportInput:
    """One file: the type of all its resources, and where it is; no address if it was sent."""

    type: str
    url: str = ""

    @property
    def shown_url(self) -> str:
        """Return the address without its query, which may be what opens the file."""
        return urlsplit(self.url)._replace(query="").geturl()


@dataclass(frozen=True)
class ImportRequest:
    """A kick-off."""

    inputs: tuple[ImportInput, ...]
    # The author of records that name none.
    organization: str
    # The `meta.source` of resources that name none; empty for none.
    source: str = ""

    def to_json(self) -> str:
        """Return the request as it is kept."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> ImportRequest:
        """Return a request that was kept."""
        values: dict[str, Any] = orjson.loads(text)
        values["inputs"] = tuple(ImportInput(**one) for one in values["inputs"])
        return cls(**values)

    def without_secrets(self) -> ImportRequest:
        """Return what is kept of an import that has ended: addresses without what opens them."""
        inputs = tuple(ImportInput(one.type, one.shown_url) for one in self.inputs)
        return ImportRequest(inputs, self.organization, self.source)

    def without_addresses(self) -> ImportRequest:
        """Return what is kept where an address or the source names somebody who was erased."""
        return ImportRequest(tuple(ImportInput(one.type) for one in self.inputs), self.organization)


def parse_inputs(inputs: list[tuple[str, str]], sources: ImportSources) -> tuple[ImportInput, ...]:
    """Check pairs of type and address."""
    if not inputs:
        raise Invalid("Name at least one input with its type and url.", expression="input")
    if len(inputs) > MOST_INPUTS:
        raise Invalid(f"An import has at most {MOST_INPUTS} files.", expression="input")
    found = []
    for number, (kind, url) in enumerate(inputs):
        place = f"input[{number}]"
        check_input_type(kind, f"{place}.type")
        if len(url) > _LONGEST_URL:
            raise Invalid("The address of a file is too long.", expression=f"{place}.url")
        try:
            sources.check_url(url)
        except Invalid as error:
            raise Invalid(str(error), expression=f"{place}.url") from None
        found.append(ImportInput(kind, url))
    return tuple(found)


def check_input_type(kind: str, place: str) -> str:
    """Return the type that a file holds; refuse one that is no type of R4, or is not written."""
    if kind not in definitions.resource_types():
        raise Invalid("The type of an input is a resource type of R4.", expression=place)
    if kind in NOT_WRITTEN:
        raise Invalid(NOT_WRITTEN[kind], expression=place, issue_code="not-supported")
    return kind


def check_source(source: str) -> str:
    """Return an `inputSource`, which becomes the `meta.source` of resources without one."""
    if source and not _URI.fullmatch(source):
        raise Invalid("inputSource is a URI.", expression="inputSource")
    return source
