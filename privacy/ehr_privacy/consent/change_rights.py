"""Who may change what is there: the table of rights, by actor and act (rules/rights.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, cast, get_args

from ehr_privacy.consent.model import Requester
from ehr_privacy.consent.roles import RoleMatrix, load_roles

__all__ = [
    "ACTORS",
    "Act",
    "Actor",
    "Right",
    "actor_of",
    "is_unlimited",
    "load_rights",
    "right_to_change",
]

Act = Literal[
    "correct",
    "loosen",
    "empty",
    "mark-wrong",
    "delete",
    "restore",
    "move",
    "directory-change",
    "directory-delete",
    "person-details",
    "person-identity",
    "person-link",
    "person-inactive",
    "person-delete",
]
Actor = Literal["author", "other", "patient", "carer", "steward", "administrator", "platform"]
Right = Literal["yes", "no", "proposal", "operation", "kept"]
ACTORS: tuple[Actor, ...] = get_args(Actor)


@cache
def load_rights() -> Mapping[Act, Mapping[Actor, Right]]:
    """Read and validate the table of rights that ships with the package."""
    text = files("ehr_privacy").joinpath("rules/rights.toml").read_text(encoding="utf-8")
    return parse_rights(text)


def parse_rights(text: str) -> Mapping[Act, Mapping[Actor, Right]]:
    """Parse a table of rights; raise ValueError naming the first entry that is wrong."""
    data = tomllib.loads(text)
    if tuple(data["actors"]) != ACTORS:
        raise ValueError(f"rights.toml: actors are {', '.join(ACTORS)}, in this order")
    if set(data["acts"]) != set(get_args(Act)):
        raise ValueError("rights.toml: acts: one is missing or unknown")
    for name, cells in data["acts"].items():
        if len(cells) != len(ACTORS) or not set(cells) <= set(get_args(Right)):
            raise ValueError(f"rights.toml: acts.{name}: a known right for each actor")
    return {
        cast(Act, name): dict(zip(ACTORS, cells, strict=True))
        for name, cells in data["acts"].items()
    }


def actor_of(
    requester: Requester, author: str | None, roles: RoleMatrix | None = None
) -> Actor | None:
    """Return as whom a requester acts on a record of an author; None for roles that never write.

    >>> actor_of(Requester("clinician", "dr.chan", "ha-harbour"), "ha-harbour")
    'author'
    """
    if requester.role in ("clinician", "system"):
        if (
            requester.role == "system"
            and requester.organization == (roles or load_roles()).platform
        ):
            return "platform"
        is_author = author is not None and requester.organization == author
        return "author" if is_author else "other"
    return next((actor for actor in ACTORS if actor == requester.role), None)


def right_to_change(requester: Requester, author: str | None, act: Act) -> Right:
    """Return the right of a requester to one act on a record of an author.

    >>> right_to_change(Requester("system", "s", "st-gabriel"), "ha-harbour", "delete")
    'no'
    """
    actor = actor_of(requester, author)
    return "no" if actor is None else load_rights()[act][actor]


def is_unlimited(requester: Requester, author: str | None) -> bool:
    """Say whether a requester may do everything with a record that is no person's own data.

    What its versions take from the facts that the rules go by is decided elsewhere.
    """
    actor = actor_of(requester, author)
    return actor is not None and _is_unlimited(actor)


@cache
def _is_unlimited(actor: Actor) -> bool:
    return all(
        cells[actor] == "yes"
        for act, cells in load_rights().items()
        if act != "loosen" and not act.startswith("person-")
    )
