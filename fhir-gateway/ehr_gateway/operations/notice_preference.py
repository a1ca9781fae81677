"""`$notice-preference`: how a patient or carer wants their notices."""

from __future__ import annotations

import re

from fastapi.responses import Response

from ehr_fhir.errors import Unprocessable
from ehr_gateway.audit_log import recorder
from ehr_gateway.http.parameters import parameter
from ehr_gateway.notices.messages import LANGUAGES
from ehr_gateway.operations._notice_reader import notice_reader
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter

OPERATION = Operation(
    name="notice-preference",
    summary="Say how one wants notices: the language, the address, of each access or the first.",
    levels=("system",),
    affects_state=True,
    callers="a patient, a carer",
    parameters=(
        Parameter("language", "code", "A language of ours"),
        Parameter("email", "string", "Where notices are sent; nowhere without one"),
        Parameter("each-access", "code", "`yes`: of each access; `no`: of each first one", 1),
    ),
)
# One address and no header of a message: no line breaks, commas or angle brackets.
_EMAIL = re.compile(r"[^@\s<>\",;]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,24}")


def answer(call: OperationCall) -> Response:
    """Store the preferences in the place of earlier ones."""
    context, reader, sent = call.context, notice_reader(call.context), call.parse_body()
    language, email = sent.optional_text("language"), sent.optional_text("email")
    if language is not None and language not in LANGUAGES:
        raise Unprocessable(
            f"The language is one of {', '.join(LANGUAGES)}.", expression="Parameters.parameter"
        )
    if email is not None and not _EMAIL.fullmatch(email):
        raise Unprocessable("This is no e-mail address.", expression="Parameters.parameter")
    each_access = sent.code("each-access", ("yes", "no")) == "yes"
    with context.gateway.store.write_transaction() as connection:
        connection.execute(
            "INSERT INTO notice_preference (reader, language, email, each_access)"
            " VALUES (?, ?, ?, ?) ON CONFLICT (reader) DO UPDATE SET"
            " language = excluded.language, email = excluded.email,"
            " each_access = excluded.each_access",
            (reader, language, email, int(each_access)),
        )
        patient = context.access.requester.patient
        recorder.record_rows(connection, recorder.build_event_rows(call.audit_context, patient))
    return call.respond(parameter("each-access", each_access))
