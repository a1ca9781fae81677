"""`$diff`: what changed between two versions of a resource, or between two resources of a type."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid
from ehr_fhir.json_text import parse, serialize
from ehr_fhir.patch.difference import build_difference
from ehr_gateway.database import Connection
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.interactions.vread import vread_on
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import ANY_TYPE, Operation, Parameter
from ehr_gateway.store.store import Version
from ehr_gateway.store.visible import read_on

OPERATION = Operation(
    name="diff",
    summary="Tell what changed between two versions of a resource, or differs between two.",
    levels=("system", "instance"),
    resource_types=(ANY_TYPE,),
    affects_state=False,
    input="either",
    callers="whoever may read both",
    parameters=(
        Parameter(
            "fromVersion", "string", "The version to begin with; the one before the current one"
            " when nothing is said", levels=("instance",),
        ),
        Parameter("from", "uri", "`Type/id` or `Type/id/_history/n`", 1, levels=("system",)),
        Parameter("to", "uri", "Another resource of this type, or version", 1, levels=("system",)),
        Parameter("includeMeta", "boolean", "Whether `meta` is compared, too"),
    ),
    required_scope=None,
)  # fmt: skip
# More digits than any number of versions.
_MOST_VERSION_DIGITS = 9


def answer(call: OperationCall) -> Response:
    """Answer with a Parameters resource that is a FHIRPath Patch."""
    sent = call.parse_input()
    with_meta = sent.optional_boolean("includeMeta")
    store, access = call.context.gateway.store, call.context.access
    with store.read_transaction() as connection:
        if call.logical_id:
            after = read_on(connection, access, call.resource_type, call.logical_id)
            named = sent.optional_text("fromVersion")
            number = after.version - 1 if named is None else _parse_number(named, "fromVersion")
            before = vread_on(connection, access, after.type, after.id, number)
        else:
            places = [_parse_place(sent.text(name), name) for name in ("from", "to")]
            if places[0][0] != places[1][0]:
                raise Invalid("Both must be of one resource type.", expression="to")
            for kind, identity, _ in places:
                access.inquiry.name_target(kind, identity)
            before, after = (_read(call, connection, place) for place in places)
    record_disclosure(call.context, call.audit_context, [before, after])
    operations = build_difference(parse(before.body), parse(after.body), with_meta=with_meta)
    body: dict[str, object] = {"resourceType": "Parameters"}
    if operations:
        body["parameter"] = operations
    return fhir_response(serialize(body), pretty=call.preferences.pretty)


_Place = tuple[str, str, int | None]


def _read(call: OperationCall, connection: Connection, place: _Place) -> Version:
    kind, identity, number = place
    if number is None:
        return read_on(connection, call.context.access, kind, identity)
    return vread_on(connection, call.context.access, kind, identity, number)


def _parse_place(text: str, name: str) -> _Place:
    """Return type, id and version of a reference to a resource of this server."""
    kind, _, rest = text.partition("/")
    identity, _, version = rest.partition("/_history/")
    if kind not in definitions.resource_types() or not identity or "/" in identity:
        raise Invalid(f"`{name}` has the form Type/id or Type/id/_history/n.", expression=name)
    return kind, identity, _parse_number(version, name) if "/_history/" in rest else None


def _parse_number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > _MOST_VERSION_DIGITS:
        raise Invalid(f"`{name}` names a version by its number.", expression=name)
    return int(text)
