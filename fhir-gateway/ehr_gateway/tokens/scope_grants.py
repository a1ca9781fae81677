"""Which scopes to grant: what a client asked for, within what role and registration allow.

What is granted is never wider than what was asked for, and the answer names it word by word
(RFC 6749 §3.3, SMART App Launch 2.2 §3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ehr_fhir.errors import Invalid
from ehr_privacy.consent import Scope, parse_scopes
from ehr_privacy.consent.scopes import Limit

__all__ = ["ABOUT_LOGIN", "covers", "granted", "narrowed", "within_patient"]

# Scopes about the log-in itself, which give no access to records.
ABOUT_LOGIN = frozenset(
    {
        "openid", "fhirUser", "profile", "launch", "launch/patient", "launch/encounter",
        "offline_access", "online_access",
    }
)  # fmt: skip
_LETTERS = "cruds"


def granted(asked: str, allowed: Iterable[str]) -> str:
    """Return the scopes to grant: what was asked for within what is allowed.

    Asking for no resource scope at all means "whatever I may".

    >>> granted("patient/*.rs patient/Consent.cruds", ["patient/*.rs"])
    'patient/*.rs patient/Consent.rs'
    >>> granted("openid", ["patient/*.rs"])
    'openid patient/*.rs'
    >>> granted("patient/Observation.read user/*.rs", ["patient/*.rs"])
    'patient/Observation.rs'
    """
    words = list(dict.fromkeys(asked.split()))
    if all(word in ABOUT_LOGIN for word in words):
        return " ".join([*words, *allowed])
    return narrowed(asked, allowed)


def narrowed(asked: str, allowed: Iterable[str]) -> str:
    """Return what was asked for within what is allowed, and nothing that was not asked for.

    A scope whose search parameters cannot be enforced is refused, not widened.

    >>> narrowed("patient/Observation.rs?code=718-7", ["patient/*.rs"])
    'patient/Observation.rs?code=718-7'
    >>> narrowed("patient/Observation.rs", ["patient/Observation.rs?code=718-7"])
    'patient/Observation.rs?code=718-7'
    """
    may = list(allowed)
    kept: list[str] = []
    for word in dict.fromkeys(asked.split()):
        kept += [word] if word in ABOUT_LOGIN else _within(word, may)
    return " ".join(dict.fromkeys(kept))


def covers(allowed: str, asked: str) -> bool:
    """Say whether every word asked for lies within what is allowed, as a whole.

    >>> covers("patient/*.rs openid", "patient/Observation.r"), covers("openid", "fhirUser")
    (True, False)
    >>> covers("patient/Observation.rs?code=718-7", "patient/Observation.rs")
    False
    """
    words = allowed.split()
    for word in asked.split():
        if word in words:
            continue
        try:
            if word in ABOUT_LOGIN or _total(_within(word, words)) != _total([word]):
                return False
        except Invalid:
            return False
    return True


def within_patient(allowed: Iterable[str]) -> list[str]:
    """Return `user/` scopes as `patient/` ones: whoever may act widely may act on one patient.

    >>> within_patient(["user/*.rs", "system/*.cruds"])
    ['patient/*.rs']
    """
    return [f"patient/{word[5:]}" for word in allowed if word.startswith("user/")]


def _total(words: Sequence[str]) -> set[tuple[str, str, frozenset[str], frozenset[Limit]]]:
    parsed = _parsed(words)
    return {(one.context, one.type, one.rights, frozenset(one.limits)) for one in parsed}


def _parsed(words: Iterable[str]) -> tuple[Scope, ...]:
    return parse_scopes(" ".join(words))


def _within(word: str, allowed: Sequence[str]) -> list[str]:
    if word in allowed:
        return [word]
    query = _query(word)
    try:
        wanted = _parsed([word])[0]
    except Invalid:
        if "?" in word:
            raise
        return []
    # By type and parameters: what several allowed scopes give together.
    may: dict[tuple[str, str], set[str]] = {}
    for scope in allowed:
        found = _parsed([scope])[0]
        if found.context != wanted.context or not found.type:
            continue
        if "*" not in (wanted.type, found.type) and wanted.type != found.type:
            continue
        limit = _both(query, _query(scope))
        narrower = found.type if wanted.type == "*" else wanted.type
        may.setdefault((narrower, limit), set()).update(wanted.rights & found.rights)
    return [
        f"{wanted.context}/{name}.{_ordered(rights)}{'?' if limit else ''}{limit}"
        for (name, limit), rights in may.items()
        if rights
    ]


def _both(asked: str, allowed: str) -> str:
    """Join two lists of parameters: both must hold."""
    parts = [*asked.split("&"), *allowed.split("&")]
    return "&".join(dict.fromkeys(part for part in parts if part))


def _query(word: str) -> str:
    return word.partition("?")[2]


def _ordered(rights: set[str]) -> str:
    return "".join(one for one in _LETTERS if one in rights)
