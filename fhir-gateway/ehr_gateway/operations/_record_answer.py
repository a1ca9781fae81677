"""The answer of `$everything`: a page of a record as a searchset, on record as disclosed."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.http.searchset import build_searchset, search_limits
from ehr_gateway.operations._record_parameters import parse_record_query
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.search.record_page import find_record_page
from ehr_gateway.store.visible import read_on

__all__ = ["answer_record_page"]


def answer_record_page(call: OperationCall) -> Response:
    """Answer with one page; NotFound where nothing of it is visible, as where there is nothing."""
    context = call.context
    gateway, access = context.gateway, context.access
    owner = (call.resource_type, call.logical_id)
    query = parse_record_query(owner, call.plain_pairs())
    page = find_record_page(gateway.store, access, query, search_limits(gateway.settings))
    if not page.matches and query.cursor is None:
        with gateway.store.read_transaction() as connection:
            # What was asked for may be empty; whose it is must be there, and visible.
            read_on(connection, access, *owner)
    record_disclosure(context, call.audit_context, [*page.matches, *page.included])
    cursor = [pair for pair in call.plain_pairs() if pair[0] == "_cursor"]
    body = build_searchset(
        gateway.settings.fhir_base, f"{'/'.join(owner)}/$everything", page, cursor
    )
    return fhir_response(body, pretty=call.preferences.pretty)
