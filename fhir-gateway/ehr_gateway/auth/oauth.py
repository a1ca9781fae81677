"""The OAuth 2 endpoints of the authorization server, joined."""

from __future__ import annotations

from fastapi import APIRouter

from ehr_gateway.auth import (
    authorize,
    authorized,
    discovery,
    introspection,
    launch,
    registration,
    revocation,
    token_endpoint,
)

__all__ = ["router"]

router = APIRouter()
for part in (
    authorize,
    authorized,
    token_endpoint,
    introspection,
    revocation,
    registration,
    launch,
    discovery,
):
    router.include_router(part.router)
