"""Names that the server's own code systems give their codes (CodeSystem.concept.designation).

They are read with a reader's token once in a while and kept for all: a code system holds nothing
about anybody. Pages are built in the context of the request, which has the names as they were then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

from ehr_fhir.errors import EhrError
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_portal.gateway.client import GatewayClient, Resource

# Code system and code -> language -> name.
Names = Mapping[tuple[str, str], Mapping[str, str]]

# Code systems change by the release; ten minutes bound what reading them costs. Chosen.
REFRESH_SECONDS = 600
# After a fault, or a reader who may not read them, the next one tries. Chosen.
RETRY_SECONDS = 60
# More code systems, or names, would be a terminology server's work. Chosen.
MAX_SYSTEMS = 100
MAX_NAMES = 50_000
# Coding of CodeSystem.concept.designation.use: no name for readers.
_UNREADABLE_USES = frozenset({"900000000000003001", "abbreviation"})

_NAMES: ContextVar[Names] = ContextVar("designations", default={})  # noqa: B039 (never changed)


def designation(system: str, code: str, language: str) -> str | None:
    """Return what the server calls a code in a language, None where it has no such name."""
    return _NAMES.get().get((system, code), {}).get(language)


def known_designations() -> Names:
    """Return every name of the server's code systems, as this request knows them."""
    return _NAMES.get()


class DesignationCache:
    """The designations of a server's code systems, kept for a while."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._names: Names = {}
        self._next_read = 0.0

    async def use(self, gateway: GatewayClient) -> None:
        """Make the designations known to this request; read them anew when it is time."""
        now = self._clock()
        if now >= self._next_read:
            # Before reading: others that come meanwhile go on with what there is.
            self._next_read = now + RETRY_SECONDS
            try:
                params = {"status": "active", "_count": "20"}
                found = await gateway.search_all("CodeSystem", params, limit=MAX_SYSTEMS)
            except EhrError:
                pass
            else:
                self._names = read_designations(found.matches)
                self._next_read = now + REFRESH_SECONDS
        _NAMES.set(self._names)


def read_designations(code_systems: tuple[Resource, ...]) -> Names:
    """Return the names that code systems have in the languages of the pages.

    >>> concept = {"code": "A", "designation": [{"language": "zh-TW", "value": "清醒"}]}
    >>> read_designations(({"url": "http://x", "concept": [concept]},))
    {('http://x', 'A'): {'zh-Hant-HK': '清醒'}}
    """
    names: dict[tuple[str, str], dict[str, str]] = {}
    for system in code_systems:
        for concept in _walk(system.get("concept", ())):
            if len(names) >= MAX_NAMES:
                return names
            found = _names_of(concept, str(system.get("language", "")))
            if found and "url" in system and "code" in concept:
                names[str(system["url"]), str(concept["code"])] = found
    return names


def _names_of(concept: Resource, language: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in concept.get("designation", ()):
        spoken = JURISDICTION.match_language(str(each.get("language", "")))
        if spoken and each.get("value") and each.get("use", {}).get("code") not in _UNREADABLE_USES:
            found.setdefault(spoken.tag, str(each["value"]))
    # A code system in the reader's language names its codes there by itself.
    own = JURISDICTION.match_language(language) if language else None
    if own and concept.get("display"):
        found.setdefault(own.tag, str(concept["display"]))
    return found


def _walk(concepts: Any) -> Iterator[Resource]:
    # Not by calls into calls: a code system may be nested as deep as JSON goes.
    waiting = list(concepts)[::-1]
    while waiting:
        concept = waiting.pop()
        yield concept
        waiting += list(concept.get("concept", ()))[::-1]
