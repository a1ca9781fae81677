"""SMART scopes: parsing (v1 and v2) and which interaction needs which letter."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ehr_fhir.errors import Invalid

# SMART App Launch 2.2 §3: r covers read, vread and the history of one instance; s every search
# and the history of a type or the system.
_LETTER = {
    "read": "r",
    "vread": "r",
    "history": "r",
    "search": "s",
    "history-type": "s",
    "history-system": "s",
    "create": "c",
    "update": "u",
    "patch": "u",
    "delete": "d",
}
_V1 = {"read": "rs", "write": "cud", "*": "cruds"}
_CLINICAL = re.compile(
    r"(?P<context>patient|user|system)/(?P<type>\*|[A-Z][A-Za-z]+)\.(?P<rights>[a-z]+|\*)"
    r"(?P<query>\?.*)?"
)
_V2 = re.compile(r"c?r?u?d?s?")
_NAMED = frozenset(
    "openid fhirUser profile launch launch/patient launch/encounter offline_access "
    "online_access ehr/feed.read ehr/introspect".split()
)


@dataclass(frozen=True)
class Scope:
    """One granted scope: `patient`, `user` or `system` rights on a type, or a named scope."""

    context: str
    type: str = ""
    rights: frozenset[str] = frozenset()


def parse_scopes(text: str) -> tuple[Scope, ...]:
    """Parse a space-separated scope string; an unknown scope is an error, never ignored.

    >>> [scope.type for scope in parse_scopes("openid user/*.rs patient/Observation.read")]
    ['', '*', 'Observation']
    """
    return tuple(_parse(word) for word in text.split())


def interaction_letter(interaction: str) -> str:
    """Return the SMART v2 letter an interaction needs."""
    return _LETTER[interaction]


def interaction_covered(
    scopes: Iterable[Scope], interaction: str, resource_type: str, *, in_patient: bool
) -> bool:
    """Say whether scopes cover an interaction on a type.

    `in_patient` says whether the record lies in the compartment of the token's own patient (or
    carries no patient at all): `patient/` scopes reach no further.
    """
    letter = interaction_letter(interaction)
    return any(
        letter in scope.rights
        and scope.type in ("*", resource_type)
        and (in_patient or scope.context != "patient")
        for scope in scopes
    )


def has_scope(scopes: Iterable[Scope], name: str) -> bool:
    """Say whether a named scope such as `ehr/feed.read` was granted."""
    return any(scope.context == name and not scope.type for scope in scopes)


def _parse(word: str) -> Scope:
    if word in _NAMED:
        return Scope(word)
    match = _CLINICAL.fullmatch(word)
    if match is None:
        raise Invalid("The scope is not one this server knows.", expression="scope")
    if match["query"]:
        raise Invalid("Scopes with search parameters are not offered.", expression="scope")
    rights = _V1.get(match["rights"], match["rights"])
    if not _V2.fullmatch(rights):
        raise Invalid(
            "A scope's rights are read, write, *, or letters of cruds in that order.",
            expression="scope",
        )
    return Scope(match["context"], match["type"], frozenset(rights))
