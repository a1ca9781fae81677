"""Every operation has its page, whose tables are what it declares and whose example is a call."""

from __future__ import annotations

import json
import re

import pytest

from ehr_gateway.operations.declaration import Operation
from ehr_gateway.operations.registry import OPERATIONS
from tests.docs import operation_pages

DECLARED = [registered.declaration for registered in OPERATIONS]
each_operation = pytest.mark.parametrize("operation", DECLARED, ids=lambda one: str(one.name))


def test_there_is_a_page_for_each_operation_and_for_nothing_else() -> None:
    pages = {path.stem for path in operation_pages.PAGES.glob("*.md")}

    assert pages == {operation.name for operation in DECLARED}, "run `make operation-pages`"


@each_operation
def test_the_tables_of_a_page_are_what_the_operation_declares(operation: Operation) -> None:
    page = operation_pages.page_of(operation).read_text("utf-8")

    assert operation_pages.table(operation) in page, "run `make operation-pages`"
    assert operation_pages.TO_DO not in page


@each_operation
def test_the_example_of_a_page_is_a_call_of_the_operation(operation: Operation) -> None:
    page = operation_pages.page_of(operation).read_text("utf-8")

    (asked,) = re.findall(r"^```http\n(.*?)^```", page, re.M | re.S)
    answers = re.findall(r"^```json\n(.*?)^```", page, re.M | re.S)
    # A file is answered as it is: its page shows the headers.
    files = re.findall(r"^```text\n(.*?)^```", page, re.M | re.S)
    assert len(answers) + len(files) == 1
    request, _, body = asked.strip().partition("\n")
    method, address = request.split(" ", 1)
    path, _, query = address.partition("?")
    assert method in operation.methods
    patterns = [re.sub(r"{\w+}", "[^/]+", one).replace("$", r"\$")
                for one in operation_pages.addresses(operation)]  # fmt: skip
    assert any(re.fullmatch(pattern, path) for pattern in patterns), path
    sent = [pair.partition("=")[0] for pair in query.split("&") if pair]
    if body.strip():
        sent += [one["name"] for one in json.loads(body)["parameter"]]
    assert set(sent) <= {parameter.name for parameter in operation.parameters}
    if files:
        assert "Content-Disposition: attachment" in files[0]
        return
    answer = json.loads(answers[0])
    if isinstance(answer, list):
        # Tables are answered as they are, not as a resource (SQL on FHIR v2).
        assert "_format" in {parameter.name for parameter in operation.parameters}
        assert all(isinstance(row, dict) for row in answer)
    elif "transactionTime" in answer:
        # The manifest of an export or import, which is no resource either (Bulk Data Access).
        assert operation.name in ("export", "import")
    else:
        assert answer["resourceType"] in (
            "Parameters",
            "Bundle",
            "ConceptMap",
            "OperationOutcome",
            "Task",
            "ValueSet",
        )
