"""Scopes to grant: those a client requests, within those its role and registration allow.

A grant is never wider than the request, and the token response names it scope by scope (RFC 6749
§3.3, SMART App Launch 2.2 §3). A scope of SMART 2 is `context/Type.rights?parameters`; a "word"
here is one scope as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ehr_fhir.errors import Invalid
from ehr_privacy.consent import Scope, parse_scopes
from ehr_privacy.consent.scopes import Limit

__all__ = ["LOGIN_SCOPES", "covers_scopes", "grant_scopes", "narrow_scopes", "to_patient_scopes"]

# Scopes about the log-in itself, which give no access to records.
LOGIN_SCOPES = frozenset(
    {
        "openid", "fhirUser", "profile", "launch", "launch/patient", "launch/encounter",
        "offline_access", "online_access",
    }
)  # fmt: skip
_RIGHTS_ORDER = "cruds"


def grant_scopes(requested: str, allowed: Iterable[str]) -> str:
    """Return the requested scopes within the allowed ones.

    A request without any resource scope gets all allowed ones.

    >>> grant_scopes("patient/*.rs patient/Consent.cruds", ["patient/*.rs"])
    'patient/*.rs patient/Consent.rs'
    >>> grant_scopes("openid", ["patient/*.rs"])
    'openid patient/*.rs'
    >>> grant_scopes("patient/Observation.read user/*.rs", ["patient/*.rs"])
    'patient/Observation.rs'
    """
    words = list(dict.fromkeys(requested.split()))
    if all(word in LOGIN_SCOPES for word in words):
        return " ".join([*words, *allowed])
    return narrow_scopes(requested, allowed)


def narrow_scopes(requested: str, allowed: Iterable[str]) -> str:
    """Return the requested scopes within the allowed ones, and none that was not requested.

    Raises Invalid for a scope with search parameters that cannot be enforced: granting it without
    them would widen it.

    >>> narrow_scopes("patient/Observation.rs?code=718-7", ["patient/*.rs"])
    'patient/Observation.rs?code=718-7'
    >>> narrow_scopes("patient/Observation.rs", ["patient/Observation.rs?code=718-7"])
    'patient/Observation.rs?code=718-7'
    """
    allowed_words = list(allowed)
    granted: list[str] = []
    for word in dict.fromkeys(requested.split()):
        granted += [word] if word in LOGIN_SCOPES else _narrow_scope(word, allowed_words)
    return " ".join(dict.fromkeys(granted))


def covers_scopes(allowed: str, requested: str) -> bool:
    """Say whether each requested scope lies wholly within the allowed ones.

    >>> covers_scopes("patient/*.rs openid", "patient/Observation.r")
    True
    >>> covers_scopes("patient/Observation.rs?code=718-7", "patient/Observation.rs")
    False
    """
    words = allowed.split()
    for word in requested.split():
        if word in words:
            continue
        try:
            if word in LOGIN_SCOPES or _parts_of(_narrow_scope(word, words)) != _parts_of([word]):
                return False
        except Invalid:
            return False
    return True


def to_patient_scopes(allowed: Iterable[str]) -> list[str]:
    """Return `user/` scopes as `patient/` ones, for a token that is bound to one patient.

    >>> to_patient_scopes(["user/*.rs", "system/*.cruds"])
    ['patient/*.rs']
    """
    return [f"patient/{word[5:]}" for word in allowed if word.startswith("user/")]


def _parts_of(words: Sequence[str]) -> set[tuple[str, str, frozenset[str], frozenset[Limit]]]:
    parsed = _parse_words(words)
    return {(scope.context, scope.type, scope.rights, frozenset(scope.limits)) for scope in parsed}


def _parse_words(words: Iterable[str]) -> tuple[Scope, ...]:
    return parse_scopes(" ".join(words))


def _narrow_scope(word: str, allowed: Sequence[str]) -> list[str]:
    if word in allowed:
        return [word]
    limits = _limit_of(word)
    try:
        wanted = _parse_words([word])[0]
    except Invalid:
        if "?" in word:
            raise
        return []
    # Several allowed scopes may give rights to one type under the same parameters: joined by both.
    rights_by_target: dict[tuple[str, str], set[str]] = {}
    for scope in allowed:
        offered = _parse_words([scope])[0]
        if offered.context != wanted.context or not offered.type:
            continue
        if "*" not in (wanted.type, offered.type) and wanted.type != offered.type:
            continue
        query = _join_limits(limits, _limit_of(scope))
        resource_type = offered.type if wanted.type == "*" else wanted.type
        rights_by_target.setdefault((resource_type, query), set()).update(
            wanted.rights & offered.rights
        )
    return [
        f"{wanted.context}/{name}.{_sort_rights(rights)}{'?' if query else ''}{query}"
        for (name, query), rights in rights_by_target.items()
        if rights
    ]


def _join_limits(requested: str, allowed: str) -> str:
    """Join two lists of search parameters; a record has to match both."""
    parts = [*requested.split("&"), *allowed.split("&")]
    return "&".join(dict.fromkeys(part for part in parts if part))


def _limit_of(word: str) -> str:
    return word.partition("?")[2]


def _sort_rights(rights: set[str]) -> str:
    return "".join(letter for letter in _RIGHTS_ORDER if letter in rights)
