"""`$duplicates`: pairs of Patients that may be one person's, the likeliest first."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_gateway.access_requests.duplicate_decisions import (
    DUPLICATE_STATES,
    Duplicate,
    list_duplicates,
)
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._merge_parts import describe_patient
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.patient_matching.score import grade_score, weigh_levels

# Pairs in an answer. Chosen.
_USUAL, _MOST = 50, 100
OPERATION = Operation(
    name="duplicates",
    summary="List pairs of Patients that may be one person's, the likeliest first.",
    levels=("system",),
    affects_state=False,
    callers="a steward",
    parameters=(
        Parameter("state", "code", "`open` if not said, `later` or `different`"),
        Parameter("count", "integer", f"At most so many pairs, {_USUAL} if not said"),
    ),
)


def answer(call: OperationCall) -> Response:
    """Answer with a `pair` for each; whoever is named in one is put on record."""
    sent = call.parse_input()
    state = sent.code("state", DUPLICATE_STATES) if sent.has("state") else "open"
    most = sent.optional_integer("count", 1, _MOST) or _USUAL
    with call.context.gateway.store.read_transaction() as connection:
        total, duplicates = list_duplicates(connection, call.context, state, most)
    patients = {str(one["id"]) for pair in duplicates for one in (pair.first, pair.second)}
    for patient in sorted(patients):
        call.record(patient, entities=[f"Patient/{patient}"])
    if not patients:
        call.record()
    return call.respond(
        parameter("total", total),
        *({"name": "pair", "part": _parts(duplicate)} for duplicate in duplicates),
    )


def _parts(duplicate: Duplicate) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [
        # A probability of one is never reached.
        {"name": "score", "valueDecimal": min(round(duplicate.score, 6), 0.999999)},
        {"name": "grade", "valueCode": grade_score(duplicate.score) or "possible"},
        {"name": "found", "valueInstant": format_instant(duplicate.found_ms)},
        parameter("proposed", duplicate.is_proposed),
    ]
    decided = {"display": duplicate.display, "reason": duplicate.reason}
    parts += [parameter(name, text) for name, text in decided.items() if text]
    if duplicate.decided_ms is not None:
        parts.append({"name": "decided", "valueInstant": format_instant(duplicate.decided_ms)})
    parts += [
        describe_patient(name, str(patient["id"]), patient)
        for name, patient in (("first", duplicate.first), ("second", duplicate.second))
    ]
    for element, weight in weigh_levels(duplicate.levels).items():
        parts.append({
            "name": "field",
            "part": [
                {"name": "element", "valueCode": element},
                {"name": "level", "valueCode": duplicate.levels[element]},
                {"name": "weight", "valueDecimal": round(weight, 1)},
            ],
        })  # fmt: skip
    return parts
