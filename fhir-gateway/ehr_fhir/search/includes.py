"""`_include` and `_revinclude` (R4 §3.1.1.5.4)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid
from ehr_fhir.search.filters import served_parameter
from ehr_fhir.search_parameters import SearchParameter, parameters_of

__all__ = ["INCLUDES", "MAX_INCLUDES", "Include", "parse_include"]

INCLUDES = frozenset({"_include", "_revinclude"})
# Of one search: each is a step of its own in every round of `:iterate`.
MAX_INCLUDES = 16


@dataclass(frozen=True)
class Include:
    """References to follow: forward to their targets, or in reverse to their holders.

    `source` is the type that holds the reference; `target` narrows what it refers to. With
    `iterate`, what was included is looked at again.
    """

    source: str
    parameters: tuple[SearchParameter, ...]
    target: str | None
    reverse: bool = False
    iterate: bool = False
    # Of a forward include that the server makes itself: the types that it leads to, any if empty.
    targets: tuple[str, ...] = ()

    def narrow(self, targets: tuple[str, ...]) -> Include:
        """Return the include as one that leads to these types alone."""
        return replace(self, targets=targets)


def parse_include(resource_type: str, name: str, text: str) -> Include:
    """Parse one `_include` or `_revinclude` of a search for one type.

    >>> parse_include("Observation", "_include", "Observation:subject:Patient").target
    'Patient'
    """
    control, _, modifier = name.partition(":")
    if modifier not in ("", "iterate"):
        raise Invalid(f"`{control}` takes no modifier but `:iterate`.")
    reverse, iterate = control == "_revinclude", modifier == "iterate"
    if text == "*" and not reverse:
        text = f"{resource_type}:*"
    source, code, target, *more = [*text.split(":"), "", ""]
    if source not in definitions.resource_types() or not code or any(more):
        raise Invalid(f"`{control}` has the form `Type:reference` or `Type:reference:Type`.")
    if not (reverse or iterate) and source != resource_type:
        raise Invalid(
            f"`_include` must start with the type searched: `{resource_type}:`;"
            " `_include:iterate` follows others."
        )
    if target and target not in definitions.resource_types():
        raise Invalid(f"`{target[:64]}` is not a resource type of FHIR R4.")
    found = _references(source) if code == "*" else (_reference(control, source, code),)
    if reverse and not iterate:
        found = tuple(
            parameter
            for parameter in found
            if not parameter.targets or resource_type in parameter.targets
        )
        if not found or target not in ("", resource_type):
            raise Invalid(f"`{source}:{code}` does not refer to a {resource_type}.")
    return Include(source, found, target or None, reverse, iterate)


def _reference(control: str, source: str, code: str) -> SearchParameter:
    parameter = served_parameter(source, code)
    if parameter.type != "reference":
        raise Invalid(f"`{control}` needs a reference; `{code}` is of type {parameter.type}.")
    return parameter


def _references(source: str) -> tuple[SearchParameter, ...]:
    found = sorted(parameters_of(source).items())
    return tuple(
        parameter
        for _, parameter in found
        if parameter.type == "reference" and parameter.is_indexed
    )
