"""`Patient/$match` (R4 Patient operations): who may be the person of a description."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_fhir.validation.validate import validate
from ehr_gateway.database import Connection
from ehr_gateway.http.bundle_bytes import build_bundle
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.patient_matching.duplicates import find_similar_patients
from ehr_gateway.patient_matching.identity import read_identity
from ehr_gateway.patient_matching.score import Grade, grade_score
from ehr_gateway.store.store import Version

# Patients in an answer. Chosen.
_USUAL, _MOST = 10, 100
OPERATION = Operation(
    name="match",
    summary="Find the patients who may be the person of a description, the likeliest first.",
    levels=("type",),
    resource_types=("Patient",),
    standards={"Patient": "http://hl7.org/fhir/OperationDefinition/Patient-match"},
    returns="Bundle",
    affects_state=False,
    input="body",
    callers="whoever may search for patients",
    parameters=(
        Parameter("resource", "Patient", "The person: as much as is known", 1),
        Parameter("onlyCertainMatches", "boolean", "Answer one certain match, or none"),
        Parameter("count", "integer", f"At most so many matches, {_USUAL} if not said"),
    ),
    # Of the type, as a search: Patient.s.
    required_scope=None,
)
_GRADE_URL = "http://hl7.org/fhir/StructureDefinition/match-grade"


@dataclass(frozen=True)
class _Match:
    """A patient who may be the person."""

    version: Version
    score: float
    grade: Grade


def answer(call: OperationCall) -> Response:
    """Answer with a Bundle of graded matches among those whom the caller may find."""
    sent = call.parse_body()
    described = sent.resources("resource", 1)
    only_certain = sent.optional_boolean("onlyCertainMatches")
    most = sent.optional_integer("count", 1, _MOST) or _USUAL
    if not described:
        raise Invalid("The parameter resource is missing.", expression="Parameters.parameter")
    validate(described[0], "Patient")
    if read_identity(described[0]).says_nothing:
        raise Invalid(
            "Say a name, a birth date, a telephone or the number of an identity document.",
            expression="Patient",
        )
    with call.context.gateway.store.read_transaction() as connection:
        matches = _find_matches(connection, call, described[0])
    if only_certain:
        # Several that are certain are none: one of them is wrong (R4: Patient-match).
        matches = [match for match in matches if match.grade == "certain"]
        matches = matches if len(matches) == 1 else []
    total, matches = len(matches), matches[:most]
    record_disclosure(call.context, call.audit_context, [match.version for match in matches])
    base = call.context.gateway.settings.fhir_base
    body = build_bundle("searchset", [_entry(match, base) for match in matches], total=total)
    return fhir_response(body, pretty=call.preferences.pretty)


def _find_matches(
    connection: Connection, call: OperationCall, description: Mapping[str, Any]
) -> list[_Match]:
    """Return who may be the person, out of those that searches of the caller's own would find."""
    context = call.context
    similar = find_similar_patients(connection, context.gateway.store, context.access, description)
    matches = [
        _Match(one.version, one.score, grade)
        for one in similar
        if (grade := grade_score(one.score))
    ]
    return sorted(matches, key=lambda match: (-match.score, match.version.id))


def _entry(match: _Match, base: str) -> bytes:
    return orjson.dumps({
        "fullUrl": f"{base}/Patient/{match.version.id}",
        "resource": orjson.Fragment(match.version.body),
        "search": {
            "extension": [{"url": _GRADE_URL, "valueCode": match.grade}],
            "mode": "match",
            # A probability of one is never reached.
            "score": min(round(match.score, 6), 0.999999),
        },
    })  # fmt: skip
