"""`X-Provenance`: where what a request writes comes from, in its header (R4 §6.3.4.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from ehr_fhir.errors import Invalid
from ehr_fhir.json_text import parse
from ehr_gateway.http.header_text import header_text

__all__ = ["read_provenance"]

_HEADER = "X-Provenance"


# Any: a Provenance as parsed JSON, whose content is validated when its targets are known.
def read_provenance(request: Request) -> Mapping[str, Any] | None:
    """Return the Provenance that a write is sent with, without targets; None where there is none.

    A read passes over the header. Invalid for what is no Provenance or names targets, and where
    nothing of a resource is stored that it could be about.
    """
    # Most requests have none, and looking one name up is quick.
    if _HEADER not in request.headers or request.method in ("GET", "HEAD"):
        return None
    if request.method == "DELETE" or "/$" in request.url.path:
        raise Invalid(f"{_HEADER} is taken with a create, an update, a patch and a Bundle alone.")
    provenance = parse((header_text(request, _HEADER) or "").encode())
    if provenance.get("resourceType") != "Provenance":
        raise Invalid(f"The header {_HEADER} must hold a Provenance as JSON.")
    if "target" in provenance:
        raise Invalid(f"The Provenance in {_HEADER} names no target: the server fills it in.")
    return provenance
