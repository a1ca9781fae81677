"""`$research-catalogue`: which tables and columns a research project may ask for."""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response

from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations._research_projects import (
    APPLICANT_ROLES,
    APPROVER_ROLES,
    require_projects,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation
from ehr_gateway.research_projects import CatalogueTable

OPERATION = Operation(
    name="research-catalogue",
    summary="List the views of de-identified data with their columns, units and meanings.",
    levels=("system",),
    affects_state=False,
    callers="a researcher, a clinician, a steward, an auditor",
    required_scope=None,
)


def answer(call: OperationCall) -> Response:
    """Answer with a `table` for each view, by name."""
    projects = require_projects(call.context, APPLICANT_ROLES | APPROVER_ROLES)
    call.record()
    return call.respond(*map(_build_table_parameter, projects.list_tables()))


def _build_table_parameter(table: CatalogueTable) -> dict[str, Any]:
    columns = [
        {
            "name": "column",
            "part": [
                parameter("name", column.name),
                parameter("type", column.type),
                *([parameter("unit", column.unit)] if column.unit else []),
                *([parameter("meaning", column.meaning)] if column.meaning else []),
                *(
                    _build_designation(language, text)
                    for language, text in column.translations.items()
                    if text
                ),
            ],
        }
        for column in table.columns
    ]
    return {
        "name": "table",
        "part": [
            parameter("view", table.view),
            parameter("resource", table.resource),
            *([] if table.rows is None else [parameter("rows", table.rows)]),
            *columns,
        ],
    }


def _build_designation(language: str, text: str) -> dict[str, Any]:
    """Return a meaning in another language, in parts named as a concept's designation is."""
    return {
        "name": "designation",
        "part": [{"name": "language", "valueCode": language}, parameter("value", text)],
    }
