"""`$explain-access`: for a patient, a carer and the steward, which rule decides and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import datetime_interval, format_instant
from ehr_fhir.errors import Forbidden, Invalid, NotFound
from ehr_gateway.audit_log import recorder
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.parameters import parameter
from ehr_gateway.interactions.explain_access import (
    AccessExplanation,
    explain_decision,
    may_explain,
    read_record_facts,
)
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_privacy.consent import (
    DOMAINS,
    PROFESSIONS,
    Record,
    Requester,
    parse_scopes,
)
from ehr_privacy.consent.explain import LANGUAGES, explain
from ehr_privacy.consent.labels import LABELS

OPERATION = Operation(
    name="explain-access",
    summary="Say whether somebody would see a record of the patient, by which rule, and why.",
    levels=("instance",),
    resource_types=("Patient",),
    affects_state=False,
    callers="the patient, a carer with a power, a steward",
    parameters=(
        Parameter("organization", "id", "The organisation that would see it"),
        Parameter("person", "id", "The person who would; of a carer alone it must be there"),
        Parameter("profession", "code", "Of a clinician; `doctor` when nothing is said"),
        Parameter("role", "code", "`clinician` (when nothing is said), `system` or `carer`"),
        Parameter("record", "string", "A record, `Type/id`"),
        Parameter("domain", "code", "Instead of a record: its data domain"),
        Parameter("label", "code", "With `domain`: a sensitivity label of the record", 0, "*"),
        Parameter("at", "dateTime", "The instant; now when nothing is said"),
    ),
    # A person's token must cover reading Consents, which is checked below.
    required_scope=None,
)
_ROLES = ("clinician", "system", "carer")
# Wide enough that consent alone decides: the question is not about a token.
_SCOPES = parse_scopes("user/*.rs")
# Of a record that is asked about by its domain alone: a type that no rule knows by name.
_TYPE_WITHOUT_RULES = "Basic"


@dataclass(frozen=True)
class _Question:
    """Who would see what, at which instant."""

    requester: Requester
    record: tuple[str, str] | None
    domain: str
    labels: frozenset[str]
    at_ms: int

    @property
    def name(self) -> str:
        """Return whom the answer is about, as the question named them."""
        return self.requester.organization or self.requester.person


def answer(call: OperationCall) -> Response:
    """Answer with the decision as the Consents stood at the instant, in each language."""
    context, patient = call.context, call.logical_id
    requester = context.access.requester
    # Whoever was refused learns nothing here, and not whether there is such a patient.
    if requester.role not in ("patient", "carer", "steward"):
        raise Forbidden("Rules are explained to the patient, to carers and to the steward.")
    context.access.require_scope("read", "Consent")
    question = _parse_question(context, call.query)
    with context.gateway.store.read_transaction() as connection:
        if not may_explain(connection, context.access, patient):
            raise NotFound("There is no Patient with this id.")
        record = Record(
            _TYPE_WITHOUT_RULES, "", frozenset({patient}), question.domain, labels=question.labels
        )
        if question.record is not None:
            record = read_record_facts(connection, context.access, *question.record)
        explanation = explain_decision(
            connection, patient, question.requester, record, question.at_ms
        )
    about = ["/".join(question.record)] if question.record else []
    entry = recorder.build_event_rows(
        audit_context=call.audit_context,
        patient=patient,
        entities=about,
        domains=sorted(record.domains),
        consent=explanation.source,
        reason="explained" if explanation.source else None,
    )
    context.add_audit_entry(entry)
    return call.respond(*_build_answer(explanation, question))


def _build_answer(explanation: AccessExplanation, question: _Question) -> list[dict[str, Any]]:
    decision = explanation.decision
    why = explain(decision, question.name)
    parts: list[dict[str, Any]] = [
        {"name": "decision", "valueCode": "permit" if decision.permit else "deny"},
        {"name": "reason", "valueCode": decision.reason},
        {"name": "at", "valueInstant": format_instant(question.at_ms)},
    ]
    if why.line:
        parts.append(parameter("line", why.line))
    for language in LANGUAGES:
        texts = [
            {"name": "language", "valueCode": language},
            {"name": "text", "valueString": why.texts[language]},
        ]
        parts.append({"name": "explanation", "part": texts})
    if explanation.source is not None:
        parts.append({"name": "source", "valueReference": {"reference": explanation.source}})
    parts += [
        {"name": "obligation", "valueCode": obligation} for obligation in decision.obligations
    ]
    if explanation.depends_on_others:
        # Somebody else has a say too; what, is not this patient's to know.
        parts.append(parameter("others", True))
    return parts


def _parse_question(context: RequestContext, pairs: list[tuple[str, str]]) -> _Question:
    sent: dict[str, str] = {}
    labels = frozenset(text for name, text in pairs if name == "label")
    for name, text in pairs:
        if name != "label" and name in sent:
            raise Invalid(f"`{name}` is given once.", expression=name)
        sent[name] = text
    role = _parse_code(sent, "role", _ROLES, "clinician")
    profession = _parse_code(sent, "profession", PROFESSIONS, "doctor")
    if role == "carer" and "person" not in sent:
        raise Invalid("Name the carer.", expression="person")
    if role != "carer" and "organization" not in sent:
        raise Invalid("Name the organisation that would see it.", expression="organization")
    if ("record" in sent) == ("domain" in sent):
        raise Invalid("Name either a record, Type/id, or a domain.", expression="record")
    if labels - LABELS:
        raise Invalid("Not a sensitivity label used here.", expression="label")
    if labels and "record" in sent:
        raise Invalid("The labels of a record are its own.", expression="label")
    resource_type, _, logical_id = sent.get("record", "").partition("/")
    if "record" in sent and (not resource_type or not logical_id or "/" in logical_id):
        raise Invalid("Name one record of this server: Type/id.", expression="record")
    return _Question(
        Requester(
            role=role,
            person=sent.get("person", ""),
            organization=None if role == "carer" else sent["organization"],
            profession=profession if role == "clinician" else None,
            purpose="PATRQT" if role == "carer" else "TREAT",
            scopes=_SCOPES,
            emergency_suspended=context.access.requester.emergency_suspended,
        ),
        (resource_type, logical_id) if logical_id else None,
        _parse_code(sent, "domain", DOMAINS, "other"),
        labels,
        _parse_instant(sent["at"]) if "at" in sent else context.access.now_ms,
    )


def _parse_code(sent: dict[str, str], name: str, known: tuple[str, ...], default: str) -> str:
    code = sent.get(name, default)
    if code not in known:
        raise Invalid(f"`{name}` is one of {', '.join(known)}.", expression=name)
    return code


def _parse_instant(text: str) -> int:
    try:
        return datetime_interval(text)[0]
    except Invalid as error:
        raise Invalid("Not a date, or a time without its zone.", expression="at") from error
