"""The body of a CDS Hooks request (CDS Hooks 2.0, "Calling a CDS Service")."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ehr_fhir.errors import Invalid
from ehr_fhir.json_text import parse
from ehr_fhir.validation.validate import validate

__all__ = ["HookRequest", "Outcome", "parse_feedback", "parse_hook_request"]

_ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")
_PATIENT = re.compile(r"(?:^|/)Patient/([A-Za-z0-9.\-]{1,64})(?:/_history/[^/]*)?$")
# What the standard asks of a hook's context: without it a service would be silent, as if all were
# well.
_REQUIRED_CONTEXT = {"encounter-discharge": "encounterId", "order-select": "draftOrders"}
# Chosen: an order set has tens of drafts.
_MOST_DRAFTS = 200
_MOST_FEEDBACK = 100
_COMMENT_LENGTH = 1000
_CODE_LENGTH = 200
_OUTCOMES = ("accepted", "overridden")


@dataclass(frozen=True)
class HookRequest:
    """Which hook, about whom; `token` is that of `fhirAuthorization`, empty without it."""

    hook: str
    patient: str
    encounter: str
    drafts: tuple[Mapping[str, Any], ...]
    token: str


@dataclass(frozen=True)
class Outcome:
    """What became of a card: accepted or overridden, and the reason's code and comment."""

    card: str
    outcome: str
    reason: str
    comment: str
    at: str


def parse_hook_request(body: bytes) -> HookRequest:
    """Return the request; Invalid, or Unprocessable of a draft, names the element at fault.

    Prefetched records are not read: what the clinician may see is read here.
    """
    sent = _object(parse(body), "")
    hook = _text(sent, "hook")
    _uuid(sent, "hookInstance")
    context = _object(sent.get("context"), "context")
    required = _REQUIRED_CONTEXT.get(hook)
    if required is not None and context.get(required) is None:
        raise Invalid(f"{hook} needs `{required}`.", expression=f"context.{required}")
    patient = _id(_text(context, "patientId", "context."), "Patient", "context.patientId")
    encounter = context.get("encounterId")
    if encounter is not None:
        encounter = _id(
            _text(context, "encounterId", "context."), "Encounter", "context.encounterId"
        )
    token = ""
    if (authorization := sent.get("fhirAuthorization")) is not None:
        token = _text(
            _object(authorization, "fhirAuthorization"), "access_token", "fhirAuthorization."
        )
    return HookRequest(hook, patient, encounter or "", _parse_drafts(context, patient), token)


def parse_feedback(body: bytes) -> list[Outcome]:
    """Return the outcomes of a feedback request."""
    feedback = _object(parse(body), "").get("feedback")
    if not isinstance(feedback, list) or not 0 < len(feedback) <= _MOST_FEEDBACK:
        raise Invalid(f"`feedback` is a list of 1 to {_MOST_FEEDBACK}.", expression="feedback")
    return [_parse_outcome(one, f"feedback[{number}]") for number, one in enumerate(feedback)]


def _parse_outcome(sent: object, path: str) -> Outcome:
    read = _object(sent, path)
    card, outcome = _uuid(read, "card", f"{path}."), _text(read, "outcome", f"{path}.")
    if outcome not in _OUTCOMES:
        raise Invalid(f"`outcome` is {' or '.join(_OUTCOMES)}.", expression=f"{path}.outcome")
    at = _text(read, "outcomeTimestamp", f"{path}.", 40)
    reason = comment = ""
    if outcome == "overridden" and (told := read.get("overrideReason")) is not None:
        told = _object(told, f"{path}.overrideReason")
        coding = _object(told.get("reason") or {}, f"{path}.overrideReason.reason")
        if "code" in coding:
            reason = _text(coding, "code", f"{path}.overrideReason.reason.", _CODE_LENGTH)
        if told.get("userComment"):
            comment = _text(told, "userComment", f"{path}.overrideReason.", _COMMENT_LENGTH)
    return Outcome(card, outcome, reason, comment, at)


def _parse_drafts(context: Mapping[str, Any], patient: str) -> tuple[Mapping[str, Any], ...]:
    """Return the resources of `draftOrders` that are selected; all where nothing says which.

    Invalid for one about another patient: it would be held against the wrong record.
    """
    if context.get("draftOrders") is None:
        return ()
    bundle = _object(context["draftOrders"], "context.draftOrders")
    entries = bundle.get("entry", [])
    if not isinstance(entries, list) or len(entries) > _MOST_DRAFTS:
        raise Invalid(
            f"A Bundle of at most {_MOST_DRAFTS} entries.", expression="context.draftOrders.entry"
        )
    drafts = []
    for number, entry in enumerate(entries):
        path = f"context.draftOrders.entry[{number}]"
        resource = _object(_object(entry, path).get("resource"), f"{path}.resource")
        validate(resource)
        if any(named != patient for named in _find_patients(resource)):
            raise Invalid("The order is about another patient.", expression=f"{path}.resource")
        drafts.append(resource)
    selections = context.get("selections")
    if selections is None:
        return tuple(drafts)
    if not isinstance(selections, list) or not all(isinstance(one, str) for one in selections):
        raise Invalid("A list of references.", expression="context.selections")
    return tuple(
        draft for draft in drafts if f"{draft['resourceType']}/{draft.get('id')}" in selections
    )


def _find_patients(resource: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ids of the patients that a valid resource is about.

    Some types, such as Account, have a list of subjects.
    """
    about = resource.get("subject") or resource.get("patient") or ()
    for reference in about if isinstance(about, list) else [about]:
        match = _PATIENT.search(reference.get("reference", "")) if reference else None
        if match is not None:
            yield match[1]


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid("An object is needed here.", expression=path or None)
    return value


def _text(read: Mapping[str, Any], name: str, prefix: str = "", most: int = 4096) -> str:
    value = read.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise Invalid(f"`{name}` is a text of at most {most} characters.", expression=prefix + name)
    return value


def _uuid(read: Mapping[str, Any], name: str, prefix: str = "") -> str:
    try:
        return str(uuid.UUID(_text(read, name, prefix)))
    except ValueError as error:
        raise Invalid(f"`{name}` is a UUID.", expression=prefix + name) from error


def _id(text: str, resource_type: str, path: str) -> str:
    """Return a FHIR id that may be sent as a reference."""
    identity = text.removeprefix(f"{resource_type}/")
    if not _ID.fullmatch(identity):
        raise Invalid("A FHIR id is needed here.", expression=path)
    return identity
