"""The operation of the how-to page is served, and its tests hold, as they stand on the page."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ehr_gateway import app
from ehr_gateway.operations.registry import RegisteredOperation, operation_routes
from ehr_gateway.routes.route import Route
from ehr_gateway.routes.table import FHIR_ROUTES
from tests.conftest import ROOT
from tests.lib.gateway import MoveIn

PAGE = ROOT / "docs/how-to/add-an-operation.md"


def test_the_code_of_the_page_works(move_in: MoveIn, monkeypatch: pytest.MonkeyPatch) -> None:
    operation: dict[str, Any] = {}
    tests: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    for code, names in zip(blocks, (operation, tests), strict=True):
        exec(compile(code, str(PAGE), "exec"), names)
    registered = RegisteredOperation(operation["OPERATION"], operation["answer"])
    added = [Route(one.methods, one.path, one.endpoint) for one in operation_routes([registered])]
    monkeypatch.setattr(app, "FHIR_ROUTES", (*added, *FHIR_ROUTES))

    claims = [test for name, test in tests.items() if name.startswith("test_")]
    for claim in claims:
        claim(move_in("furnished", claim.__name__))
    assert len(claims) == 2
