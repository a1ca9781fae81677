"""What `$meta-add` and `$meta-delete` share: reading labels, and answering with one's own."""

from __future__ import annotations

from typing import Any, Literal

from fastapi.responses import Response

from ehr_fhir.errors import Invalid, Unprocessable
from ehr_gateway.access_requests.own_labels import change_own_labels
from ehr_gateway.operations._meta_marks import answer_mark_change
from ehr_gateway.operations.call import OperationCall
from ehr_privacy.consent.labels import ACT_CODE, CONFIDENTIALITY, LABEL_SYSTEMS, LABELS, LEVELS

__all__ = ["answer_label_change"]

_EXPRESSION = "Parameters.parameter.where(name='meta').value.security"


def answer_label_change(call: OperationCall, action: Literal["add", "withdraw"]) -> Response:
    """Change the caller's own labels of a record; answer with those that they have put on it.

    Whoever is no patient changes profiles and tags, and no label.
    """
    meta = call.parse_body().value("meta")
    if call.context.access.requester.role != "patient" and isinstance(meta, dict):
        return answer_mark_change(call, meta, action)
    own = change_own_labels(
        call.context,
        call.audit_context,
        call.resource_type,
        call.logical_id,
        _parse_labels(meta),
        action,
    )
    security = [_build_coding(label) for label in sorted(own)]
    return call.respond({"name": "return", "valueMeta": {"security": security} if own else {}})


def _parse_labels(meta: Any) -> set[str]:
    if not isinstance(meta, dict) or set(meta) != {"security"}:
        raise Invalid("Send a Meta that has `security` alone.", expression=_EXPRESSION)
    security = meta["security"]
    codings = security if isinstance(security, list) else []
    labels = {
        str(coding["code"])
        for coding in codings
        if isinstance(coding, dict)
        and coding.get("system") in LABEL_SYSTEMS
        and coding.get("code") in LABELS
    }
    if not labels or len(labels) != len(codings):
        text = f"The labels of this server are {', '.join(sorted(LABELS))}."
        raise Unprocessable(text, expression=_EXPRESSION)
    return labels


def _build_coding(label: str) -> dict[str, str]:
    return {"system": CONFIDENTIALITY if label in LEVELS else ACT_CODE, "code": label}
