"""The change feed: every version in the order of writing, as newline-delimited JSON.

Beside versions it tells what decides about research: the facts in force of each record, the rule
rows of each patient, and what stewards decided of versions with faults, whenever they change; and
whom an erasure took, by a keyed hash.

It is for the lake: it holds records that patients share with nobody, so it needs a scope of its own
and a program's token. What leaves the lake is decided there again.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
import orjson
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_gateway.audit_log.asked_about import build_feed_rows
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.gateway import gateway_of
from ehr_gateway.http.authentication import Authenticated, RequestContext, require_feed_scope
from ehr_gateway.http.threads import release_place
from ehr_gateway.store.decision_changes import DecisionChange
from ehr_gateway.store.store import FeedEntry
from ehr_privacy.consent import record_to_json

router = APIRouter()
# Between two looks at the end of the feed while a reader waits. Chosen: one look reads two index
# entries (tens of microseconds), and a change reaches the lake within this time.
_POLL_SECONDS = 0.1


@router.get("/feed")
async def list_changes(
    request: Request,
    context: Authenticated,
    after: Annotated[int, Query(ge=0, le=2**62)] = 0,
    limit: Annotated[int, Query(ge=1)] = 1000,
    epoch: Annotated[str, Query(max_length=64)] = "",
    decisions: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    wait: Annotated[float, Query(ge=0, le=60)] = 0,
) -> Response:
    """List the changes after a position, oldest first; an empty body when there are none.

    With `decisions`, a number, also the decisions changed after it. A position or number that is no
    part of this store's past, by the epoch it was read in, is a conflict. With `wait`, an answer
    without changes is held back for so many seconds, until there is one.
    """
    audit_context = context.begin_audit("feed", f"feed?after={after}")
    require_feed_scope(context, "The change feed needs")
    if wait:
        await _wait_for_change(request, after, decisions, wait)
    cursor = _Cursor(after, decisions, min(limit, context.gateway.settings.max_feed_entries), epoch)
    return await anyio.to_thread.run_sync(_read_page, context, cursor, audit_context)


@dataclass(frozen=True)
class _Cursor:
    """Where a reader is, and how much it takes at once."""

    after: int
    decisions: int | None
    limit: int
    epoch: str


async def _wait_for_change(
    request: Request, after: int, decisions: int | None, seconds: float
) -> None:
    """Return when there is something after a place, or after some seconds.

    Meanwhile the request's place among those at work is another's.
    """
    store, threads = gateway_of(request).store, gateway_of(request).threads
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        position, number = await anyio.to_thread.run_sync(store.read_feed_end)
        if position > after or (decisions is not None and number > decisions):
            return
        if getattr(request.app.state, "is_ending", False):
            # A poll that is cut off would be an error to both sides.
            return
        has_place = request.scope["state"].get("place") is not None
        release_place(request.scope)
        try:
            if await request.is_disconnected():
                return
            await asyncio.sleep(_POLL_SECONDS)
        finally:
            if has_place:
                threads.reenter()
                request.scope["state"]["place"] = threads


def _read_page(context: RequestContext, cursor: _Cursor, audit_context: AuditContext) -> Response:
    store = context.gateway.store
    epoch_here = store.epoch()
    epoch_here.check_position(cursor.epoch, cursor.after, cursor.decisions or 0)
    page = store.read_feed(cursor.after, cursor.limit, decisions_after=cursor.decisions)
    last = page.entries[-1].position if page.entries else cursor.after
    context.add_audit_entry(
        partial(
            build_feed_rows,
            audit_context=audit_context,
            first=cursor.after,
            last=last,
            decisions=page.decisions,
        )
    )
    headers = {
        "X-Feed-Next": str(last),
        "X-Feed-Last-Page": "true" if page.is_last else "false",
        "X-Feed-Store": epoch_here.store,
        "X-Feed-Epoch": epoch_here.epoch,
        "Cache-Control": "no-store",
    }
    if cursor.decisions is not None:
        number = page.decisions[-1].number if page.decisions else cursor.decisions
        headers["X-Feed-Decisions"] = str(number)
    lines = [
        *map(_serialize_change, page.entries),
        *map(_serialize_decision, page.decisions),
    ]
    return Response(b"".join(lines), media_type="application/x-ndjson", headers=headers)


def _serialize_change(entry: FeedEntry) -> bytes:
    version = entry.version
    head = orjson.dumps(
        {
            "position": entry.position,
            "type": version.type,
            "id": version.id,
            "version": version.version,
            "lastUpdated": format_instant(version.last_updated_ms),
            "method": version.method,
            "author": entry.author,
            "facts": record_to_json(entry.record),
        }
    )
    body = b"null" if version.deleted else version.body
    return head[:-1] + b',"resource":' + body + b"}\n"


def _serialize_decision(change: DecisionChange) -> bytes:
    line: dict[str, Any] = {"decision": change.number, "type": change.type, "id": change.id}
    if change.is_erasure:
        line = {"decision": change.number, "type": change.type, "erased": change.id}
    elif change.quality is not None:
        line["quality"] = [
            {"version": decided.version, "decision": decided.decision} for decided in change.quality
        ]
    elif change.record is None:
        line["rules"] = change.rules
    else:
        line |= {
            "version": change.version,
            "author": change.record.author,
            "facts": record_to_json(change.record),
        }
    return orjson.dumps(line) + b"\n"
