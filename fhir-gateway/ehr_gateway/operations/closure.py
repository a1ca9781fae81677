"""`$closure`: a program's codes and which of them are above which, added to step by step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Conflict, Forbidden, Invalid, NotFound, TooCostly, Unprocessable
from ehr_fhir.json_text import serialize
from ehr_fhir.terminology.code_system import CodeSystem
from ehr_fhir.terminology.library import Library
from ehr_fhir.terminology.value_sets import find_code_system
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.operation_parameters import OperationParameters
from ehr_gateway.operations._terminology import begin_terms
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.terminology.closure_tables import (
    ClosureTable,
    KeptCode,
    add_codes,
    begin_table,
    list_relations,
    read_table,
)

OPERATION = Operation(
    name="closure",
    summary="Keep codes, and tell which of them are above those that are added.",
    levels=("system",),
    standards={"": "http://hl7.org/fhir/OperationDefinition/ConceptMap-closure"},
    returns="ConceptMap",
    affects_state=True,
    callers="a program that may search CodeSystem, ValueSet and ConceptMap",
    parameters=(
        Parameter("name", "string", "The name of the table; alone, it is begun anew", 1),
        Parameter("concept", "Coding", "Codes to add, at most 100 in one call", most="*"),
        Parameter("version", "string", "Or tell again what was added after this version"),
    ),
    required_scope=None,
)  # fmt: skip
# Chosen: all of a table's codes are asked for what is above them when some are added.
_MOST_CODES = 5000
_MOST_SENT = 100
_LONGEST_NAME = 100
_MOST_VERSION_DIGITS = 9
# Of two calls at once one is made again.
_ATTEMPTS = 5


def answer(call: OperationCall) -> Response:
    """Answer with a ConceptMap: of each code those above it."""
    if call.context.access.requester.role != "system":
        raise Forbidden("Closure tables are kept for programs alone.")
    sent = call.parse_body()
    name = sent.text("name")
    if len(name) > _LONGEST_NAME:
        raise Invalid(f"`name` has at most {_LONGEST_NAME} characters.", expression="name")
    if sent.has("version") and sent.has("concept"):
        raise Invalid("Send one of concept and version.", expression="version")
    if sent.has("concept"):
        content = _add(call, sent, name)
    elif sent.has("version"):
        content = _replay(call, sent, name)
    else:
        content = _begin(call, sent, name)
    call.record()
    return fhir_response(serialize(content), pretty=call.preferences.pretty)


def _begin(call: OperationCall, sent: OperationParameters, name: str) -> dict[str, Any]:
    store, owner = call.context.gateway.store, call.context.caller.subject.client
    with store.read_transaction() as connection:
        # Who may not ask for terms keeps none either.
        begin_terms(call, sent, connection)
    with store.write_transaction() as connection:
        begin_table(connection, owner, name, call.context.access.now_ms)
    return _build_map(call, ClosureTable(owner, name, 0, ()), {})


def _add(call: OperationCall, sent: OperationParameters, name: str) -> dict[str, Any]:
    """Add codes; what is above what is worked out before the writer's lock is taken."""
    store, owner = call.context.gateway.store, call.context.caller.subject.client
    for _ in range(_ATTEMPTS):
        with store.read_transaction() as connection:
            library = begin_terms(call, sent, connection).library
            table = _require_table(read_table(connection, owner, name))
            known = {(one.system, one.code) for one in table.codes}
            new = [
                KeptCode(*key, table.version + 1)
                for key in dict.fromkeys(_read_codes(sent, library))
                if key not in known
            ]
            grown = replace(table, version=table.version + 1, codes=(*table.codes, *new))
            if len(grown.codes) > _MOST_CODES:
                raise TooCostly(f"A closure table has at most {_MOST_CODES} codes.")
            relations = _relations(library, grown, table.version) if new else {}
        if not new:
            return _build_map(call, table, {})
        with store.write_transaction() as connection:
            if add_codes(connection, table, new, call.context.access.now_ms):
                return _build_map(call, grown, relations)
    raise Conflict("Others change this closure table at the same time: try again.")


def _replay(call: OperationCall, sent: OperationParameters, name: str) -> dict[str, Any]:
    text, owner = sent.text("version"), call.context.caller.subject.client
    if not text.isascii() or not text.isdecimal() or len(text) > _MOST_VERSION_DIGITS:
        raise Invalid("`version` is one that an answer named.", expression="version")
    with call.context.gateway.store.read_transaction() as connection:
        library = begin_terms(call, sent, connection).library
        table = _require_table(read_table(connection, owner, name))
        if int(text) > table.version:
            raise Unprocessable("The closure table has no such version.", expression="version")
        return _build_map(call, table, _relations(library, table, int(text)))


def _require_table(table: ClosureTable | None) -> ClosureTable:
    if table is None:
        raise NotFound("There is no such closure table: send its name alone.", expression="name")
    return table


def _read_codes(sent: OperationParameters, library: Library) -> Iterable[tuple[str, str]]:
    """Yield system and code of what was sent, as the code systems write them."""
    for index, coding in enumerate(sent.resources("concept", _MOST_SENT)):
        place = f"Parameters.parameter.where(name='concept')[{index}]"
        system, code, version = (coding.get(key) for key in ("system", "code", "version"))
        if not isinstance(system, str) or not isinstance(code, str):
            raise Unprocessable("A concept has a system and a code.", expression=place)
        found = _find_hierarchy(library, system)
        if version not in (None, found.header.version):
            text = "A closure table is of the code system's newest version alone."
            raise Unprocessable(text, expression=place, issue_code="not-supported")
        concept = found.find(code)
        if concept is None:
            text = "The code system has no such code."
            raise Unprocessable(text, expression=place, issue_code="code-invalid")
        yield found.header.url, concept.code


def _find_hierarchy(library: Library, url: str) -> CodeSystem:
    system = find_code_system(library, url)
    if not system.header.is_hierarchy:
        raise Unprocessable(
            "The levels of the code system do not mean that one code is another.",
            issue_code="not-supported",
        )
    return system


def _relations(
    library: Library, table: ClosureTable, since: int
) -> dict[str, dict[str, list[str]]]:
    """Return by code system, by code those above it."""
    systems = sorted({one.system for one in table.codes if one.added > since})
    found = {
        url: list_relations(_find_hierarchy(library, url), table.codes, since) for url in systems
    }
    return {url: above for url, above in found.items() if above}


def _build_map(
    call: OperationCall, table: ClosureTable, relations: dict[str, dict[str, list[str]]]
) -> dict[str, Any]:
    content: dict[str, Any] = {
        "resourceType": "ConceptMap",
        "version": str(table.version),
        "title": table.name,
        "status": "active",
        "date": format_instant(call.context.access.now_ms),
    }
    if relations:
        content["group"] = [
            {
                "source": url,
                "target": url,
                # R4 concept-map-equivalence: the target subsumes the source.
                "element": [
                    {
                        "code": code,
                        "target": [{"code": one, "equivalence": "subsumes"} for one in above],
                    }
                    for code, above in elements.items()
                ],
            }
            for url, elements in relations.items()
        ]
    return content
