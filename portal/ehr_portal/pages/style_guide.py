"""The style guide for developers: every component of the design in its states.

It holds no data, so it is there for everybody who knows the address, in the theme, text size and
language that they chose; no page links to it. It says what it says in English.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from ehr_design.static_files import icon_names, token_names
from ehr_portal.i18n import N_
from ehr_portal.record.results import build_result
from ehr_portal.web.forms import FieldError
from ehr_portal.web.roles import AnyRequest

router = APIRouter()
_RANGE = [{"low": {"value": 3.5, "unit": "mmol/L"}, "high": {"value": 5.1, "unit": "mmol/L"}}]
_INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
# What is shown -> value and flag of a made-up potassium.
_RESULTS = {
    "critical": (7.2, "HH"),
    "high": (5.6, "H"),
    "normal": (4.4, "N"),
    "low": (3.2, "L"),
    "no flag, no range": (4.4, ""),
}


@router.get("/style")
def show_style_guide(request: AnyRequest) -> Response:
    """Show the style guide."""
    return request.render(
        "style_guide.html",
        # Its error is a specimen.
        status=200,
        tokens=token_names(),
        icons=icon_names(),
        meanings=("critical", "abnormal", "normal", "withheld", "info"),
        results={
            name: build_result(_observation(value, flag), request.language)
            for name, (value, flag) in _RESULTS.items()
        },
        errors=[FieldError("reason", N_("Choose what to close, or to whom."))],
    )


def _observation(value: float, flag: str) -> dict[str, Any]:
    observation: dict[str, Any] = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2823-3"}]},
        "valueQuantity": {"value": value, "unit": "mmol/L"},
    }
    if flag:
        coding = {"system": _INTERPRETATION, "code": flag}
        observation |= {"interpretation": [{"coding": [coding]}], "referenceRange": _RANGE}
    return observation
