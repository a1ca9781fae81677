"""Access requests as parts of a FHIR Parameters resource."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ehr_fhir.dates import format_instant
from ehr_gateway.access_requests.request_rows import AccessRequest
from ehr_gateway.http.parameters import parameter

__all__ = ["build_request_parts"]


def build_request_parts(request: AccessRequest, *, reason: bool = True) -> list[dict[str, Any]]:
    """Return a request as Parameters parts; without the reason if the reader may not see it."""
    instants = {
        "asked": request.asked_ms,
        "expires": request.expires_ms,
        "until": request.until_ms,
        "decided": request.decided_ms,
        "reviewed": request.reviewed_ms,
    }
    values: Mapping[str, object] = {
        "id": request.id,
        "kind": request.kind,
        "state": request.state,
        "consent": request.consent,
        "patient": request.patient,
        "person": request.person,
        "display": request.display,
        "organization": request.organization,
        "profession": request.profession,
        "reason": request.reason if reason else None,
        "hours": request.hours or None,
        "approved-by": request.decided_by if request.kind == "step-up" else None,
        "record": request.details.get("record"),
        "power": request.details.get("power"),
        "relation": request.details.get("relation"),
        "basis": request.details.get("basis"),
        "review": request.review,
        "note": request.review_note,
        "reviewer": request.reviewer,
    }
    parts = [parameter(name, word) for name, word in values.items() if word not in (None, "")]
    parts += [
        {"name": name, "valueInstant": format_instant(at)} for name, at in instants.items() if at
    ]
    return parts + _domains(request.domains)


def _domains(domains: Iterable[str]) -> list[dict[str, Any]]:
    return [{"name": "domain", "valueCode": domain} for domain in domains]
