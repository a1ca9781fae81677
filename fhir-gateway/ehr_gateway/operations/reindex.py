"""How far an added search parameter is: for the administrator who added it."""

from __future__ import annotations

import orjson
from fastapi import APIRouter
from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, NotFound
from ehr_gateway.audit_log import recorder
from ehr_gateway.http.authentication import Authenticated
from ehr_gateway.http.negotiation import fhir_response, parse_preferences
from ehr_gateway.http.query_string import check_parameters
from ehr_gateway.store.reindex import ReindexProgress, reindex_progress
from ehr_privacy.consent import load_roles

router = APIRouter(prefix="/fhir/SearchParameter")


@router.api_route("/{logical_id}/$reindex", methods=["GET", "HEAD"])
def reindex(context: Authenticated, logical_id: str) -> Response:
    """Say for each resource type how many resources are indexed, of how many there were."""
    prefer = parse_preferences(context.request)
    check_parameters(context.request, lenient=prefer.lenient)
    audit_context = context.begin_audit("operation")
    requester = context.access.requester
    platform = requester.role == "system" and requester.organization == load_roles().platform
    if requester.role != "administrator" and not platform:
        raise Forbidden("Only an administrator sees how far an index is.")
    with context.gateway.store.read_transaction() as connection:
        found = reindex_progress(connection, logical_id)
    if not found:
        raise NotFound("There is no active SearchParameter with this id.")
    context.add_audit_entry(recorder.build_event_rows(audit_context=audit_context, patient=None))
    body = {"resourceType": "Parameters", "parameter": [_part(one) for one in found]}
    return fhir_response(orjson.dumps(body), pretty=prefer.pretty)


def _part(one: ReindexProgress) -> dict[str, object]:
    return {
        "name": "index",
        "part": [
            {"name": "type", "valueCode": one.type},
            {"name": "code", "valueCode": one.code},
            {"name": "state", "valueCode": one.state},
            {"name": "done", "valueInteger": one.done},
            {"name": "total", "valueInteger": one.total},
        ],
    }
