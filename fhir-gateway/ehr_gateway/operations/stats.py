"""`$stats`: statistics of a patient's measurements (R4 Observation-stats)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.responses import Response

from ehr_fhir.dates import format_instant
from ehr_fhir.errors import Invalid, TooCostly, Unprocessable
from ehr_fhir.json_text import parse, serialize
from ehr_fhir.observation_statistics import (
    SPELLINGS,
    STATISTICS,
    build_component,
    collect_measurements,
)
from ehr_gateway.http.negotiation import fhir_response
from ehr_gateway.http.operation_parameters import OperationParameters
from ehr_gateway.http.responses import record_disclosure
from ehr_gateway.http.searchset import search_limits
from ehr_gateway.operations.call import OperationCall
from ehr_gateway.operations.declaration import Operation, Parameter
from ehr_gateway.search.page import search_whole
from ehr_gateway.search.stored_library import escape_search_value
from ehr_gateway.store.store import Version

OPERATION = Operation(
    name="stats",
    summary="Work out statistics of a patient's measurements, of each code that is asked for.",
    levels=("type",),
    resource_types=("Observation",),
    standards={"Observation": "http://hl7.org/fhir/OperationDefinition/Observation-stats"},
    affects_state=False,
    input="either",
    callers="whoever may search Observations",
    parameters=(
        Parameter("subject", "uri", "Whose, as `Patient/id`", 1),
        Parameter("code", "string", "A code of measurements, also of components", most="*"),
        Parameter("system", "uri", "The code system of each `code`; any when nothing is said"),
        Parameter("coding", "Coding", "A code with its system (by POST)", most="*"),
        Parameter("duration", "decimal", "So many hours up to now"),
        Parameter("period", "Period", "Or from when to when (by POST)"),
        Parameter("statistic", "code", "What is worked out: "
                  + ", ".join(f"`{name}`" for name in STATISTICS), 1, "*"),
        Parameter("include", "boolean", "Whether the measurements come along, as `source`"),
        Parameter("limit", "positiveInt", "So many of them at most, the newest"),
    ),
    required_scope=None,
)  # fmt: skip
# Chosen: they are read into memory as a whole, and each code is a search.
_MOST_MATCHES = 20_000
_MOST_CODES = 20
_MOST_SOURCES = 1000
_MS_PER_HOUR = 3_600_000
# A century.
_MOST_HOURS = 876_600


@dataclass(frozen=True)
class _Code:
    """A code that is asked for; without a system, in any."""

    code: str
    system: str | None

    def to_search_value(self) -> str:
        """Return it as a token of a search."""
        code = escape_search_value(self.code)
        return code if self.system is None else f"{escape_search_value(self.system)}|{code}"

    def is_in(self, concept: Mapping[str, Any]) -> bool:
        """Say whether a CodeableConcept has it."""
        return any(
            coding.get("code") == self.code and self.system in (None, coding.get("system"))
            for coding in concept.get("coding", ())
        )

    def to_concept(self) -> dict[str, Any]:
        """Return it as a CodeableConcept."""
        system = {} if self.system is None else {"system": self.system}
        return {"coding": [{**system, "code": self.code}]}


def answer(call: OperationCall) -> Response:
    """Answer with an Observation of statistics for each code, then the measurements."""
    sent = call.parse_input()
    subject = sent.text("subject")
    if "/" not in subject:
        raise Invalid("Name the subject by its type and id: Patient/id.", expression="subject")
    names = _parse_statistics(sent)
    codes = _parse_codes(sent)
    period = _parse_period(sent, call.context.access.now_ms)
    limit = sent.optional_integer("limit", 1, _MOST_SOURCES) or _MOST_SOURCES
    statistics: list[dict[str, Any]] = []
    sources: dict[str, Version] = {}
    for code in codes:
        found = _find_measurements(call, subject, code, period)
        sources |= {version.id: version for version in found}
        bodies = [parse(version.body) for version in found]
        measured = collect_measurements([each for body in bodies for each in _values(body, code)])
        statistics.append(
            {
                "resourceType": "Observation",
                "status": "final",
                "code": code.to_concept(),
                "subject": {"reference": subject},
                **({"effectivePeriod": period} if period else {}),
                "component": [build_component(measured, name) for name in names],
            }
        )
    record_disclosure(call.context, call.audit_context, list(sources.values()))
    parameters = [{"name": "statistics", "resource": one} for one in statistics]
    if sent.optional_boolean("include"):
        shown = list(sources.values())[:limit]
        parameters += [{"name": "source", "resource": parse(one.body)} for one in shown]
    body = serialize({"resourceType": "Parameters", "parameter": parameters})
    return fhir_response(body, pretty=call.preferences.pretty)


def _parse_statistics(sent: OperationParameters) -> list[str]:
    texts = sent.texts("statistic", len(STATISTICS))
    names = list(dict.fromkeys(SPELLINGS.get(text, text) for text in texts))
    if not names or not set(names) <= set(STATISTICS):
        raise Unprocessable(
            f"`statistic` is one or more of {', '.join(STATISTICS)}.", expression="statistic"
        )
    return names


def _parse_codes(sent: OperationParameters) -> list[_Code]:
    system = sent.optional_text("system")
    codes = [_Code(text, system) for text in sent.texts("code", _MOST_CODES)]
    for coding in sent.resources("coding", _MOST_CODES):
        code, in_system = coding.get("code"), coding.get("system")
        if not isinstance(code, str) or not isinstance(in_system, str | None) or not code:
            raise Unprocessable("A coding has a code, and a system.", expression="coding")
        codes.append(_Code(code, in_system))
    found = list(dict.fromkeys(codes))
    if not found or len(found) > _MOST_CODES:
        raise Invalid(f"Name 1 to {_MOST_CODES} codes by `code` or `coding`.", expression="code")
    return found


def _parse_period(sent: OperationParameters, now_ms: int) -> dict[str, str]:
    """Return start and end of the time that is asked for, as far as they are said."""
    if not sent.has("period"):
        hours = sent.optional_decimal("duration")
        if hours is None:
            return {}
        if not 0 < hours <= _MOST_HOURS:
            raise Unprocessable("`duration` is a number of hours.", expression="duration")
        start = format_instant(now_ms - int(hours * _MS_PER_HOUR))
        return {"start": start, "end": format_instant(now_ms)}
    if sent.has("duration"):
        raise Invalid("Send one of period and duration.", expression="period")
    period = sent.value("period")
    if (
        not isinstance(period, dict)
        or not period
        or not set(period) <= {"start", "end"}
        or not all(isinstance(text, str) for text in period.values())
    ):
        raise Unprocessable("`period` has a start, an end or both.", expression="period")
    return period


def _find_measurements(
    call: OperationCall, subject: str, code: _Code, period: Mapping[str, str]
) -> Sequence[Version]:
    """Return what a search for the same finds, the newest first."""
    gateway = call.context.gateway
    pairs = [
        ("subject", escape_search_value(subject)),
        ("combo-code", code.to_search_value()),
        ("status:not", "entered-in-error"),
        ("status:not", "cancelled"),
        ("_sort", "-date"),
    ]
    bounds = (("start", "ge"), ("end", "le"))
    pairs += [("date", f"{sign}{period[name]}") for name, sign in bounds if name in period]
    found = search_whole(
        gateway.store,
        call.context.access,
        "Observation",
        pairs,
        limit=_MOST_MATCHES + 1,
        limits=search_limits(gateway.settings),
    )
    if len(found) > _MOST_MATCHES:
        raise TooCostly("There are more measurements than are looked at: name a period.")
    return found


def _values(observation: Mapping[str, Any], code: _Code) -> list[Mapping[str, Any] | None]:
    """Return what was measured of a code: the value, those of components; None for no number."""
    measured = [observation, *observation.get("component", ())]
    return [one.get("valueQuantity") for one in measured if code.is_in(one.get("code", {}))]
