"""Headers that hold text or a query: read as UTF-8, each once, or refused.

ASGI hands bytes over and Starlette decodes them as Latin-1, by which UTF-8 becomes other letters: a
criterion would match nothing, silently.
"""

from __future__ import annotations

from fastapi import Request

from ehr_fhir.errors import Invalid

__all__ = ["header_text"]


def header_text(request: Request, name: str) -> str | None:
    """Return the text of a header; None without it, Invalid if it is there twice or no UTF-8."""
    values = request.headers.getlist(name)
    if not values:
        return None
    if len(values) > 1:
        raise Invalid(f"The header {name} is there more than once.")
    try:
        return values[0].encode("latin-1").decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(f"The header {name} is not UTF-8; percent-encode it.") from error
