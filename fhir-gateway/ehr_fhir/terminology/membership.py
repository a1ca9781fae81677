"""Whether a code is in a value set, as validators and searches ask it: yes, no or unknown."""

from __future__ import annotations

from ehr_fhir.errors import EhrError
from ehr_fhir.terminology.library import Library
from ehr_fhir.terminology.r4 import R4_LIBRARY
from ehr_fhir.terminology.value_sets import (
    Membership,
    ResolvedValueSet,
    find_value_set,
    resolve_value_set,
)

__all__ = ["CodeMembership"]


class CodeMembership:
    """Answers from one library; value sets are resolved once, so keep it for a while."""

    def __init__(self, library: Library = R4_LIBRARY) -> None:
        self._library = library
        self._resolved: dict[str, ResolvedValueSet | None] = {}

    def holds(self, value_set: str, system: str | None, code: str) -> Membership:
        """Say whether a code is in the value set of a canonical url.

        Without a system (an element of type `code`), whether it is a code of any system of the set.
        Unknown is the answer where the value set or what it is made of is not here.

        >>> gender = "http://hl7.org/fhir/ValueSet/administrative-gender"
        >>> codes = CodeMembership()
        >>> codes.holds(gender, None, "female"), codes.holds(gender, "urn:x", "female")
        ('yes', 'no')
        >>> codes.holds("http://example.org/none", None, "female")
        'unknown'
        """
        if value_set not in self._resolved:
            self._resolved[value_set] = self._resolve(value_set)
        resolved = self._resolved[value_set]
        if resolved is None:
            return "unknown"
        try:
            return resolved.holds(system, code)
        except EhrError:
            # A filter that this server does not know, or that takes too long.
            return "unknown"

    def display(self, system: str, code: str) -> str | None:
        """Return the name of a code in the language of its code system, None if it is unknown."""
        found = self._library.code_system(system)
        concept = found.find(code) if found else None
        return concept.display if concept else None

    def _resolve(self, value_set: str) -> ResolvedValueSet | None:
        try:
            return resolve_value_set(find_value_set(self._library, value_set), self._library)
        except EhrError:
            return None
