"""What each role's token may do: `rules/roles.toml`, narrowed by what a client asked for."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

_SCOPE = re.compile(r"^(patient|user|system)/([A-Za-z]+|\*)\.([a-z]+|\*)$")
_VERSION_1 = {"read": "rs", "write": "cud", "*": "cruds"}
_LETTERS = "cruds"
# Scopes about the log-in itself, which give no access to records.
_ABOUT_LOGIN = frozenset({"openid", "fhirUser", "profile", "launch", "launch/patient"})


@dataclass(frozen=True)
class Role:
    """One row of the table: the purpose of its requests and its default scopes."""

    name: str
    purpose: str
    scopes: tuple[str, ...]


@cache
def roles() -> dict[str, Role]:
    """Return every role by name."""
    text = resources.files("ehr_gateway").joinpath("rules/roles.toml").read_text("utf-8")
    table = tomllib.loads(text)
    clinical = table.pop("clinical")
    return {
        name: Role(name, row["purpose"], tuple(_expand(row["scopes"], clinical)))
        for name, row in table.items()
    }


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
    allowed = list(allowed)
    kept = [word for word in words if word in _ABOUT_LOGIN]
    plain = [word for word in words if word not in _ABOUT_LOGIN]
    if not plain:
        return " ".join([*kept, *allowed])
    for word in plain:
        kept.extend(_within(word, allowed))
    return " ".join(dict.fromkeys(kept))


def _within(word: str, allowed: list[str]) -> Iterable[str]:
    if word in allowed:
        return [word]
    wanted = _SCOPE.match(word)
    if wanted is None:
        return []
    context, kind, letters = wanted.groups()
    may: dict[str, set[str]] = {}
    for scope in allowed:
        match = _SCOPE.match(scope)
        if (
            match is None
            or match[1] != context
            or ("*" not in (kind, match[2]) and kind != match[2])
        ):
            continue
        narrower = match[2] if kind == "*" else kind
        may.setdefault(narrower, set()).update(_letters(letters) & _letters(match[3]))
    return [
        f"{context}/{name}.{''.join(one for one in _LETTERS if one in rights)}"
        for name, rights in may.items()
        if rights
    ]


def _letters(permission: str) -> set[str]:
    return set(_VERSION_1.get(permission, permission)) & set(_LETTERS)


def _expand(scopes: list[str], clinical: list[str]) -> Iterable[str]:
    for scope in scopes:
        if "{clinical}" in scope:
            yield from (scope.replace("{clinical}", name) for name in clinical)
        else:
            yield scope
