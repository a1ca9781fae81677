"""The parameters of an address as pairs, in their order, read strictly."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import Request

from ehr_fhir.errors import Invalid
from ehr_fhir.search.query_string import parse_query_pairs
from ehr_gateway.http.negotiation import GENERAL_PARAMETERS


def parse_query(request: Request) -> list[tuple[str, str]]:
    """Return the parameters without those that only shape the answer."""
    raw = request.scope["query_string"]
    try:
        pairs = parse_query_pairs(raw.decode("ascii"))
    except ValueError as error:
        raise Invalid("The query of the address is not valid percent-encoded UTF-8.") from error
    return [pair for pair in pairs if pair[0] not in GENERAL_PARAMETERS]


def check_parameters(
    request: Request, *, lenient: bool, allowed: Collection[str] = ()
) -> list[tuple[str, str]]:
    """Refuse parameters where none has a meaning but these; return these."""
    pairs = parse_query(request)
    unknown = [name for name, _ in pairs if name not in allowed]
    if unknown and not lenient:
        raise Invalid(f"Unknown parameter: {unknown[0][:64]!r}.")
    return [pair for pair in pairs if pair[0] in allowed]
