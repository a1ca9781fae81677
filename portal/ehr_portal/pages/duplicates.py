"""Records that may be one person's: the steward's worklist, and merges that wait."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Conflict, Forbidden, Invalid, NotFound
from ehr_portal.gateway.operations import build_parameters, dash_if_empty, parse_values
from ehr_portal.i18n import N_
from ehr_portal.oversight.duplicates import DuplicatePair, Merge, parse_merges, parse_pairs
from ehr_portal.web.forms import FieldError, VerifiedForm
from ehr_portal.web.navigation import NavigationLink
from ehr_portal.web.request import PortalRequest
from ehr_portal.web.roles import StewardRequest

router = APIRouter()
NAVIGATION = (NavigationLink("steward", "/duplicates", N_("Duplicates"), 26),)
STATE_TITLES = {
    "open": N_("To decide"),
    "later": N_("Put off"),
    "different": N_("Two people"),
}
PAIR_DECISIONS = {
    "keep-first": N_("One person: propose to keep the first record"),
    "keep-second": N_("One person: propose to keep the second record"),
    "different": N_("Two people"),
    "later": N_("Decide later"),
}
MERGE_DECISIONS = {"approve": N_("Approve"), "refuse": N_("Refuse")}
MERGE_TITLES = {"merge": N_("Join two records"), "unmerge": N_("Take two records apart")}
MERGE_STATES = {
    "proposed": N_("Waits for a second steward"),
    "active": N_("Approved"),
    "ended": N_("Taken back"),
    "refused": N_("Refused"),
    "expired": N_("Outdated"),
}
_CHOOSE = FieldError("decision", N_("Choose what you decide."))
_REASON = FieldError("reason", N_("Write the reason: the papers that you saw."))


@router.get("/duplicates")
async def show_duplicates(request: StewardRequest, state: str = "open") -> Response:
    """List the pairs of one state, the likeliest first."""
    state = state if state in STATE_TITLES else "open"
    answer = await request.gateway.invoke_by_get("$duplicates", state=state)
    pairs = parse_pairs(answer)
    return request.render(
        "duplicates.html",
        pairs=[(request.session.issue_handle(pair.key), pair) for pair in pairs],
        total=int(next(iter(parse_values(answer).get("total", ())), "0")),
        state=state,
        STATE_TITLES=STATE_TITLES,
    )


@router.get("/duplicates/{handle}")
async def show_pair(request: StewardRequest, handle: str) -> Response:
    """Show both records side by side, why they may be one person's, and the form."""
    return await _render_pair(request, handle)


@router.post("/duplicates/{handle}")
async def decide_pair(request: StewardRequest, handle: str, form: VerifiedForm) -> Response:
    """Propose to merge the two, say that they are two people's, or put the pair off."""
    pair = await _find_pair(request, handle)
    decision, reason = form.get("decision", ""), form.get("reason", "").strip()
    if decision not in PAIR_DECISIONS:
        return await _render_pair(request, handle, decision, reason, _CHOOSE)
    try:
        if decision in ("keep-first", "keep-second"):
            await _propose_merge(request, pair, decision == "keep-first", reason)
        else:
            parameters = build_parameters(
                first=pair.first.id,
                second=pair.second.id,
                decision=decision,
                reason=dash_if_empty(reason) if decision == "different" else reason,
            )
            await request.gateway.invoke("$decide-duplicate", parameters)
    except Conflict:
        error = FieldError(
            "decision",
            N_(
                "The two cannot be joined now: one was joined with another record, waits for a"
                " decision or an erasure, or is said to have died and the other not."
            ),
        )
        return await _render_pair(request, handle, decision, reason, error)
    except Invalid:
        return await _render_pair(request, handle, decision, reason, _REASON)
    if decision.startswith("keep"):
        request.flash(N_("Your proposal waits for a second steward."))
        return request.redirect("/merges")
    request.flash(N_("Your decision is on record."))
    return request.redirect("/duplicates")


@router.get("/merges")
async def show_merges(request: StewardRequest) -> Response:
    """List merges: what waits first, then what was decided."""
    merges = parse_merges(await request.gateway.invoke_by_get("$merges"))
    return request.render(
        "merges.html", merges=merges, MERGE_TITLES=MERGE_TITLES, MERGE_STATES=MERGE_STATES
    )


@router.get("/merges/{merge_id}")
async def show_merge(request: StewardRequest, merge_id: str) -> Response:
    """Show one merge, and what may be done about it."""
    return await _render_merge(request, merge_id)


@router.post("/merges/{merge_id}")
async def decide_merge(request: StewardRequest, merge_id: str, form: VerifiedForm) -> Response:
    """Decide what waits, or propose that what was joined is taken apart."""
    merge = await _find_merge(request, merge_id)
    decision, reason = form.get("decision", ""), form.get("reason", "").strip()
    is_waiting = merge.state == "proposed"
    if is_waiting and decision not in MERGE_DECISIONS:
        return await _render_merge(request, merge_id, decision, reason, _CHOOSE)
    try:
        if is_waiting:
            parameters = build_parameters(
                merge=merge_id, decision=decision, reason=dash_if_empty(reason)
            )
            await request.gateway.invoke("$decide-merge", parameters)
        else:
            parameters = build_parameters(merge=merge_id, reason=dash_if_empty(reason))
            await request.gateway.invoke("Patient/$unmerge", parameters)
    except Forbidden:
        error = FieldError("decision", N_("You proposed it: another steward has to decide."))
        return await _render_merge(request, merge_id, decision, reason, error)
    except Conflict:
        request.flash_problem(
            N_("One of the two records was changed since, or something about it waits.")
        )
    except Invalid:
        return await _render_merge(request, merge_id, decision, reason, _REASON)
    else:
        request.flash(
            N_("Your decision is on record.")
            if is_waiting
            else N_("Your proposal waits for a second steward.")
        )
    return request.redirect("/merges")


async def _propose_merge(
    request: PortalRequest, pair: DuplicatePair, keep_first: bool, reason: str
) -> None:
    kept, replaced = (pair.first, pair.second) if keep_first else (pair.second, pair.first)
    parameters = build_parameters(
        source_patient=f"Patient/{replaced.id}",
        target_patient=f"Patient/{kept.id}",
        reason=dash_if_empty(reason),
    )
    await request.gateway.invoke("Patient/$merge", parameters)


async def _find_pair(request: PortalRequest, handle: str) -> DuplicatePair:
    key = request.session.resolve_handle(handle)
    for state in STATE_TITLES if key else ():
        answer = await request.gateway.invoke_by_get("$duplicates", state=state, count="100")
        for pair in parse_pairs(answer):
            if pair.key == key:
                return pair
    raise NotFound("There is no such pair.")


async def _find_merge(request: PortalRequest, merge_id: str) -> Merge:
    for merge in parse_merges(await request.gateway.invoke_by_get("$merges")):
        if merge.id == merge_id:
            return merge
    raise NotFound("There is no such proposal.")


async def _render_pair(
    request: PortalRequest,
    handle: str,
    decision: str = "",
    reason: str = "",
    error: FieldError | None = None,
) -> Response:
    return request.render(
        "duplicate.html",
        pair=await _find_pair(request, handle),
        handle=handle,
        decision=decision,
        reason=reason,
        PAIR_DECISIONS=PAIR_DECISIONS,
        errors=[error] if error else [],
    )


async def _render_merge(
    request: PortalRequest,
    merge_id: str,
    decision: str = "",
    reason: str = "",
    error: FieldError | None = None,
) -> Response:
    return request.render(
        "merge.html",
        merge=await _find_merge(request, merge_id),
        decision=decision,
        reason=reason,
        MERGE_TITLES=MERGE_TITLES,
        MERGE_STATES=MERGE_STATES,
        MERGE_DECISIONS=MERGE_DECISIONS,
        errors=[error] if error else [],
    )
