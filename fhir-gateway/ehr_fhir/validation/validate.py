"""Structure and datatypes, checked once, on write.

What is plainly sound passes at once (`fast.py`). The rest is checked in full (`strict.py`), which
says what is wrong and where. Both go by R4's own definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid, Unprocessable
from ehr_fhir.validation.fast import is_valid_fast
from ehr_fhir.validation.strict import find_issues
from ehr_fhir.validation.targets import NamedTypes

__all__ = ["validate"]

# Chosen: an answer that a person reads; the first faults often cause the later ones.
_MAX_ISSUES = 20


def validate(
    resource: Mapping[str, Any],
    expected_type: str | None = None,
    entry_types: NamedTypes = MappingProxyType({}),
) -> None:
    """Raise when a resource is not valid R4; the issues name elements and never their values.

    `entry_types` are the resource types of entries that references name by their fullUrl.
    """
    kind = resource.get("resourceType")
    if not isinstance(kind, str) or kind not in definitions.resource_types():
        text = "`resourceType` must name a resource type of FHIR R4."
        raise Invalid(text, expression="resourceType", issue_code="structure")
    if expected_type is not None and kind != expected_type:
        raise Invalid(
            f"The content is a {kind}, but the address asks for a {expected_type}.",
            expression="resourceType",
        )
    if is_valid_fast(kind, resource, entry_types):
        return
    if issues := find_issues(kind, resource, entry_types):
        raise Unprocessable(issues[0].diagnostics, issues=issues[:_MAX_ISSUES])
