"""`$apps`: the apps that the portal offers to the caller; to a steward, all of them."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_gateway.html.pages import choose_language
from ehr_gateway.oauth import clients
from ehr_gateway.operations._apps import ROLES_DECIDING, build_app_parts, build_decision_parts
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="apps",
    summary="List the apps that are offered to the caller, with what each asks for in words.",
    levels=("system",),
    affects_state=False,
    callers="anybody; a steward is told of all apps of people, with who decided about each",
    parameters=(Parameter("language", "code", "The language of the words"),),
)


def answer(call: OperationCall) -> Response:
    """List them, with who decided for those who decide."""
    context = call.context
    role, settings = context.access.requester.role, context.gateway.settings
    sent = call.parse_input()
    language = choose_language(
        sent.optional_text("language") or "", context.request.headers.get("accept-language", "")
    )
    decides = role in ROLES_DECIDING
    parts = []
    with context.gateway.store.read_transaction() as connection:
        for client in clients.list_clients_on(connection):
            is_of_people = not client.trusted and any(client.redirect_uris)
            if not (is_of_people if decides else client.is_offered_to(role)):
                continue
            part = list(build_app_parts(client, settings.base_url, language))
            if decides:
                part += build_decision_parts(connection, client.id)
            parts.append({"name": "app", "part": part})
    call.record()
    return call.respond(*parts)
