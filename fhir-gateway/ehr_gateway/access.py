"""The permission of one request, which every function that reads or writes records requires."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from ehr_fhir.errors import InsufficientScope
from ehr_gateway.inquiry import Inquiry
from ehr_privacy.consent import (
    Predicate,
    Requester,
    compile_predicate,
    covers_type,
    interaction_letter,
)

__all__ = ["Access"]


@dataclass(frozen=True)
class Access:
    """The requester and the instant at which every rule is applied throughout the request."""

    requester: Requester
    now_ms: int
    request_id: str
    # The server's base URL: references that begin with it are stored as relative ones.
    base: str = ""
    # Whether systems choose only ids that their organisation gives (the setting `client_ids`).
    own_ids_only: bool = False
    # The program that sends the request, by its client id.
    client: str = ""
    # Whom the request asks about, for the audit log.
    inquiry: Inquiry = field(default_factory=Inquiry, compare=False)
    # Raises for a resource that breaks what the store's settings want of content, at an instant.
    # Any: a resource as parsed JSON.
    check_content: Callable[[Mapping[str, Any], int], None] | None = field(
        default=None, compare=False, repr=False
    )
    # Where what the request writes comes from, by its header: a Provenance without targets.
    provenance: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    # No cached properties: `compile_predicate` has a cache, which is quicker than their lock.
    @property
    def read_predicate(self) -> Predicate:
        """Return the condition on `r` under which a version may be read."""
        return compile_predicate(self.requester, "read", self.now_ms)

    @property
    def search_predicate(self) -> Predicate:
        """Return the condition on `r` under which a version may be found."""
        return compile_predicate(self.requester, "search", self.now_ms)

    def predicate(self, interaction: Literal["read", "search"] = "read") -> Predicate:
        """Return the condition on `r` for one interaction."""
        return self.search_predicate if interaction == "search" else self.read_predicate

    def later_version_predicate(self, interaction: Literal["read", "search"]) -> Predicate:
        """Return the condition for another version of the same resource, with the alias `later`."""
        return compile_predicate(
            self.requester, interaction, self.now_ms, alias="later", prefix="later"
        )

    def covers(self, interaction: str, resource_type: str) -> bool:
        """Say whether the token's scopes cover an interaction on some records of a type."""
        return _covers_type(self.requester, interaction, resource_type)

    def require_scope(self, interaction: str, *resource_types: str) -> None:
        """Refuse an interaction on types that the token's scopes do not cover.

        Asked before anything is read: the answer depends on the token alone. An empty page instead
        would read as "no allergies".
        """
        missing = [name for name in resource_types if not self.covers(interaction, name)]
        if missing:
            raise self.insufficient_scope(interaction, missing)

    def insufficient_scope(
        self, interaction: str, resource_types: Iterable[str]
    ) -> InsufficientScope:
        """Return the refusal of an interaction, with the scopes that would cover it."""
        context = _scope_context(self.requester)
        letter = interaction_letter(interaction)
        words = [f"{context}/{name}.{letter}" for name in resource_types]
        return InsufficientScope(
            f"The access token's scopes do not cover this; it needs {', '.join(words)}.",
            scope=" ".join(words),
        )

    @property
    def author(self) -> str | None:
        """Return the organisation that becomes the author of what is written; None for people."""
        requester = self.requester
        return requester.organization if requester.role in ("clinician", "system") else None


# Asked at every request; the key is the requester, whose hash is worked out once for each token.
@lru_cache(maxsize=4096)
def _covers_type(requester: Requester, interaction: str, resource_type: str) -> bool:
    return covers_type(requester.scopes, interaction, resource_type)


def _scope_context(requester: Requester) -> str:
    """Return the context of the scopes that a requester's tokens have: patient, user or system."""
    contexts = [scope.context for scope in requester.scopes if scope.type]
    if contexts:
        return contexts[0]
    return {"patient": "patient", "carer": "patient", "system": "system"}.get(
        requester.role, "user"
    )
