"""`$lookup`: the names and properties of a code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi.responses import Response

from ehr_fhir.errors import NotFound
from ehr_fhir.terminology.code_system import CodeSystem
from ehr_fhir.terminology.concepts import Concept
from ehr_gateway.operations._terminology import (
    CALLERS,
    COMMON_PARAMETERS,
    Terms,
    coded_values,
    open_terms,
    part,
    read_code_system,
    typed_parameter,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="lookup",
    summary="Tell the names and properties of a code.",
    levels=("type",),
    resource_types=("CodeSystem",),
    standards={"CodeSystem": "http://hl7.org/fhir/OperationDefinition/CodeSystem-lookup"},
    affects_state=False,
    input="either",
    callers=CALLERS,
    parameters=(
        Parameter("system", "uri", "The code system, as `url` or `url|version`"),
        Parameter("code", "code", "The code"),
        Parameter("version", "string", "Version of the code system"),
        Parameter("coding", "Coding", "Or a Coding in the place of these three"),
        Parameter(
            "property", "code",
            "Which properties are told: a name, `designation`, `parent`, `child`, `definition`;"
            " all where none is named",
            most="*",
        ),
        *COMMON_PARAMETERS,
    ),
    required_scope=None,
)  # fmt: skip
_MOST_PROPERTIES = 50
# Chosen: a code may have thousands below it; `$expand` lists them.
_MOST_CHILDREN = 500


def answer(call: OperationCall) -> Response:
    """Answer with Parameters; 404 for an unknown code system or code."""
    with open_terms(call) as terms:
        coded = coded_values(terms.sent, "system", "version")[0]
        system = read_code_system(terms, coded.system, coded.version)
        concept = system.find(coded.code)
        if concept is None:
            raise NotFound("The code system has no such code.", expression="code")
        parameters = list(_describe(terms, system, concept))
    return call.respond(*parameters)


def _describe(terms: Terms, system: CodeSystem, concept: Concept) -> Iterator[dict[str, Any]]:
    wanted = set(terms.sent.texts("property", _MOST_PROPERTIES))
    header = system.header
    yield typed_parameter("name", "string", header.title or header.name or header.url)
    if header.version:
        yield typed_parameter("version", "string", header.version)
    display = concept.display_in(terms.languages, header.language)
    yield typed_parameter("display", "string", display or concept.code)
    yield typed_parameter("code", "code", concept.code)
    yield typed_parameter("system", "uri", header.url)
    if concept.definition and (not wanted or "definition" in wanted):
        yield typed_parameter("definition", "string", concept.definition)
    yield typed_parameter("abstract", "boolean", concept.is_abstract)
    if not wanted or "designation" in wanted:
        for designation in concept.designations:
            yield part("designation", _designation_parts(designation))
    if not wanted or "inactive" in wanted:
        yield part(
            "property",
            [
                typed_parameter("code", "code", "inactive"),
                typed_parameter("value", "boolean", concept.is_inactive),
            ],
        )
    for name, codes in (
        ("parent", system.parents(concept.code)),
        ("child", system.children(concept.code)[:_MOST_CHILDREN]),
    ):
        if not wanted or name in wanted:
            for code in codes:
                yield _named_code(system, name, code)
    for one in concept.properties:
        name = str(one.get("code", ""))
        if name not in ("parent", "child", "inactive") and (not wanted or name in wanted):
            value = {key: found for key, found in one.items() if key.startswith("value")}
            yield part(
                "property", [typed_parameter("code", "code", name), {"name": "value", **value}]
            )


def _designation_parts(designation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if "language" in designation:
        yield typed_parameter("language", "code", designation["language"])
    if "use" in designation:
        yield typed_parameter("use", "coding", designation["use"])
    yield typed_parameter("value", "string", designation.get("value", ""))


def _named_code(system: CodeSystem, name: str, code: str) -> dict[str, Any]:
    concept = system.find(code)
    described = (
        [typed_parameter("description", "string", concept.display)]
        if concept and concept.display
        else []
    )
    return part(
        "property",
        [typed_parameter("code", "code", name), typed_parameter("value", "code", code), *described],
    )
