"""How writes are validated, as the settings say: see docs/reference/validation.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ehr_fhir import definitions
from ehr_fhir.errors import Invalid

__all__ = ["VALIDATION_MODES", "ValidationSettings", "parse_required_profiles"]

VALIDATION_MODES = ("off", "base", "profiles")


@dataclass(frozen=True)
class ValidationSettings:
    """What a write is checked for beyond its structure."""

    mode: str = "off"
    invariants: bool = True
    # Resource type -> the profiles that every resource of it must meet.
    required: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in VALIDATION_MODES:
            raise Invalid(f"validation must be one of {', '.join(VALIDATION_MODES)}.")
        if self.required and self.mode != "profiles":
            raise Invalid("validation_profiles needs validation = profiles.")

    def profiles_of(self, resource_type: str) -> tuple[str, ...]:
        """Return the profiles that a resource of a type must meet."""
        return self.required.get(resource_type, ())


def parse_required_profiles(text: str) -> dict[str, tuple[str, ...]]:
    """Read `Type=address` pairs with spaces between; a type may be there several times.

    >>> parse_required_profiles("Patient=http://e/p Patient=http://e/q")
    {'Patient': ('http://e/p', 'http://e/q')}
    """
    required: dict[str, tuple[str, ...]] = {}
    for pair in text.split():
        kind, _, url = pair.partition("=")
        if kind not in definitions.resource_types() or ":" not in url:
            raise Invalid(
                "validation_profiles must be pairs such as Patient=http://example.org/profile, "
                "with spaces between."
            )
        required[kind] = (*required.get(kind, ()), url)
    return required
