"""The registry of operations: one file each, whole declarations, none knows another."""

from __future__ import annotations

import ast
import json
from itertools import product
from pathlib import Path

import pytest

import ehr_gateway.operations
from ehr_gateway.operations.declaration import Operation
from ehr_gateway.operations.registry import OPERATIONS, system_capabilities, type_capabilities
from tests.conftest import ROOT
from tests.lib.gateway import House

ROOM = Path(ehr_gateway.operations.__path__[0])
DECLARED = [registered.declaration for registered in OPERATIONS]
FILES = {operation.name: ROOM / f"{operation.name.replace('-', '_')}.py" for operation in DECLARED}
each_operation = pytest.mark.parametrize("operation", DECLARED, ids=lambda one: str(one.name))
# FHIR's types of what is sent (R4 §2.24) that operations here take.
TYPES = {"BackboneElement", "Consent", "Library", "Meta", "Parameters", "Patient"} | {
    "boolean", "canonical", "code", "CodeableConcept", "CodeSystem", "Coding", "ConceptMap",
    "date", "dateTime", "decimal", "id", "Identifier", "instant", "integer", "Period",
    "positiveInt", "Reference", "Resource", "string", "uri", "ValueSet", "ViewDefinition",
}  # fmt: skip


@each_operation
def test_an_operation_lies_in_the_file_of_its_name(operation: Operation) -> None:
    assert FILES[operation.name].is_file()


@each_operation
def test_a_declaration_is_whole(operation: Operation) -> None:
    assert operation.summary.endswith(".")
    assert operation.levels
    assert bool(operation.resource_types) == (operation.levels != ("system",))
    for parameter in operation.parameters:
        assert parameter.type in TYPES
        assert parameter.most in ("1", "*")
        assert parameter.documentation


@each_operation
def test_no_operation_imports_another(operation: Operation) -> None:
    tree = ast.parse(FILES[operation.name].read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {
        f"ehr_gateway.operations.{path.stem}"
        for name, path in FILES.items()
        if name != operation.name
    }

    assert imported & others == set()


@each_operation
def test_some_test_calls_it(operation: Operation) -> None:
    tests = (path.read_text("utf-8") for path in (ROOT / "tests/spec").rglob("test_*.py"))

    assert any(f"${operation.name}" in text for text in tests)


def test_each_is_in_the_capability_statement() -> None:
    types = {name for operation in DECLARED for name in operation.resource_types} - {"*"}
    listed = [
        *system_capabilities("https://e/fhir"),
        *type_capabilities("Basic", "https://e/fhir"),
        *(one for name in types for one in type_capabilities(name, "https://e/fhir")),
    ]

    assert {one["name"] for one in listed} == {operation.name for operation in DECLARED}


def test_a_parameter_that_is_not_declared_is_refused_unless_handling_is_lenient(
    furnished: House,
) -> None:
    patient = furnished.login("p.pat-1")
    address = "Patient/pat-1/$carers?colour=red"

    assert patient.get(address).status_code == 400
    lenient = patient.get(address, headers={"Prefer": "handling=lenient"})
    assert lenient.status_code == 200


def test_what_cannot_be_answered_is_refused_before_anything_is_done(furnished: House) -> None:
    body = {"resourceType": "Parameters", "parameter": [{"name": "power", "valueCode": "view"}]}
    patient = furnished.login("p.pat-1")

    refused = patient.post(
        "Patient/pat-1/$invite-carer", body, headers={"Accept": "application/fhir+xml"}
    )

    assert refused.status_code == 406
    assert "parameter" not in patient.get("Patient/pat-1/$carers").json()


def test_a_refused_call_is_on_record_under_its_name(furnished: House) -> None:
    records_only = furnished.login("p.pat-1", "patient/*.rs")

    assert records_only.get("Patient/pat-1/$carers").status_code == 403
    furnished.gateway.audit_batcher.flush()
    with furnished.gateway.store.read_transaction() as connection:
        row = connection.execute(
            "SELECT interaction, query FROM audit ORDER BY seq DESC LIMIT 1"
        ).fetchone()
    assert tuple(row) == ("operation", "$carers")


def test_half_of_a_surrogate_pair_in_any_parameter_is_no_fault_of_the_server(
    furnished: House,
) -> None:
    sessions = [furnished.login(login) for login in ("p.pat-1", "steward", "doctor.a")]
    texts = ("string", "code", "id", "uri", "canonical", "date", "dateTime", "instant")
    faults = []
    for operation in DECLARED:
        about = "Patient" if "*" in operation.resource_types else operation.resource_types[:1]
        path = {"system": "", "type": f"{''.join(about)}/", "instance": f"{''.join(about)}/pat-1/"}
        parameters = [
            {"name": one.name, f"value{one.type[0].upper()}{one.type[1:]}": "\ud800"}
            for one in operation.parameters
            if one.type in texts
        ]
        body = json.dumps({"resourceType": "Parameters", "parameter": parameters})
        for level, session in product(operation.levels if parameters else (), sessions):
            answer = session.request(
                "POST",
                f"{path[level]}${operation.name}",
                content=body,
                headers={"Content-Type": "application/fhir+json"},
            )
            if answer.status_code == 500:
                faults.append((operation.name, level, answer.status_code))

    assert faults == []
