"""`$lastn`: the newest Observations of each code (R4 Observation-lastn)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import orjson
from fastapi.responses import Response

from ehr_fhir.errors import Invalid, TooCostly
from ehr_gateway.http.bundle_bytes import build_bundle, build_entry, build_page_url
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.http.searchset import search_limits
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.search.page import search_whole
from ehr_gateway.store.store import Version

OPERATION = Operation(
    name="lastn",
    summary="Return the newest Observations of each code, of one patient.",
    levels=("type",),
    resource_types=("Observation",),
    standards={"Observation": "http://hl7.org/fhir/OperationDefinition/Observation-lastn"},
    returns="Bundle",
    affects_state=False,
    input="either",
    callers="whoever may search Observations",
    parameters=(
        Parameter("patient", "string", "Whose; or `subject`, as in a search"),
        Parameter("subject", "string", "Whose, as in a search"),
        Parameter("category", "string", "Of these categories, as in a search"),
        Parameter("code", "string", "Of these codes, as in a search"),
        Parameter("date", "string", "In this period, as in a search", 0, "*"),
        Parameter("max", "integer", "So many of each code: 1 when nothing is said, at most 100"),
    ),
    required_scope=None,
)
# Chosen: they are read into memory as a whole.
_MOST_MATCHES = 20_000
_LARGEST = 100


def answer(call: OperationCall) -> Response:
    """Answer with a searchset: code by code, the newest first."""
    pairs = call.plain_pairs()
    names = {name for name, _ in pairs}
    if not names & {"patient", "subject"}:
        raise Invalid("Name the patient.", expression="patient")
    most = _parse_most([text for name, text in pairs if name == "max"])
    found = list(_newest(_matches(call, [pair for pair in pairs if pair[0] != "max"]), most))
    record_disclosure(call.context, call.audit_context, found)
    base = call.context.gateway.settings.fhir_base
    entries = [build_entry(f"{base}/{one.type}/{one.id}", one.body, mode="match") for one in found]
    links = [("self", build_page_url(f"{base}/Observation/$lastn", pairs))]
    return fhir_response(
        build_bundle("searchset", entries, links=links), pretty=call.preferences.pretty
    )


def _parse_most(sent: list[str]) -> int:
    if not sent:
        return 1
    text = sent[0]
    if len(sent) > 1 or not text.isascii() or not text.isdecimal() or len(text) > 3:
        raise Invalid("`max` is a whole number, given once.", expression="max")
    if not 1 <= int(text) <= _LARGEST:
        raise Invalid(f"`max` is from 1 to {_LARGEST}.", expression="max")
    return int(text)


def _matches(call: OperationCall, pairs: list[tuple[str, str]]) -> list[Version]:
    """Return what a search for the same finds, the newest first."""
    gateway = call.context.gateway
    found = search_whole(
        gateway.store,
        call.context.access,
        "Observation",
        [*pairs, ("status:not", "entered-in-error"), ("_sort", "-date")],
        limit=_MOST_MATCHES + 1,
        limits=search_limits(gateway.settings),
    )
    if len(found) > _MOST_MATCHES:
        raise TooCostly("There are more measurements than are looked at: name codes or a period.")
    return found


def _newest(versions: Iterable[Version], most: int) -> list[Version]:
    """Return the first `most` of each code, code by code, in the order of their first."""
    counts: Counter[str] = Counter()
    groups: dict[str, list[Version]] = {}
    for version in versions:
        code = orjson.loads(version.body).get("code", {})
        keys = [f"{one.get('system', '')}|{one.get('code', '')}" for one in code.get("coding", ())]
        # With another coding of the same test it is of the same group.
        key = next((one for one in keys if one in groups), (keys or [str(code.get("text"))])[0])
        if counts[key] < most:
            counts[key] += 1
            groups.setdefault(key, []).append(version)
    return [one for group in groups.values() for one in group]
