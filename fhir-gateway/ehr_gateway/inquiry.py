"""Whom one request asks about: the people that its criteria name, and those it counts.

Each `Access` has one, and every function that reads criteria or counts matches adds to it. Before
the answer leaves, the audit log records each of these people (`audit_log.asked_about`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ehr_fhir.search.filters import Filter
from ehr_fhir.search.named_targets import NamedIdentity, NamedTarget, find_named

__all__ = ["Inquiry"]


@dataclass
class Inquiry:
    """The people that one request asks about, in the order in which they were named."""

    # Resources named by type and id; those that are no Patient stand for their patients.
    targets: dict[NamedTarget, None] = field(default_factory=dict)
    # Identifiers and names that the criteria hold, to be looked up.
    identities: dict[NamedIdentity, None] = field(default_factory=dict)
    # Patients whose records are in a number that the answer tells.
    counted: dict[str, None] = field(default_factory=dict)
    # Patients who are on record for this request already.
    recorded: set[str] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.targets or self.identities or self.counted)

    def name_target(self, resource_type: str, logical_id: str) -> None:
        """Note a resource that the request names by its id, found or not."""
        self.targets[NamedTarget(resource_type, logical_id)] = None

    def name_criteria(self, resource_type: str, filters: Sequence[Filter], base: str = "") -> None:
        """Note what the filters of a search name."""
        for named in find_named(resource_type, filters, base):
            if isinstance(named, NamedTarget):
                self.targets[named] = None
            else:
                self.identities[named] = None

    def drop_names(self, resource_type: str, filters: Sequence[Filter]) -> None:
        """Forget the names of a search that found more people than a name can mean."""
        for named in find_named(resource_type, filters):
            if isinstance(named, NamedIdentity) and named.by_name:
                self.identities.pop(named, None)

    def count_patients(self, patients: Iterable[str]) -> None:
        """Note the patients whose records a count includes."""
        self.counted.update(dict.fromkeys(patients))

    def withdraw_answer(self) -> None:
        """Forget what an answer would have told: the request is refused."""
        self.counted.clear()
        self.recorded.clear()
