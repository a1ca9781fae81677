"""`htmlChecks`: the narrative rules of FHIR (R4 invariants txt-1 and txt-2)."""

from __future__ import annotations

from typing import Any

from ehr_fhir.fhirpath.registry import register_function
from ehr_fhir.fhirpath.scope import Scope
from ehr_fhir.fhirpath.system_values import to_string
from ehr_fhir.narrative import find_narrative_fault

__all__: list[str] = []


@register_function("htmlChecks")
def _html_checks(scope: Scope, items: list[Any]) -> list[Any]:
    text = to_string(items, "`htmlChecks()`")
    return [] if text is None else [find_narrative_fault(text, needs_namespace=False) is None]
