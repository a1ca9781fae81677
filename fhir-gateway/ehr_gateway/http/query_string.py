"""The query of an address: its parameters in order, read strictly."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fastapi import Request

from ehr_fhir.errors import Invalid
from ehr_fhir.search.query_string import parse_query_pairs
from ehr_gateway.http.negotiation import GENERAL_PARAMETERS

# No parameter of ours has a longer name; what a client makes up is cut in the audit log.
_LOGGED_NAME_LENGTH = 64


def parse_query(request: Request) -> list[tuple[str, str]]:
    """Return the parameters in order, without those that only shape the answer."""
    raw = request.scope["query_string"]
    if not raw:
        return []
    try:
        pairs = parse_query_pairs(raw.decode("ascii"))
    except ValueError as error:
        raise Invalid("The query of the address is not valid percent-encoded UTF-8.") from error
    return [pair for pair in pairs if pair[0] not in GENERAL_PARAMETERS]


def check_parameters(
    request: Request, *, lenient: bool, allowed: Collection[str] = ()
) -> list[tuple[str, str]]:
    """Refuse parameters other than the allowed; return these, in order."""
    pairs = parse_query(request)
    unknown = [name for name, _ in pairs if name not in allowed]
    if unknown and not lenient:
        raise Invalid(f"Unknown parameter: {unknown[0][:_LOGGED_NAME_LENGTH]!r}.")
    return [pair for pair in pairs if pair[0] in allowed]


def describe_query(path: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Return a query for the audit log: the names without the values, which may name a patient.

    >>> describe_query("Patient", [("name", "Chan"), ("_count", "2")])
    'Patient?name&_count'
    """
    return f"{path}?" + "&".join(name[:_LOGGED_NAME_LENGTH] for name, _ in pairs)
