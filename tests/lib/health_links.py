"""SMART Health Links as their receivers see them: the payload, the manifest, the file."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlsplit

from joserfc import jwe
from joserfc.jwk import OctKey

from tests.lib.gateway import House, Session
from tests.spec.access.steps import named, send

__all__ = ["PASSCODE", "create_link", "decrypt", "open_link", "payload_of"]

PASSCODE = "246810"
_ALGORITHMS = ["dir", "A256GCM", "DEF"]


def create_link(session: Session, patient: str = "pat-1", **changes: Any) -> dict[str, str]:
    """Make a link and return the answer's parameters by name."""
    sent = {"content": "live", "passcode": PASSCODE, "until": "2026-12-22", **changes}
    answer = named(send(session, f"Patient/{patient}/$create-health-link", **sent))
    return {name: values[0] for name, values in answer.items()}


def payload_of(link: str) -> dict[str, Any]:
    """Return the payload of a link."""
    encoded = link.removeprefix("shlink:/")
    padded = encoded + "=" * (-len(encoded) % 4)
    payload: dict[str, Any] = json.loads(base64.urlsafe_b64decode(padded))
    return payload


def open_link(house: House, link: str, passcode: str = PASSCODE, **more: Any) -> Any:
    """Ask for the manifest of a link, as somebody without an account."""
    path = urlsplit(payload_of(link)["url"]).path
    body = {"recipient": "Dr Far Away", "passcode": passcode, **more}
    return house.client.post(path, json=body)


def decrypt(file: str, link: str) -> dict[str, Any]:
    """Return what a file of a link holds."""
    encoded = payload_of(link)["key"]
    key = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    assert len(key) == 32
    opened = jwe.decrypt_compact(file, OctKey.import_key(key), algorithms=_ALGORITHMS)
    content: dict[str, Any] = json.loads(opened.plaintext or b"")
    return content
