"""Structure and datatypes, checked once, on write.

What is plainly sound by R4's definitions passes at once (`fast.py`); the rest is for the
models of fhir.resources to judge. They are R4B's. Where R4B dropped or changed a resource type,
R4's own definitions decide (`strict.py`); docs/spec-clarifications.md lists them. Of bindings
the required ones of codes are checked; profiles are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import BaseModel, ValidationError

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid, Issue, Unprocessable
from ehr_fhir.validation import strict
from ehr_fhir.validation.fast import is_valid_fast

__all__ = ["checked_by_r4", "validate"]

_ID = re.compile(r"^[A-Za-z0-9\-.]{1,64}$")
# Chosen: an answer that a person reads; the first faults often cause the later ones.
_MAX_ISSUES = 20
# R4B keeps these names for resources of another shape.
_CHANGED_IN_R4B = frozenset({"Evidence", "EvidenceVariable"})
_TEXTS = {
    "extra_forbidden": ("is not an element of this type", "structure"),
    "missing": ("is required", "required"),
    "list_type": ("must be an array", "structure"),
    "string_type": ("must be a string", "structure"),
    "dict_type": ("must be an object", "structure"),
    "model_type": ("must be an object", "structure"),
    "bool_type": ("must be true or false", "structure"),
    "bool_parsing": ("must be true or false", "structure"),
    "int_type": ("must be an integer", "structure"),
    "int_parsing": ("must be an integer", "structure"),
}
_OTHERWISE = ("does not have the form of its datatype or breaks one of its rules", "value")


def validate(resource: Mapping[str, Any], expected_type: str | None = None) -> None:
    """Raise when a resource is not valid R4; the issues name elements and never their values."""
    kind = resource.get("resourceType")
    if not isinstance(kind, str) or kind not in definitions.resource_types():
        text = "`resourceType` must name a resource type of FHIR R4."
        raise Invalid(text, expression="resourceType", issue_code="structure")
    if expected_type is not None and kind != expected_type:
        raise Invalid(
            f"The content is a {kind}, but the address asks for a {expected_type}.",
            expression="resourceType",
        )
    identity = resource.get("id")
    if identity is not None and not (isinstance(identity, str) and _ID.match(identity)):
        text = "An id is 1 to 64 letters, digits, `-` and `.`."
        raise Unprocessable(text, expression=f"{kind}.id", issue_code="value")
    issues = _issues(kind, resource)
    if issues:
        raise Unprocessable(issues[0].diagnostics, issues=issues[:_MAX_ISSUES])


@cache
def checked_by_r4(resource_type: str) -> bool:
    """Say whether a type is checked by R4's definitions, since R4B has no model of it."""
    return _model(resource_type) is None


def _issues(kind: str, resource: Mapping[str, Any]) -> list[Issue]:
    if is_valid_fast(kind, resource):
        return []
    model = _model(kind)
    if model is None:
        return strict.find_issues(kind, resource)
    try:
        model.model_validate(resource)
    except ValidationError as error:
        return [_issue(kind, fault["loc"], fault["type"]) for fault in error.errors()]
    except (TypeError, AttributeError, KeyError, AssertionError):
        # The models' own hooks stumble over some wrong shapes, such as a number for an object.
        return strict.find_issues(kind, resource) or [
            Issue("The content has a wrong shape.", kind, "structure")
        ]
    # The models let "1" pass for 1 and "true" for true, and know no bindings.
    return strict.find_issues(kind, resource)


def _issue(kind: str, location: Sequence[str | int], fault: str) -> Issue:
    text, code = _TEXTS.get(fault, _OTHERWISE)
    expression = kind
    for step in location:
        if step == "root":  # pydantic's name for the object itself
            continue
        expression += f"[{step}]" if isinstance(step, int) else f".{step}"
    return Issue(f"{expression} {text}.", expression, code)


@cache
def _model(kind: str) -> type[BaseModel] | None:
    if kind in _CHANGED_IN_R4B:
        return None
    try:
        found: type[BaseModel] = get_fhir_model_class(kind)
    except (KeyError, ValueError):
        return None
    return found
