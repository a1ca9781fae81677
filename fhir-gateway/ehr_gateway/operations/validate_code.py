"""`$validate-code`: whether a code is in a value set or a code system."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi.responses import Response

from ehr_fhir.errors import Invalid
from ehr_fhir.terminology.code_validation import CodeToCheck, Finding, Verdict, validate_code
from ehr_fhir.terminology.library import LayeredLibrary, ResourceLibrary
from ehr_fhir.terminology.value_sets import (
    ResolvedValueSet,
    resolve_value_set,
)
from ehr_gateway.operations._terminology import (
    CALLERS,
    COMMON_PARAMETERS,
    VERSION_PARAMETERS,
    Terms,
    coded_values,
    open_terms,
    read_value_set,
    typed_parameter,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="validate-code",
    summary="Say whether a code is in a value set or a code system, and why it is not.",
    levels=("type", "instance"),
    resource_types=("CodeSystem", "ValueSet"),
    standards={
        "CodeSystem": "http://hl7.org/fhir/OperationDefinition/CodeSystem-validate-code",
        "ValueSet": "http://hl7.org/fhir/OperationDefinition/ValueSet-validate-code",
    },
    affects_state=False,
    input="either",
    callers=CALLERS,
    parameters=(
        Parameter("url", "uri", "The value set or code system, as `url` or `url|version`"),
        Parameter("valueSet", "ValueSet", "Or the value set itself", resource_types=("ValueSet",)),
        Parameter("valueSetVersion", "string", "Its version", resource_types=("ValueSet",)),
        Parameter(
            "codeSystem", "CodeSystem", "Or the code system itself", resource_types=("CodeSystem",)
        ),
        Parameter("code", "code", "The code"),
        Parameter("system", "uri", "The code's system", resource_types=("ValueSet",)),
        Parameter(
            "systemVersion",
            "string",
            "The version of the code's system",
            resource_types=("ValueSet",),
        ),
        Parameter("version", "string", "Its version", resource_types=("CodeSystem",)),
        Parameter("display", "string", "A name: it must be one of the code's"),
        Parameter("coding", "Coding", "Or a Coding in the place of these"),
        Parameter("codeableConcept", "CodeableConcept", "Or several, one of which must do"),
        Parameter("abstract", "boolean", "Whether a code that groups others will do; false: not"),
        Parameter("activeOnly", "boolean", "Whether a code that is no longer used will not do"),
        Parameter(
            "inferSystem",
            "boolean",
            "Find the system by the code alone",
            resource_types=("ValueSet",),
        ),
        *VERSION_PARAMETERS,
        *COMMON_PARAMETERS,
    ),
    required_scope=None,
)
_ISSUE_TYPES = "http://hl7.org/fhir/tools/CodeSystem/tx-issue-type"


def answer(call: OperationCall) -> Response:
    """Answer with `result`, the reasons, and the code as its system knows it."""
    of_value_set = call.resource_type == "ValueSet"
    with open_terms(call) as terms:
        codes = (
            coded_values(terms.sent, "system", "systemVersion")
            if of_value_set
            else _codes_of_system(terms)
        )
        value_set = None
        if of_value_set:
            resource = read_value_set(terms)
            terms = terms.with_supplements_of(resource)
            value_set = resolve_value_set(resource, terms.library, terms.versions())
        verdicts = [_judge(terms, code, value_set) for code in codes]
        parameters = list(_describe(codes, verdicts))
    return call.respond(*parameters)


def _codes_of_system(terms: Terms) -> list[CodeToCheck]:
    """Return the codes with the code system that the call names."""
    resource = terms.read_instance() or terms.resource("codeSystem", "CodeSystem")
    url = str(resource.get("url", "")) if resource else terms.sent.optional_text("url")
    found = []
    for one in coded_values(terms.sent, "url", "version"):
        # A coding names its own system; where the call names one too, they must agree.
        system = one.system if one.path != "code" else url
        if url is not None and system not in (None, url):
            raise Invalid("The coding is of another code system than `url`.", expression=one.path)
        system = system or url
        if system is None:
            raise Invalid("Name the code system by `url`, or send a coding.", expression="url")
        found.append(CodeToCheck(system, one.code, one.version, one.display, one.path))
    return found


def _judge(terms: Terms, coded: CodeToCheck, value_set: ResolvedValueSet | None) -> Verdict:
    library = terms.library
    if resource := terms.resource("codeSystem", "CodeSystem"):
        library = LayeredLibrary(ResourceLibrary([resource]), library)
    return validate_code(
        coded,
        library,
        value_set,
        versions=terms.versions(),
        languages=terms.languages,
        allow_abstract=not terms.sent.has("abstract") or terms.sent.optional_boolean("abstract"),
        active_only=terms.sent.optional_boolean("activeOnly"),
        infer_system=terms.sent.optional_boolean("inferSystem"),
    )


def _describe(
    codes: Sequence[CodeToCheck], verdicts: Sequence[Verdict]
) -> Iterator[dict[str, Any]]:
    chosen = next((index for index, one in enumerate(verdicts) if one.is_valid), 0)
    verdict, is_valid = verdicts[chosen], verdicts[chosen].is_valid
    findings = [
        finding for index, one in enumerate(verdicts) for finding in one.findings
        # Where one code will do, the faults of others are no faults of the whole.
        if not is_valid or index == chosen
    ]  # fmt: skip
    yield typed_parameter("result", "boolean", is_valid)
    errors = [one.text for one in findings if one.severity == "error"]
    if messages := errors or [one.text for one in findings if one.severity == "warning"]:
        yield typed_parameter("message", "string", " ".join(dict.fromkeys(messages)))
    if verdict.display:
        yield typed_parameter("display", "string", verdict.display)
    yield typed_parameter("code", "code", codes[chosen].code)
    if verdict.system:
        yield typed_parameter("system", "uri", verdict.system)
    if verdict.version:
        yield typed_parameter("version", "string", verdict.version)
    if verdict.concept is not None and verdict.concept.code != codes[chosen].code:
        yield typed_parameter("normalized-code", "code", verdict.concept.code)
    if verdict.concept is not None and verdict.concept.is_inactive:
        yield typed_parameter("inactive", "boolean", True)
    if verdict.unknown_system:
        yield typed_parameter("x-caused-by-unknown-system", "canonical", verdict.unknown_system)
    if findings:
        issues = [_issue(one) for one in findings]
        outcome = {"resourceType": "OperationOutcome", "issue": issues}
        yield {"name": "issues", "resource": outcome}


def _issue(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity,
        "code": finding.issue_code,
        "details": {
            "coding": [{"system": _ISSUE_TYPES, "code": finding.kind}],
            "text": finding.text,
        },
        **({"expression": [finding.path]} if finding.path else {}),
    }
