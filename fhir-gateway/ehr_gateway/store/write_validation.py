"""What a write is checked for beyond its structure: a setting of the store.

The check runs before the writer's lock is taken and asks no database: the definitions are read
about once a second, and compiled anew when they have changed. Only those count that everybody may
read, so that no refusal tells of a definition that is hidden.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ehr_fhir.errors import Issue, Unprocessable
from ehr_fhir.profiles.findings import Finding
from ehr_fhir.profiles.library import ProfileLibrary
from ehr_fhir.validation_settings import ValidationSettings
from ehr_gateway.database import Database
from ehr_gateway.store.profile_libraries import read_open_library, select_open_versions

__all__ = ["WriteValidation"]

_SECONDS_BETWEEN_READS = 1.0
# Chosen: an answer that a person reads.
_MAX_ISSUES = 20


class WriteValidation:
    """The check of one process by its settings and the definitions in the store."""

    def __init__(self, settings: ValidationSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._library = ProfileLibrary()
        self._key: object = None
        self._read_at = -_SECONDS_BETWEEN_READS

    def is_stale(self) -> bool:
        """Say whether `reload` is due. It waits for the database, so not on the event loop."""
        return time.monotonic() - self._read_at >= _SECONDS_BETWEEN_READS

    def reload(self) -> None:
        """Read the definitions again if they have changed."""
        # Before the read: what is written meanwhile is met by the next one.
        self._read_at = time.monotonic()
        with self._database.read_transaction() as connection:
            key = select_open_versions(connection)
            if key != self._key:
                self._library = read_open_library(connection)
                self._key = key

    # Any: a resource as parsed JSON.
    def check(self, resource: Mapping[str, Any], now_ms: int) -> None:
        """Raise Unprocessable for a resource with errors; warnings let it pass."""
        required = self._settings.profiles_of(str(resource["resourceType"]))
        for url in required:
            if self._library.profile(url) is None:
                text = f"The profile that this store requires is not loaded: {url}."
                raise Unprocessable(text, expression=str(resource["resourceType"]))
        found = self._library.validate(
            resource,
            required,
            now=datetime.fromtimestamp(now_ms / 1000, UTC),
            uses_own_profiles=self._settings.mode == "profiles",
            with_invariants=self._settings.invariants,
        )
        issues = [_issue(finding) for finding in found if finding.severity == "error"]
        if issues:
            raise Unprocessable(issues[0].diagnostics, issues=issues[:_MAX_ISSUES])


def _issue(finding: Finding) -> Issue:
    return Issue(finding.text, finding.expression, finding.code, finding.severity)
