"""`$health-links`: a patient's links, and who opened each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_gateway.health_links.link_rows import HealthLink, Opening
from ehr_gateway.health_links.make_link import list_shown_links
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation

OPERATION = Operation(
    name="health-links",
    summary="List a patient's SMART Health Links, and who opened them.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=False,
    callers="the patient, a carer who sees the record and decides about it",
)


def answer(call: OperationCall) -> Response:
    """List the links without what opens them: that is not kept."""
    context, patient = call.context, call.logical_id
    with context.gateway.store.read_transaction() as connection:
        links = list_shown_links(connection, context, patient)
    call.record(patient)
    now = context.access.now_ms
    return call.respond(
        *(
            {"name": "link", "part": list(_build_parts(link, openings, now))}
            for link, openings in links
        )
    )


def _build_parts(
    link: HealthLink, openings: Sequence[Opening], now_ms: int
) -> Iterator[dict[str, Any]]:
    yield parameter("id", link.id)
    if link.label:
        yield parameter("label", link.label)
    yield {"name": "content", "valueCode": link.content}
    yield {"name": "state", "valueCode": _state_of(link, now_ms)}
    yield parameter("tries-left", link.tries_left)
    for name, at_ms in (
        ("made", link.made_ms), ("until", link.expires_ms), ("ended", link.ended_ms),
    ):  # fmt: skip
        if at_ms is not None:
            yield {"name": name, "valueInstant": format_instant(at_ms)}
    for opening in openings:
        yield {
            "name": "opening",
            "part": [
                {"name": "at", "valueInstant": format_instant(opening.at_ms)},
                {"name": "outcome", "valueCode": opening.outcome},
                *([parameter("recipient", opening.recipient)] if opening.recipient else []),
            ],
        }


def _state_of(link: HealthLink, now_ms: int) -> str:
    if link.ended_ms is not None:
        return "ended"
    if link.expires_ms <= now_ms:
        return "expired"
    return "open" if link.tries_left else "locked"
