"""`$translate`: what concept maps say of a code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.responses import Response

from ehr_fhir.errors import Invalid, NotFound
from ehr_fhir.terminology.translation import Translation, translate
from ehr_fhir.terminology.value_sets import split_canonical
from ehr_gateway.operations._terminology import (
    CALLERS,
    COMMON_PARAMETERS,
    Terms,
    coded_values,
    open_terms,
    part,
    typed_parameter,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="translate",
    summary="Translate a code to another code system by concept maps.",
    levels=("type", "instance"),
    resource_types=("ConceptMap",),
    standards={"ConceptMap": "http://hl7.org/fhir/OperationDefinition/ConceptMap-translate"},
    affects_state=False,
    input="either",
    callers=CALLERS,
    parameters=(
        Parameter("url", "uri", "The concept map; all that say something where none is named",
                  levels=("type",)),
        Parameter("conceptMap", "ConceptMap", "Or the concept map itself", levels=("type",)),
        Parameter("conceptMapVersion", "string", "Its version", levels=("type",)),
        Parameter("code", "code", "The code"),
        Parameter("system", "uri", "The code's system"),
        Parameter("version", "string", "Version of the code's system; taken, not compared"),
        Parameter("coding", "Coding", "Or a Coding in the place of these three"),
        Parameter("codeableConcept", "CodeableConcept", "Or several, each of which is translated"),
        Parameter("source", "uri", "The value set that the map is from"),
        Parameter("target", "uri", "The value set that the map is to"),
        Parameter("targetsystem", "uri", "The code system to translate to"),
        Parameter("reverse", "boolean", "From the map's target to its source"),
        *COMMON_PARAMETERS,
    ),
    required_scope=None,
)  # fmt: skip


def answer(call: OperationCall) -> Response:
    """Answer with `result` and the matches; none is no error."""
    with open_terms(call) as terms:
        sent = terms.sent
        named, found = _read_named_map(terms), []
        for one in coded_values(sent, "system", "version"):
            if one.system is None:
                raise Invalid("Name the code's system.", expression="system")
            maps = [named] if named else terms.library.concept_maps(one.system, one.code)
            found += translate(
                _between(maps, sent.optional_text("source"), sent.optional_text("target")),
                one.system,
                one.code,
                terms.library,
                target_system=sent.optional_text("targetsystem"),
                reverse=sent.optional_boolean("reverse"),
            )
    is_match = any(one.is_match for one in found)
    message = (
        []
        if found
        else [typed_parameter("message", "string", "No concept map says anything of it.")]
    )
    return call.respond(
        typed_parameter("result", "boolean", is_match), *message, *(_match(one) for one in found)
    )


def _read_named_map(terms: Terms) -> Mapping[str, Any] | None:
    if resource := terms.read_instance() or terms.resource("conceptMap", "ConceptMap"):
        return resource
    name = terms.sent.optional_text("url")
    if name is None:
        return None
    url, version = split_canonical(name)
    version = terms.sent.optional_text("conceptMapVersion") or version
    found = terms.library.concept_map(url, version)
    if found is None:
        raise NotFound("There is no such concept map here.", expression="url")
    return found


def _between(
    maps: Sequence[Mapping[str, Any]], source: str | None, target: str | None
) -> list[Mapping[str, Any]]:
    """Return the maps from and to some value sets."""

    def names(concept_map: Mapping[str, Any], side: str) -> set[str]:
        both = (concept_map.get(f"{side}Uri"), concept_map.get(f"{side}Canonical"))
        return {split_canonical(str(one))[0] for one in both if one}

    return [
        one
        for one in maps
        if (source is None or source in names(one, "source"))
        and (target is None or target in names(one, "target"))
    ]


def _match(one: Translation) -> dict[str, Any]:
    parts = [typed_parameter("equivalence", "code", one.equivalence)]
    if one.code:
        display = {"display": one.display} if one.display else {}
        coding = {"system": one.system, "code": one.code, **display}
        parts.append(typed_parameter("concept", "coding", coding))
    parts += (
        part("product", [
            typed_parameter("element", "uri", product.get("property", "")),
            typed_parameter("concept", "coding", {
                "system": product.get("system", ""), "code": product.get("value", ""),
            }),
        ])
        for product in one.products
    )  # fmt: skip
    if one.source:
        parts.append(typed_parameter("source", "uri", one.source))
    return part("match", parts)
