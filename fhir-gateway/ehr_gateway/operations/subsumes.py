"""`$subsumes`: whether one code is above another."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotFound, Unprocessable
from ehr_gateway.operations._terminology import (
    CALLERS,
    COMMON_PARAMETERS,
    Terms,
    open_terms,
    read_code_system,
    typed_parameter,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="subsumes",
    summary="Say whether one code of a code system is above another.",
    levels=("type", "instance"),
    resource_types=("CodeSystem",),
    standards={"CodeSystem": "http://hl7.org/fhir/OperationDefinition/CodeSystem-subsumes"},
    affects_state=False,
    input="either",
    callers=CALLERS,
    parameters=(
        Parameter("system", "uri", "The code system, as `url` or `url|version`", levels=("type",)),
        Parameter("version", "string", "Its version", levels=("type",)),
        Parameter("codeA", "code", "One code"),
        Parameter("codeB", "code", "The other code"),
        Parameter("codingA", "Coding", "Or one Coding"),
        Parameter("codingB", "Coding", "And the other Coding"),
        *COMMON_PARAMETERS,
    ),
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with `outcome` (concept-subsumption-outcome); 404 for an unknown code."""
    with open_terms(call) as terms:
        (system_a, code_a), (system_b, code_b) = (_read_code(terms, one) for one in "AB")
        if None not in (system_a, system_b) and system_a != system_b:
            raise Invalid("Both codes are of one code system.", expression="codingB")
        sent = terms.sent
        named = sent.optional_text("system") if not call.logical_id else None
        version = sent.optional_text("version") if not call.logical_id else None
        system = read_code_system(terms, named or system_a or system_b, version)
        if not system.header.is_hierarchy:
            raise Unprocessable(
                "The levels of the code system do not mean that one code is another.",
                issue_code="not-supported",
            )
        one, other = system.find(code_a), system.find(code_b)
        if one is None or other is None:
            missing = "codeA" if one is None else "codeB"
            raise NotFound("The code system has no such code.", expression=missing)
        outcome = "not-subsumed"
        if one.code == other.code:
            outcome = "equivalent"
        elif system.is_below(other.code, one.code):
            outcome = "subsumes"
        elif system.is_below(one.code, other.code):
            outcome = "subsumed-by"
    return call.respond(typed_parameter("outcome", "code", outcome))


def _read_code(terms: Terms, letter: str) -> tuple[str | None, str]:
    """Return the system, if it is named, and the code."""
    names = [name for name in (f"code{letter}", f"coding{letter}") if terms.sent.has(name)]
    if len(names) != 1:
        raise Invalid(f"Send one of code{letter} and coding{letter}.", expression=f"code{letter}")
    value = terms.sent.value(names[0])
    if isinstance(value, dict):
        system, value = value.get("system"), value.get("code")
        if isinstance(system, str | None) and isinstance(value, str):
            return system, value
    if not isinstance(value, str) or not value:
        raise Unprocessable(f"The parameter {names[0]} names no code.", expression=names[0])
    return None, value
