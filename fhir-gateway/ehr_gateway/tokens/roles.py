"""Roles and the scopes that a token of each may carry, from `rules/roles.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ehr_gateway.tokens.scope_grants import grant_scopes

__all__ = ["Role", "grant_scopes", "load_roles"]


@dataclass(frozen=True)
class Role:
    """One role: its purpose of use (v3-ActReason) and its scopes."""

    name: str
    purpose: str
    scopes: tuple[str, ...]


@cache
def load_roles() -> dict[str, Role]:
    """Return every role by name, as the reviewed file has them."""
    text = resources.files("ehr_gateway").joinpath("rules/roles.toml").read_text("utf-8")
    table = tomllib.loads(text)
    clinical = table.pop("clinical")
    return {
        name: Role(name, row["purpose"], tuple(_expand_clinical(row["scopes"], clinical)))
        for name, row in table.items()
    }


def _expand_clinical(scopes: list[str], clinical: list[str]) -> Iterable[str]:
    for scope in scopes:
        if "{clinical}" in scope:
            yield from (scope.replace("{clinical}", name) for name in clinical)
        else:
            yield scope
