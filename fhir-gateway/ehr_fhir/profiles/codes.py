"""Whether a code is in a value set or a code system: yes, no, or not known here (None)."""

from __future__ import annotations

from typing import Protocol

from ehr_fhir.terminology import CodeMembership
from ehr_fhir.terminology.library import LayeredLibrary, Library
from ehr_fhir.terminology.r4 import R4_LIBRARY

__all__ = ["Codes", "LibraryCodes"]

# Chosen: some megabytes.
_MAX_REMEMBERED = 50_000
_ANSWERS = {"yes": True, "no": False}
_UCUM = "http://unitsofmeasure.org"
_MEDIA_TYPES = "urn:ietf:bcp:13"
# R4 binds some elements to the document that has the grammar of media types.
_MEDIA_TYPES_DOCUMENT = "http://www.rfc-editor.org/bcp/bcp13.txt"


class Codes(Protocol):
    """What validation asks of a terminology service."""

    def is_member(self, value_set: str, system: str | None, code: str) -> bool | None:
        """Say whether a code is in a value set; the system is None of an element of type code."""

    def is_code(self, system: str, code: str) -> bool | None:
        """Say whether a code system has a code."""

    def with_loaded(self, loaded: Library) -> Codes:
        """Return the same, which asks a further library where it does not know."""


class LibraryCodes:
    """Answers from a library of terminology, remembered; make another one when it changes."""

    def __init__(self, library: Library = R4_LIBRARY) -> None:
        self._library = library
        self._membership = CodeMembership(library)
        self._members: dict[tuple[str, str | None, str], bool | None] = {}
        self._codes: dict[tuple[str, str], bool | None] = {}

    def is_member(self, value_set: str, system: str | None, code: str) -> bool | None:
        """Say whether a code is in a value set.

        >>> genders = "http://hl7.org/fhir/ValueSet/administrative-gender"
        >>> codes = LibraryCodes()
        >>> codes.is_member(genders, None, "female"), codes.is_member(genders, None, "f")
        (True, False)
        >>> codes.is_member("http://example.org/unknown", None, "f") is None
        True
        """
        key = (value_set, system, code)
        if key not in self._members:
            if len(self._members) > _MAX_REMEMBERED:
                self._members.clear()
            self._members[key] = self._ask(value_set, system, code)
        return self._members[key]

    def is_code(self, system: str, code: str) -> bool | None:
        """Say whether a code system has a code.

        >>> codes = LibraryCodes()
        >>> codes.is_code("urn:ietf:bcp:13", "text/plain"), codes.is_code("urn:ietf:bcp:13", "text")
        (True, False)
        """
        key = (system, code)
        if key not in self._codes:
            if len(self._codes) > _MAX_REMEMBERED:
                self._codes.clear()
            self._codes[key] = self._look_up(system, code)
        return self._codes[key]

    def with_loaded(self, loaded: Library) -> Codes:
        """Return the same, which asks a further library where it does not know."""
        return _CodesWithLoaded(self, LibraryCodes(LayeredLibrary(loaded, self._library)))

    def _ask(self, value_set: str, system: str | None, code: str) -> bool | None:
        if value_set == _MEDIA_TYPES_DOCUMENT:
            return self.is_code(_MEDIA_TYPES, code)
        answer = _ANSWERS.get(self._membership.holds(value_set, system, code))
        # The table of units has those in daily use: one that it lacks may be a unit.
        is_open = answer is False and system == _UCUM and self._look_up(system, code) is None
        return None if is_open else answer

    def _look_up(self, system: str, code: str) -> bool | None:
        known = self._library.code_system(system)
        if known is None or known.header.content != "complete":
            return None
        found = known.find(code) is not None
        return None if not found and system == _UCUM else found


class _CodesWithLoaded:
    """Answers that hold for long, and those that are asked of a database for one validation."""

    def __init__(self, kept: LibraryCodes, loaded: LibraryCodes) -> None:
        self._kept = kept
        self._loaded = loaded

    def is_member(self, value_set: str, system: str | None, code: str) -> bool | None:
        """Say whether a code is in a value set."""
        known = self._kept.is_member(value_set, system, code)
        return self._loaded.is_member(value_set, system, code) if known is None else known

    def is_code(self, system: str, code: str) -> bool | None:
        """Say whether a code system has a code."""
        known = self._kept.is_code(system, code)
        return self._loaded.is_code(system, code) if known is None else known

    def with_loaded(self, loaded: Library) -> Codes:
        """Return the same with another database."""
        return self._kept.with_loaded(loaded)
