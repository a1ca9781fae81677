"""JSON request bodies of the endpoints outside FHIR."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Request

from ehr_fhir.errors import Invalid, TooCostly, UnsupportedMedia

__all__ = ["read_json_object", "read_text_field"]

_MAX_BYTES = 64 * 1024


async def read_json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request body of at most 64 KiB.

    Raises Invalid, TooCostly or UnsupportedMedia, without repeating the body.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMedia("Send a JSON object as application/json.")
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > _MAX_BYTES:
            raise TooCostly(f"The request body is larger than {_MAX_BYTES} bytes.")
        pieces.append(piece)
    try:
        body = orjson.loads(b"".join(pieces))
    except ValueError as error:
        raise Invalid("The body is not JSON.") from error
    if not isinstance(body, dict):
        raise Invalid("The body is not a JSON object.")
    return body


def read_text_field(body: dict[str, Any], name: str) -> str:
    """Return a text field; empty if it is missing, Invalid if it is not text."""
    value = body.get(name, "")
    if not isinstance(value, str) or "\0" in value:
        raise Invalid(f"The field {name} is text.", expression=name)
    return value
