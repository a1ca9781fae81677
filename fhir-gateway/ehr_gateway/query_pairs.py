"""The parameters of an address as pairs, in their order, read strictly."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import Request

from ehr_fhir.errors import Invalid
from ehr_gateway.negotiation import GENERAL


def query_pairs(request: Request) -> list[tuple[str, str]]:
    """Return the parameters without those that only shape the answer."""
    raw = request.scope["query_string"]
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=500
        )
    except ValueError as error:
        raise Invalid("The query of the address is not valid percent-encoded UTF-8.") from error
    return [pair for pair in pairs if pair[0] not in GENERAL]


def no_parameters(request: Request, *, lenient: bool) -> None:
    """Refuse parameters where none has a meaning."""
    if not lenient and (pairs := query_pairs(request)):
        raise Invalid(f"Unknown parameter: {pairs[0][0][:64]!r}.")
