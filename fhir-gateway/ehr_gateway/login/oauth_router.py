"""One router of all OAuth 2 endpoints of the authorization server."""

from __future__ import annotations

from fastapi import APIRouter

from ehr_gateway.login import authorize_endpoint
from ehr_gateway.oauth import (
    authorization_response,
    brands,
    discovery,
    introspection,
    launch,
    registration,
    revoke_endpoint,
    token_endpoint,
)

__all__ = ["router"]

router = APIRouter()
for part in (
    authorize_endpoint,
    authorization_response,
    token_endpoint,
    introspection,
    revoke_endpoint,
    registration,
    launch,
    discovery,
    brands,
):
    router.include_router(part.router)
