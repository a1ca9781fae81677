"""Findings of quality: the steward's worklist, and the decision on one version with faults.

A page shows the elements at fault and those that explain them, never the record; the gateway puts
each look on record.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Invalid, NotFound
from ehr_portal.gateway.operations import build_parameters, dash_if_empty
from ehr_portal.i18n import N_
from ehr_portal.oversight.findings import (
    count_by_organization,
    count_by_rule,
    name_rule,
    parse_elements,
    parse_finding,
    parse_findings,
)
from ehr_portal.record.record import fetch_providers
from ehr_portal.record.sections import TYPE_TITLES
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import StewardRequest

router = APIRouter()
NAVIGATION = (NavigationLink("steward", "/findings", N_("Faults"), 12),)
DECISION_TITLES = {
    "send-back": N_("Send it back: whoever wrote it is asked to mend it"),
    "release": N_("Release it: it is right as it is"),
    "reject": N_("Reject it: it stays out of research"),
}
DONE_TITLES = {
    "release": N_("Released"),
    "reject": N_("Rejected"),
    "send-back": N_("Sent back"),
}
# Lines of the page; the rest is found by provider or rule. Chosen.
_MOST_SHOWN = 100
RecordId = Annotated[str, Path(max_length=64)]
Filter = Annotated[str, Query(max_length=80)]
_SAY_MORE = N_("Write the reason in a sentence or two, of 500 characters at most.")


@router.get("/findings")
async def show_findings(
    request: StewardRequest, provider: Filter = "", rule: Filter = "", state: Filter = "open"
) -> Response:
    """List what waits, the oldest first; by provider and by rule."""
    chosen = "decided" if state == "decided" else "open"
    answer, providers = await asyncio.gather(
        request.gateway.invoke_by_get("$findings", state=chosen),
        fetch_providers(request.gateway),
    )
    findings = parse_findings(answer)
    matches = [
        finding
        for finding in findings
        if provider in ("", finding.organization) and (not rule or rule in finding.rules)
    ]
    return request.render(
        "findings.html",
        findings=matches[:_MOST_SHOWN],
        total=len(matches),
        by_provider=count_by_organization(findings),
        by_rule=count_by_rule(findings),
        provider=provider,
        rule=rule,
        state=chosen,
        providers=providers,
        name_rule=name_rule,
        DONE_TITLES=DONE_TITLES,
        TYPE_TITLES=TYPE_TITLES,
    )


@router.get("/findings/{resource_type}/{resource_id}")
async def show_finding(
    request: StewardRequest, resource_type: RecordId, resource_id: RecordId
) -> Response:
    """Show the fault of one version, and the form of the decision."""
    return await _render_finding(request, f"{resource_type}/{resource_id}")


@router.post("/findings/{resource_type}/{resource_id}")
async def save_finding_decision(
    request: StewardRequest, resource_type: RecordId, resource_id: RecordId, form: VerifiedForm
) -> Response:
    """Send the decision."""
    record = f"{resource_type}/{resource_id}"
    decision, reason = form.get("decision", ""), form.get("reason", "").strip()
    version = form.get("version", "")
    if decision not in DECISION_TITLES:
        error = FieldError("decision", N_("Choose a decision."))
        return await _render_finding(request, record, decision, reason, error)
    parameters = build_parameters(
        version=int(version) if version.isdecimal() else 0,
        decision=decision,
        reason=dash_if_empty(reason),
    )
    try:
        await request.gateway.invoke(f"{record}/$decide-finding", parameters)
    except Conflict:
        request.flash_problem(N_("It was decided already, or its author is asked already."))
    except NotFound:
        request.flash_problem(N_("A newer version took its place: there is nothing to decide."))
    except Invalid:
        error = FieldError("reason", _SAY_MORE)
        return await _render_finding(request, record, decision, reason, error)
    else:
        request.flash(N_("Your decision is on record. It holds with the next run of the lake."))
    return request.redirect("/findings")


async def _render_finding(
    request: PortalRequest,
    record: str,
    decision: str = "",
    reason: str = "",
    error: FieldError | None = None,
) -> Response:
    answer, providers = await asyncio.gather(
        request.gateway.invoke_by_get(f"{record}/$finding"), fetch_providers(request.gateway)
    )
    return request.render(
        "finding.html",
        finding=parse_finding(answer),
        elements=parse_elements(answer),
        providers=providers,
        decision=decision,
        reason=reason,
        name_rule=name_rule,
        DECISION_TITLES=DECISION_TITLES,
        DONE_TITLES=DONE_TITLES,
        TYPE_TITLES=TYPE_TITLES,
        errors=[error] if error else [],
    )
