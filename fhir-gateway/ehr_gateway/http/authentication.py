"""Who calls: from the bearer token to the one `Access` of the request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from ehr_fhir.errors import Forbidden, Unauthorized
from ehr_gateway.access import Access
from ehr_gateway.audit_log.batcher import Note
from ehr_gateway.audit_log.recorder import Occasion
from ehr_gateway.gateway import Gateway, the_gateway
from ehr_gateway.tokens.tokens import Caller
from ehr_privacy.consent import has_scope


@dataclass(frozen=True)
class Asking:
    """A verified request: the gateway, who calls, and what they may reach."""

    gateway: Gateway
    caller: Caller
    access: Access
    request: Request

    def note(self, note: Note) -> None:
        """Have something put on record before the answer leaves."""
        noted(self.request, note)

    def occasion(self, interaction: str, query: str | None = None) -> Occasion:
        """Say what is being done, for the audit log; a refusal from here on is logged as this."""
        occasion = Occasion(
            subject=self.caller.subject,
            purpose=self.access.requester.purpose,
            at_ms=self.access.now_ms,
            request_id=self.access.request_id,
            interaction=interaction,
            query=query,
            address=client.host if (client := self.request.client) else None,
        )
        self.request.scope["state"]["occasion"] = occasion
        return occasion


def noted(request: Request, note: Note) -> None:
    """Add to what is put on record before the answer to a request leaves."""
    request.scope["state"].setdefault("notes", []).append(note)


async def asking(request: Request) -> Asking:
    """Verify the bearer token and build the request's access."""
    # Async, though it waits for nothing: a plain dependency would cost a change of thread.
    gateway = the_gateway(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("Send an access token: Authorization: Bearer <token>.")
    now = gateway.clock()
    if gateway.verifier.stale():
        # About once a second, or when a token was called back.
        await run_in_threadpool(gateway.verifier.look)
    caller = gateway.verifier.verify(token.strip(), now)
    access = Access(
        requester=caller.requester,
        now_ms=now,
        request_id=request.scope["state"]["request_id"],
        base=gateway.settings.fhir_base,
    )
    found = Asking(gateway, caller, access, request)
    # Whatever is refused before the route names its interaction is on record too.
    found.occasion("rest")
    return found


TheAsking = Annotated[Asking, Depends(asking)]
STEPS = "ehr/access"


async def may_take_steps(asking: TheAsking) -> None:
    """Refuse a person's token that was not given for steps of access.

    An app may read for a person without acting for him: approving, declaring, inviting are beyond
    every scope on records.
    """
    requester = asking.access.requester
    if requester.role != "system" and not has_scope(requester.scopes, STEPS):
        raise Forbidden(f"The token's scopes do not cover steps of access: {STEPS}.")
