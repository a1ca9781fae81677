"""`$summary`: an International Patient Summary of what the caller may see (HL7 IPS 2.0.0)."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Invalid, NotFound, TooCostly
from ehr_fhir.ips.compose import PROFILE, Summary, compose_summary
from ehr_fhir.ips.sections import SUMMARY_TYPES, select_records
from ehr_fhir.json_text import parse, serialize
from ehr_gateway.html.pages import choose_language
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.http.searchset import search_limits
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.search.record_page import find_supporting, find_whole_record
from ehr_gateway.store.store import Version

OPERATION = Operation(
    name="summary",
    summary="Return an International Patient Summary of what the caller may see of a record.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=False,
    input="either",
    callers="whoever may search every type of record that a summary is made of",
    parameters=(
        Parameter("profile", "canonical", f"The profile of the document: `{PROFILE}` alone"),
    ),
    required_scope=None,
)
# Records that a summary is made of. Chosen: they are read into memory as a whole.
_MOST_RECORDS = 20_000
_AUTHOR: dict[str, Any] = {
    "resourceType": "Device",
    "id": "ehr-commons",
    "status": "active",
    "deviceName": [{"name": "eHR Commons", "type": "user-friendly-name"}],
}


def answer(call: OperationCall) -> Response:
    """Answer with the document, in the language that the client prefers."""
    context, patient = call.context, call.logical_id
    gateway, access = context.gateway, context.access
    for name, text in call.plain_pairs():
        if text.partition("|")[0] != PROFILE:
            raise Invalid(f"The profile that is served is {PROFILE}.", expression=name)
    language = choose_language("", context.request.headers.get("accept-language", ""))
    # A summary without a type for lack of a right would read as one without such a problem.
    access.require_scope("search", *sorted(SUMMARY_TYPES))
    with gateway.store.read_transaction() as connection:
        versions = find_whole_record(
            connection, gateway.store, access, patient, SUMMARY_TYPES, most=_MOST_RECORDS + 1
        )
        if len(versions) > _MOST_RECORDS:
            raise TooCostly(f"A summary is made of {_MOST_RECORDS} records at most.")
        person = next((one for one in versions if (one.type, one.id) == ("Patient", patient)), None)
        if person is None:
            raise NotFound("There is no Patient with this id.")
        listed = _list_shown(versions)
        limits = search_limits(gateway.settings)
        supporting = find_supporting(connection, gateway.store, access, listed, limits)
    document = compose_summary(
        Summary(
            patient=parse(person.body),
            records=tuple(parse(version.body) for version in listed),
            supporting=tuple(parse(version.body) for version in supporting),
            base=gateway.settings.fhir_base,
            language=language,
            at=format_instant(access.now_ms),
            author=_AUTHOR,
        )
    )
    shown = {(one["resource"]["resourceType"], one["resource"]["id"]) for one in document["entry"]}
    disclosed = [one for one in (*versions, *supporting) if (one.type, one.id) in shown]
    record_disclosure(context, call.audit_context, disclosed)
    return fhir_response(
        serialize(document),
        headers={"Content-Language": language, "Vary": "Accept-Language"},
        pretty=call.preferences.pretty,
    )


def _list_shown(versions: list[Version]) -> list[Version]:
    """Return the versions that stand in some section."""
    # Quickly, for there are many: what is shown is parsed once more, digit by digit.
    selected = select_records(orjson.loads(version.body) for version in versions)
    keys = {(one["resourceType"], one["id"]) for section in selected.values() for one in section}
    return [version for version in versions if (version.type, version.id) in keys]
