"""`$connected-apps`: which apps the caller allowed what, and until when."""

from __future__ import annotations

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_gateway.html.pages import choose_language
from ehr_gateway.http.parameters import parameter
from ehr_gateway.oauth.approval_page import describe_scopes
from ehr_gateway.oauth.refresh_tokens import list_families
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="connected-apps",
    summary="List the apps that hold the caller's permission now, with what each may do in words.",
    levels=("system",),
    affects_state=False,
    callers="a person, about their own permissions",
    parameters=(Parameter("language", "code", "The language of the words"),),
)


def answer(call: OperationCall) -> Response:
    """List them, the newest first."""
    context = call.context
    gateway, login = context.gateway, context.caller.subject.login
    sent = call.parse_input()
    language = choose_language(
        sent.optional_text("language") or "", context.request.headers.get("accept-language", "")
    )
    with gateway.store.read_transaction() as connection:
        families = list_families(connection, gateway.settings, login, context.access.now_ms)
    call.record()
    return call.respond(
        *(
            {
                "name": "app",
                "part": [
                    parameter("id", family.id),
                    # The column holds the name that people were told.
                    parameter("name", family.client),
                    {"name": "since", "valueInstant": format_instant(family.since_ms)},
                    {"name": "until", "valueInstant": format_instant(family.until_ms)},
                    *(parameter("may", text) for text in describe_scopes(family.scope, language)),
                ],
            }
            for family in families
        )
    )
