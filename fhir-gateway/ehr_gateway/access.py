"""The permission of one request: required by every function that reads or writes records."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ehr_privacy.consent import Predicate, Requester, compile_predicate

__all__ = ["Access"]


@dataclass(frozen=True)
class Access:
    """Who asks, at which instant; every rule of the request is judged at that one instant."""

    requester: Requester
    now_ms: int
    request_id: str
    # The server's own address: references that begin with it are kept as relative ones.
    base: str = ""

    @cached_property
    def read_predicate(self) -> Predicate:
        """Return the condition on `r` under which a version may be read."""
        return compile_predicate(self.requester, "read", self.now_ms, dialect="sqlite")

    @cached_property
    def search_predicate(self) -> Predicate:
        """Return the condition on `r` under which a version may be found."""
        return compile_predicate(self.requester, "search", self.now_ms, dialect="sqlite")

    def predicate(self, interaction: Literal["read", "search"] = "read") -> Predicate:
        """Return the condition for one interaction."""
        return self.search_predicate if interaction == "search" else self.read_predicate

    def later_version_predicate(self, interaction: Literal["read", "search"]) -> Predicate:
        """Return the condition for one interaction on another version of `r`, named `later`."""
        return compile_predicate(
            self.requester, interaction, self.now_ms, alias="later", prefix="later"
        )

    @property
    def author(self) -> str | None:
        """Return the organisation that writes with this access: a provider's, never a patient."""
        requester = self.requester
        return requester.organization if requester.role in ("clinician", "system") else None
