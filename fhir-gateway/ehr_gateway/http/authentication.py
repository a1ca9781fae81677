"""Bearer token authentication (RFC 6750): from the token to the one `Access` of the request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool

from ehr_fhir.errors import Forbidden, InsufficientScope, Unauthorized
from ehr_gateway.access import Access
from ehr_gateway.audit_log.batcher import AuditEntry
from ehr_gateway.audit_log.recorder import AuditContext
from ehr_gateway.gateway import Gateway, gateway_of
from ehr_gateway.http.provenance_header import read_provenance
from ehr_gateway.inquiry import Inquiry
from ehr_gateway.tokens.access_tokens import Caller
from ehr_privacy.consent import has_scope


@dataclass(frozen=True)
class RequestContext:
    """A verified request: the gateway, who calls, and what they may reach."""

    gateway: Gateway
    caller: Caller
    access: Access
    request: Request

    def add_audit_entry(self, entry: AuditEntry) -> None:
        """Put an entry on record before the response leaves."""
        add_audit_entry(self.request, entry)

    def begin_audit(self, interaction: str, query: str | None = None) -> AuditContext:
        """Begin the audit entry of an interaction; a refusal from here on is logged as this."""
        audit_context = AuditContext(
            subject=self.caller.subject,
            purpose=self.access.requester.purpose,
            at_ms=self.access.now_ms,
            request_id=self.access.request_id,
            interaction=interaction,
            query=query,
            address=client.host if (client := self.request.client) else None,
            inquiry=self.access.inquiry,
        )
        self.request.scope["state"]["audit_context"] = audit_context
        return audit_context


def current_audit_context(state: Mapping[str, Any]) -> AuditContext | None:
    """Return the audit entry that a request began, by its state; None without authentication.

    A refusal before the handler names its interaction is on record, too: as `rest`.
    """
    audit_context: AuditContext | None = state.get("audit_context")
    context: RequestContext | None = state.get("request_context")
    if audit_context is None and context is not None:
        return context.begin_audit("rest")
    return audit_context


def add_audit_entry(request: Request, entry: AuditEntry) -> None:
    """Put an entry on record before the response to a request leaves."""
    request.scope["state"].setdefault("audit_entries", []).append(entry)


async def authenticate(request: Request) -> RequestContext:
    """Verify the bearer token and build the request's access."""
    # Async, though it waits for nothing: a plain dependency would cost a change of thread.
    return await authenticate_token(request, read_bearer_token(request))


def read_bearer_token(request: Request) -> str:
    """Return the token of the Authorization header."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("Send an access token: Authorization: Bearer <token>.")
    return token.strip()


async def authenticate_token(request: Request, token: str) -> RequestContext:
    """Verify an access token and build the request's access."""
    gateway = gateway_of(request)
    now = gateway.clock()
    if gateway.verifier.is_stale():
        # About once a second, or when a token was called back.
        if gateway.store.embedded is not None:
            gateway.verifier.reload()
        else:
            await run_in_threadpool(gateway.verifier.reload)
    caller = gateway.verifier.authenticate(token, now)
    requester = caller.requester
    if gateway.revocations.suspensions.is_emergency_suspended(now):
        requester = replace(requester, emergency_suspended=True)
    access = Access(
        requester=requester,
        now_ms=now,
        request_id=request.scope["state"]["request_id"],
        base=gateway.settings.fhir_base,
        own_ids_only=gateway.settings.client_ids == "own",
        client=caller.subject.client,
        check_content=await _content_check(gateway),
    )
    request.scope["state"]["inquiry"] = access.inquiry
    context = RequestContext(gateway, caller, access, request)
    request.scope["state"]["request_context"] = context
    if gateway.verifier.is_suspended(caller, now):
        raise Forbidden("This access is suspended. Ask the platform's data steward.")
    gateway.closure.check_role(caller.requester.role)
    # Now, for a refusal of the header is on record like any other.
    if (provenance := read_provenance(request)) is not None:
        context = replace(context, access=replace(access, provenance=provenance))
        request.scope["state"]["request_context"] = context
    return context


def renew_access(context: RequestContext) -> Access:
    """Return a request's access at this moment, for an answer that is sent for a long while.

    Raises as at the beginning where the token was revoked or suspended meanwhile. That it expires
    does not cut the answer: it was good when the request came.
    """
    gateway, token = context.gateway, read_bearer_token(context.request)
    now = gateway.clock()
    if gateway.verifier.is_stale():
        gateway.verifier.reload()
    caller = gateway.verifier.authenticate(token, context.access.now_ms)
    if gateway.verifier.is_suspended(caller, now):
        raise Forbidden("This access is suspended. Ask the platform's data steward.")
    gateway.closure.check_role(caller.requester.role)
    suspended = gateway.revocations.suspensions.is_emergency_suspended(now)
    requester = replace(
        context.access.requester,
        emergency_suspended=suspended or caller.requester.emergency_suspended,
    )
    return replace(context.access, requester=requester, now_ms=now, inquiry=Inquiry())


async def _content_check(
    gateway: Gateway,
) -> Callable[[Mapping[str, Any], int], None] | None:
    """Return the check of what is written, by definitions not older than about a second."""
    validation = gateway.write_validation
    if validation is None:
        return None
    if validation.is_stale():
        await run_in_threadpool(validation.reload)
    return validation.check


Authenticated = Annotated[RequestContext, Depends(authenticate)]
# Steps of access: asking for it, approving, declaring, inviting. An app may read for a person
# without acting for them, so no scope on records covers these.
ACCESS_SCOPE = "ehr/access"
_FEED_SCOPE = "ehr/feed.read"


def require_scope(context: RequestContext, scope: str) -> None:
    """Refuse a person's token that does not cover a scope; programs are judged by their role."""
    requester = context.access.requester
    if requester.role != "system" and not has_scope(requester.scopes, scope):
        raise InsufficientScope(
            f"The token's scopes do not cover steps of access: {scope}.", scope=scope
        )


def require_feed_scope(context: RequestContext, sentence_start: str) -> None:
    """Refuse all but a program's token with the scope of the change feed.

    `sentence_start` begins the text of the refusal, such as `The change feed needs`.
    """
    requester = context.access.requester
    if requester.role != "system" or not has_scope(requester.scopes, _FEED_SCOPE):
        text = f"{sentence_start} a program's token with the scope {_FEED_SCOPE}."
        raise InsufficientScope(text, scope=_FEED_SCOPE)
