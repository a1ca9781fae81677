"""What the operations on models share: who may call, and a model as parameters."""

from __future__ import annotations

from typing import Any

from ehr_fhir.errors import Forbidden, Unavailable
from ehr_gateway.http.authentication import RequestContext
from ehr_gateway.http.parameters import parameter
from ehr_gateway.model_register import Model, ModelRegister, ModelVersion

__all__ = ["DECIDERS", "READERS", "build_model_parameter", "require_register"]

DECIDERS = frozenset({"steward", "auditor"})
READERS = DECIDERS | {"researcher", "clinician"}


def require_register(context: RequestContext, roles: frozenset[str]) -> ModelRegister:
    """Return the models; Forbidden for other roles, Unavailable where there are none."""
    requester = context.access.requester
    if requester.role not in roles or not requester.person:
        raise Forbidden(f"This is for {', '.join(sorted(roles))}.")
    register = context.gateway.models
    if register is None:
        raise Unavailable("This gateway is served without models.")
    return register


def build_model_parameter(model: Model) -> dict[str, Any]:
    """Return a model as a multi-part parameter."""
    numbers = {"champion": model.champion, "shadow": model.shadow, "proposal": model.proposal}
    decisions = [
        _part(
            "decision",
            {"name": "at", "valueInstant": decision.at},
            {"name": "action", "valueCode": decision.action},
            parameter("who", decision.who),
            parameter("reason", decision.reason),
            *([] if decision.number is None else [parameter("version", decision.number)]),
        )
        for decision in model.decisions
    ]
    alarms = [
        _part(
            "alarm",
            {"name": "week", "valueDate": alarm.week},
            {"name": "kind", "valueCode": alarm.kind},
            parameter("about", alarm.about),
            {"name": "value", "valueDecimal": round(alarm.value, 3)},
            *([parameter("title", alarm.title)] if alarm.title else []),
        )
        for alarm in model.alarms
    ]
    weeks = [
        _part(
            "week",
            {"name": "monday", "valueDate": week.monday},
            *_build_decimals(psi=week.psi, expected=week.expected, observed=week.observed),
        )
        for week in model.weeks
    ]
    return _part(
        "model",
        parameter("task", model.task),
        parameter("title", model.title),
        parameter("forecast", model.is_forecast),
        parameter("logged", model.is_as_logged),
        *(parameter(name, number) for name, number in numbers.items() if number is not None),
        *([{"name": "watched", "valueDate": model.watched}] if model.watched else []),
        *map(_build_version, model.versions),
        *decisions,
        *alarms,
        *weeks,
    )


def _build_version(version: ModelVersion) -> dict[str, Any]:
    gates = [
        _part(
            "gate",
            parameter("name", gate.name),
            parameter("met", gate.is_met),
            parameter("text", gate.text),
            *([{"name": "message", "valueCode": gate.message}] if gate.message else []),
            *(
                _part("value", parameter("name", name), parameter("text", value))
                for name, value in gate.values.items()
                if value
            ),
        )
        for gate in version.gates
    ]
    results = [
        _part(
            "result",
            parameter("predictor", result.predictor),
            {"name": "metric", "valueCode": result.metric},
            *_build_decimals(value=result.value, low=result.low, high=result.high),
        )
        for result in version.results
    ]
    return _part(
        "version",
        parameter("number", version.number),
        *([{"name": "created", "valueInstant": version.created}] if version.created else []),
        {"name": "grade", "valueCode": version.grade},
        *([parameter("verdict", version.verdict)] if version.verdict else []),
        *gates,
        *results,
        *(parameter("file", name) for name in version.files),
    )


def _build_decimals(**values: float | None) -> list[dict[str, Any]]:
    """Return a parameter for each value that is known."""
    return [
        {"name": name, "valueDecimal": round(value, 4)}
        for name, value in values.items()
        if value is not None
    ]


def _part(name: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "part": list(parts)}
