"""The permission of one request, which every function that reads or writes records requires."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ehr_privacy.consent import Predicate, Requester, compile_predicate

__all__ = ["Access"]


@dataclass(frozen=True)
class Access:
    """The requester and the instant at which every rule is applied throughout the request."""

    requester: Requester
    now_ms: int
    request_id: str
    # The server's base URL: references that begin with it are stored as relative ones.
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
        """Return the condition on `r` for one interaction."""
        return self.search_predicate if interaction == "search" else self.read_predicate

    def later_version_predicate(self, interaction: Literal["read", "search"]) -> Predicate:
        """Return the condition for another version of the same resource, with the alias `later`."""
        return compile_predicate(
            self.requester, interaction, self.now_ms, alias="later", prefix="later"
        )

    @property
    def author(self) -> str | None:
        """Return the organisation that becomes the author of what is written; None for people."""
        requester = self.requester
        return requester.organization if requester.role in ("clinician", "system") else None
