"""`$sqlquery-run` of SQL on FHIR v2: one SELECT over the views of a project."""

from __future__ import annotations

import base64
import binascii
from decimal import Decimal
from typing import Any

from fastapi.responses import Response

from ehr_fhir.errors import Invalid, Unprocessable
from ehr_gateway.operations._table_answers import (
    COMMON_PARAMETERS,
    read_format,
    read_limit,
    require_research,
    table_response,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="sqlquery-run",
    summary="Answer the rows of an SQL query over the approved columns of a project's views.",
    levels=("system",),
    # It writes the project's log, and a body keeps what is asked out of addresses.
    standards={"": "http://sql-on-fhir.org/OperationDefinition/$sqlquery-run"},
    returns="Binary",
    affects_state=True,
    callers="people of an open research project that may read rows",
    parameters=(
        Parameter("queryResource", "Library", "An SQLQuery: its content has the SQL", 1),
        Parameter("parameters", "Parameters", "A value for each `:name` of the SQL"),
        *COMMON_PARAMETERS,
    ),
)
_SQL = "application/sql"
_VALUES = ("valueString", "valueCode", "valueInteger", "valueDecimal", "valueBoolean", "valueDate")


def answer(call: OperationCall) -> Response:
    """Answer with the table in the format asked for."""
    research, login = require_research(call.context)
    sent = call.parse_body()
    table = research.run_sql(
        login,
        sent.text("project"),
        _read_sql(sent.resources("queryResource", 1)),
        _read_values(sent.resources("parameters", 1)),
        media=read_format(sent),
        most=read_limit(sent),
        changed=call.context.gateway.store.list_changed_subjects,
    )
    return table_response(call, table)


def _read_sql(libraries: list[dict[str, Any]]) -> str:
    if not libraries or libraries[0].get("resourceType") != "Library":
        raise Invalid("Send the query as a Library.", expression="Parameters.parameter")
    for content in _objects(libraries[0].get("content")):
        if str(content.get("contentType", "")).split(";")[0] == _SQL:
            try:
                return base64.b64decode(str(content.get("data", "")), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise Invalid("The SQL is not text in base64.", expression="Library") from error
    raise Unprocessable(f"The Library has no content of type {_SQL}.", expression="Library.content")


def _read_values(sent: list[dict[str, Any]]) -> dict[str, str | int | float | bool]:
    values: dict[str, str | int | float | bool] = {}
    for parameter in _objects(sent[0].get("parameter")) if sent else []:
        name, found = parameter.get("name"), [parameter[key] for key in _VALUES if key in parameter]
        simple = len(found) == 1 and isinstance(found[0], str | int | float | Decimal)
        if not simple or not isinstance(name, str):
            raise Unprocessable("A parameter of the query needs a name and one simple value.")
        values[name] = float(found[0]) if isinstance(found[0], Decimal) else found[0]
    return values


def _objects(value: object) -> list[dict[str, Any]]:
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict)]
