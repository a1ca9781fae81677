"""What the operations on tables of the lake share: who asks, in which format, how many rows."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.errors import Forbidden, Unavailable
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.operation_parameters import OperationParameters
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Parameter
from ehr_gateway.research_queries import ResearchQueries, TableContent

__all__ = [
    "COMMON_PARAMETERS",
    "FORMAT",
    "FORMATS",
    "PROJECT",
    "read_format",
    "read_limit",
    "read_view_name",
    "require_research",
    "table_response",
]

FORMATS = frozenset({"csv", "json", "ndjson", "parquet"})
# Chosen: as many rows as the platform gives at most, see `ehr_analytics.row_queries`.
_MOST_ROWS = 100_000
PROJECT = Parameter("project", "id", "The research project under which it is asked", 1)
FORMAT = Parameter("_format", "code", "csv, json, ndjson or parquet; ndjson when nothing is said")
COMMON_PARAMETERS = (PROJECT, FORMAT, Parameter("_limit", "integer", "The most rows to answer"))


def require_research(context: RequestContext) -> tuple[ResearchQueries, str]:
    """Return the queries and the log-in of the person who asks; programs have no projects."""
    research = context.gateway.research
    if research is None:
        raise Unavailable("This gateway is served without the lake.")
    requester = context.access.requester
    if requester.role == "system" or not requester.person:
        raise Forbidden("Rows are for the people of a project, not for programs.")
    return research, requester.person


def read_format(sent: OperationParameters) -> str:
    """Return the format asked for."""
    return sent.code("_format", FORMATS) if sent.optional_text("_format") else "ndjson"


def read_limit(sent: OperationParameters) -> int | None:
    """Return the most rows asked for."""
    return sent.optional_integer("_limit", 1, _MOST_ROWS)


def read_view_name(sent: OperationParameters) -> str:
    """Return the name of the view that is referred to."""
    return sent.reference("viewReference").removeprefix("ViewDefinition/")


def table_response(call: OperationCall, table: TableContent) -> Response:
    """Answer with a table, and put on record that one was given out."""
    call.record()
    return Response(table.content, media_type=table.media_type)
