"""Libraries of the profiles and value sets in the store, compiled once for each state of them.

A library holds what one requester may find, so that no answer tells of a definition that is hidden
from them. Requesters who find the same versions share one. A code system that the operator loaded
is asked in its tables, and no stored resource of its url in its place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Any

from ehr_fhir.json_text import parse
from ehr_fhir.profiles.codes import LibraryCodes
from ehr_fhir.profiles.library import ProfileLibrary
from ehr_fhir.terminology.library import LayeredLibrary, ResourceLibrary, newest
from ehr_fhir.terminology.r4 import R4_LIBRARY
from ehr_gateway.access import Access
from ehr_gateway.database import Connection
from ehr_gateway.terminology.load import list_systems

__all__ = ["ProfileLibraries", "read_open_library", "select_open_versions"]

_TYPES = ("StructureDefinition", "ValueSet", "CodeSystem")
# Chosen: as many kinds of requesters as see different definitions; each takes some megabytes.
_MAX_LIBRARIES = 4
# Key and version of each definition; number and url of each code system that was loaded.
_Key = tuple[tuple[tuple[int, int], ...], tuple[tuple[int, str], ...]]
# Chosen: a library is kept in memory. The codes of a larger code system are not known to it.
_MAX_CODE_SYSTEM_BYTES = 4_000_000
_IS_KEPT = f"(type <> 'CodeSystem' OR LENGTH(body) <= {_MAX_CODE_SYSTEM_BYTES})"
# What is in the directory holds nothing of a person, and every role reads it.
_OPEN = (
    "SELECT {columns} FROM resource"  # noqa: S608 - the columns are this module's
    " WHERE type IN ('StructureDefinition', 'ValueSet', 'CodeSystem')"
    f" AND current = 1 AND deleted = 0 AND directory = 1 AND {_IS_KEPT} ORDER BY pk"
)


class ProfileLibraries:
    """The libraries of one process, those that were used last."""

    def __init__(self) -> None:
        self._libraries: OrderedDict[_Key, ProfileLibrary] = OrderedDict()
        self._lock = Lock()

    def library(self, connection: Connection, access: Access) -> ProfileLibrary:
        """Return the library of what a requester may find now."""
        types = [kind for kind in _TYPES if access.covers("search", kind)]
        rows = _select(connection, access, types, "r.pk, r.version") if types else []
        loaded = _select_loaded(connection)
        key: _Key = tuple((row["pk"], row["version"]) for row in rows), loaded
        with self._lock:
            if key in self._libraries:
                self._libraries.move_to_end(key)
                return self._libraries[key]
        rows = _select(connection, access, types, "r.body") if types else []
        library = _make_library((parse(bytes(row["body"])) for row in rows), loaded)
        with self._lock:
            self._libraries[key] = library
            if len(self._libraries) > _MAX_LIBRARIES:
                self._libraries.popitem(last=False)
        return library


def select_open_versions(connection: Connection) -> _Key:
    """Return the versions of the definitions that everybody may read."""
    rows = connection.execute(_OPEN.format(columns="pk, version")).fetchall()
    return tuple((row["pk"], row["version"]) for row in rows), _select_loaded(connection)


def read_open_library(connection: Connection) -> ProfileLibrary:
    """Return the library of the definitions that everybody may read."""
    rows = connection.execute(_OPEN.format(columns="body")).fetchall()
    resources = (parse(bytes(row["body"])) for row in rows)
    return _make_library(resources, _select_loaded(connection))


def _select_loaded(connection: Connection) -> tuple[tuple[int, str], ...]:
    """Return number and url of the code systems that were loaded."""
    found = list_systems(connection)
    return tuple((system.number, system.header.url) for system in found)


def _select(connection: Connection, access: Access, types: list[str], columns: str) -> Any:
    """Return rows of the current definitions of some types that a requester may find."""
    visible = access.search_predicate
    named = {f"type{index}": kind for index, kind in enumerate(types)}
    listed = ", ".join(f":{name}" for name in named)
    return connection.execute(
        f"SELECT {columns} FROM resource r WHERE r.type IN ({listed}) AND r.current = 1"  # noqa: S608
        f" AND r.deleted = 0 AND {_IS_KEPT} AND ({visible.sql}) ORDER BY r.pk",
        {**named, **visible.params},
    ).fetchall()


# Any: a definition as parsed JSON, here and below.
def _make_library(
    resources: Iterable[Mapping[str, Any]], loaded: Iterable[tuple[int, str]]
) -> ProfileLibrary:
    loaded_urls = {url for _, url in loaded}
    structures: dict[str, list[Mapping[str, Any]]] = {}
    terminology: list[Mapping[str, Any]] = []
    for resource in resources:
        if resource["resourceType"] == "StructureDefinition":
            structures.setdefault(resource["url"], []).append(resource)
        elif resource["resourceType"] == "CodeSystem" and resource.get("url") in loaded_urls:
            continue
        elif "url" in resource:
            terminology.append(resource)

    def find_structure(url: str, version: str) -> Mapping[str, Any] | None:
        return newest(structures.get(url, ()), version or None)

    codes = LibraryCodes(LayeredLibrary(R4_LIBRARY, ResourceLibrary(terminology)))
    return ProfileLibrary(find_structure, codes)
