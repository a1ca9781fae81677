"""One call of an operation: who calls, what it is about, what was sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.responses import Response

from ehr_gateway.audit_log import recorder
from ehr_gateway.bulk_data.imports import BulkImport
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.negotiation import Preferences
from ehr_gateway.http.operation_parameters import (
    OperationParameters,
    parse_parameters,
    parse_query,
)
from ehr_gateway.http.parameters import parameters_response

__all__ = ["OperationCall"]


@dataclass(frozen=True)
class OperationCall:
    """A verified call; the scope that the operation requires is there."""

    context: RequestContext
    # The entry that this call will leave; what is refused from here on is logged as it.
    audit_context: recorder.AuditContext
    preferences: Preferences
    # The parameters that are taken at this level: name -> FHIR type.
    parameter_types: Mapping[str, str]
    # Empty at the system level; the id is empty at the type level, too.
    resource_type: str
    logical_id: str
    # The declared parameters in their order; others were refused. Of one that changes something
    # they are in the body alone.
    query: list[tuple[str, str]]
    # Of a POST; empty for a GET.
    body: bytes
    # An import whose files were received with the request.
    received: BulkImport | None = None

    def parse_input(self, *, with_parts: Collection[str] = ()) -> OperationParameters:
        """Read what was sent, by the query or by the body."""
        if self.context.request.method == "POST":
            return self.parse_body(with_parts=with_parts)
        return parse_query(self.query, self.parameter_types)

    def parse_body(self, *, with_parts: Collection[str] = ()) -> OperationParameters:
        """Read the Parameters resource; refuse parameters that the operation does not declare."""
        return parse_parameters(self.body, *self.parameter_types, with_parts=with_parts)

    def plain_pairs(self) -> list[tuple[str, str]]:
        """Return the parameters of primitive types, by the query or by the body, as text."""
        return self.query if not self.body else self.parse_body().plain_pairs()

    def parse_reason(self, sent: OperationParameters, name: str = "reason") -> str:
        """Return a reason or other text in words, of the length that the settings allow."""
        return sent.plain_text(name, self.context.gateway.settings.limits.reason_length)

    def record(self, patient: str | None = None, *, entities: Iterable[str] = ()) -> None:
        """Put on record that this was answered, about a patient or about nobody."""
        entry = recorder.build_event_rows(
            audit_context=self.audit_context, patient=patient, entities=entities
        )
        self.context.add_audit_entry(entry)

    def respond(self, *parameters: dict[str, Any]) -> Response:
        """Answer with a Parameters resource."""
        return parameters_response(self.context, *parameters)
