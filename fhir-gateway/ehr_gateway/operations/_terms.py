"""The end of a hold's or a carer's term, as callers write it."""

from __future__ import annotations

from ehr_fhir.dates import date_interval
from ehr_gateway.http.operation_parameters import OperationParameters


def end_of_term(sent: OperationParameters) -> int:
    """Return the parameter `until` in milliseconds since 1970: a date holds until its own end."""
    return date_interval(sent.text("until"))[1]
