"""Identity card numbers: typed by a clinician, shown at the head of a record."""

from __future__ import annotations

import re

from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import Resource

_WRITTEN_FORM = re.compile(JURISDICTION.person_identifier.written)


def mask_identity_number(patient: Resource) -> str:
    """Return a Patient's card number with its middle digits hidden; empty if there is none.

    >>> mask_identity_number({"identifier": [{"value": "AB987654(3)"}]})
    'AB987•••(3)'
    """
    for identifier in patient.get("identifier", ()):
        value = str(identifier.get("value", ""))
        system = identifier.get("system")
        if system == JURISDICTION.person_identifier.system or _WRITTEN_FORM.fullmatch(value):
            return f"{value[:-6]}•••{value[-3:]}" if len(value) > 8 else "•••"
    return ""


def parse_identity_number(typed: str) -> str | None:
    """Return a typed card number in its stored form, or None if it is none.

    >>> parse_identity_number(" a123456 3 ")
    'A123456(3)'
    """
    identifier = JURISDICTION.person_identifier
    is_number = re.fullmatch(identifier.pattern, identifier.normalize(typed))
    return identifier.format(typed) if is_number else None
