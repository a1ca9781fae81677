"""`$preview-access`: what an organisation would see after a choice that is not saved yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi.responses import Response

from ehr_fhir.errors import NotFound, Unprocessable
from ehr_gateway.access import Access
from ehr_gateway.access_requests.access_preview import (
    PREVIEWED_TABLES,
    HypotheticalConsents,
    count_by_domain,
)
from ehr_gateway.access_requests.role_checks import require_decider
from ehr_gateway.database import Connection
from ehr_gateway.http.parameters import parameter
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.store.visible import read_on
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_privacy.consent import PROFESSIONS

OPERATION = Operation(
    name="preview-access",
    summary="Count what an organisation sees of a record now, and after Consents that are sent.",
    levels=("instance",),
    resource_types=("Patient",),
    # It changes nothing. What is asked needs a body, which R4 takes by POST alone.
    affects_state=True,
    callers="the patient, who decides for them",
    parameters=(
        Parameter("organization", "id", "The organisation that would see it", 1),
        Parameter("profession", "code", "Of its person; `doctor` when nothing is said"),
        Parameter(
            "consent", "Consent", "A choice as it would be saved; its id, where it has one", 0, "*"
        ),
    ),
    # A person's token must cover reading Consents, which is checked below.
    required_scope=None,
)
# Chosen: a switch that is turned writes a Consent for each that names the organisation.
_MOST_CONSENTS = 50
_ACCEPTED_TABLES = frozenset({*PREVIEWED_TABLES, "consent_exception"})


def answer(call: OperationCall) -> Response:
    """Answer with a `domain` each: how many records are seen now, after, and are its own."""
    context, patient = call.context, call.logical_id
    access = context.access
    access.require_scope("read", "Consent")
    sent = call.parse_body()
    organization = sent.text("organization")
    profession = sent.optional_text("profession") or "doctor"
    if profession not in PROFESSIONS:
        raise Unprocessable("Not a profession used here.", expression="Parameters.parameter")
    consents = sent.resources("consent", _MOST_CONSENTS)
    with context.gateway.store.read_transaction() as connection:
        require_decider(connection, access, patient)
        prepared = list(_prepare_consents(connection, access, patient, consents))
        hypothetical = HypotheticalConsents.from_resources(connection, patient, prepared)
        if any(row.table not in _ACCEPTED_TABLES for row in hypothetical.rows):
            raise Unprocessable("A preview is of sharing, joining and restrictions.")
        counts = count_by_domain(
            connection,
            access,
            patient,
            organization=organization,
            profession=profession,
            consents=hypothetical,
        )
    call.record(patient)
    return call.respond(
        *(
            {
                "name": "domain",
                "part": [
                    {"name": "code", "valueCode": counted.domain},
                    parameter("now", counted.now),
                    parameter("after", counted.after),
                    parameter("own", counted.own),
                ],
            }
            for counted in counts
        )
    )


def _prepare_consents(
    connection: Connection, access: Access, patient: str, consents: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Validate each Consent as a write does; one with an id has to be the patient's own."""
    for number, consent in enumerate(consents):
        reference = consent.get("patient")
        if not isinstance(reference, dict) or reference.get("reference") != f"Patient/{patient}":
            raise Unprocessable("The Consents are of this patient.", expression="Consent.patient")
        identity = consent.get("id")
        if identity is None:
            # No stored id has this form: the server's own are UUIDs, a program's have a dot.
            identity = f"preview-{number}"
        else:
            stored = read_on(connection, access, "Consent", str(identity), with_facts=True)
            if stored.facts is None or stored.facts.record.patients != {patient}:
                raise NotFound("There is no Consent with this id.")
        yield prepare_draft(consent, str(identity), access, "Consent").resource
