"""Results of quality sent to the gateway: one POST, and its refusal as a sentence."""

from __future__ import annotations

from typing import Any

import httpx

from ehr_fhir.errors import Forbidden, Unauthorized, Unavailable, Unprocessable

__all__ = ["post_to_gateway"]


def post_to_gateway(client: httpx.Client, token: str, path: str, resource: dict[str, Any]) -> None:
    """Send a resource to the gateway; an error says what was refused, and no value."""
    try:
        response = client.post(
            path,
            json=resource,
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/fhir+json",
            },
        )
    except httpx.TransportError as error:
        raise Unavailable("The gateway does not answer: is `ehr up` running?") from error
    if response.status_code == 401:
        raise Unauthorized("The gateway refused the lake's token.")
    if response.status_code == 403:
        raise Forbidden(
            "The lake's token lacks a scope: system/MeasureReport.cruds and ehr/feed.read."
        )
    if response.status_code >= 500:
        raise Unavailable(f"The gateway answered with status {response.status_code}.")
    if response.status_code >= 400:
        raise Unprocessable(f"The gateway refused the reports with status {response.status_code}.")
