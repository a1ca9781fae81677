"""A client of bulk exports: kick-off, status, manifest, files."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from tests.lib.gateway import Session, must

ASYNC = {"Prefer": "respond-async"}


def start(session: Session, address: str = "$export", body: Any = None, **headers: str) -> Any:
    """Kick an export off; return the answer."""
    sent = {**ASYNC, **headers}
    if body is not None:
        return session.post(address, body, headers=sent)
    return session.get(address, headers=sent)


def status_of(answer: Any) -> str:
    """Return the address of an export that was accepted."""
    assert answer.status_code == 202, answer.text
    return urlsplit(str(answer.headers["content-location"])).path


def manifest(session: Session, address: str = "$export", body: Any = None, **headers: str) -> Any:
    """Export and return the manifest."""
    return wait(session, status_of(start(session, address, body, **headers)))


def wait(session: Session, address: str) -> Any:
    """Return the manifest at the address of a status, when it is there."""
    while (answer := session.get(address)).status_code == 202:
        pass
    return must(answer).json()


def lines(session: Session, url: str) -> list[dict[str, Any]]:
    """Return the resources of a file."""
    answer = must(session.get(url))
    assert answer.headers["content-type"] == "application/fhir+ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def output(
    session: Session, found: dict[str, Any], section: str = "output"
) -> list[dict[str, Any]]:
    """Return the resources of all files of a manifest's section."""
    return [one for file in found[section] for one in lines(session, file["url"])]


def names(resources: list[dict[str, Any]]) -> list[str]:
    """Return the references of resources."""
    return [f"{one['resourceType']}/{one['id']}" for one in resources]


def export(session: Session, address: str = "$export", body: Any = None, **headers: str) -> Any:
    """Export and return the references of what came out."""
    return names(output(session, manifest(session, address, body, **headers)))
