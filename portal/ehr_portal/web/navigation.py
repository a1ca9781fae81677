"""The links in the bar at the head of every page, by role.

Each page module declares its own in `NAVIGATION`; `pages.load_navigation` collects them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ehr_portal.web.sessions import User


def _always(user: User) -> bool:
    return True


@dataclass(frozen=True)
class NavigationLink:
    """One link of one role's bar."""

    role: str
    path: str
    # Marked with N_, translated where it is shown.
    title: str
    # Links stand in this order; the first of a role is where a log-in leads.
    position: int
    is_shown: Callable[[User], bool] = _always
    # The letter that opens it after `g`, of a clinician's links; none where it is empty.
    shortcut: str = ""


class Navigation:
    """The links of all pages."""

    def __init__(self, links: Iterable[NavigationLink]) -> None:
        self._links = sorted(links, key=lambda link: link.position)

    def links_for(self, user: User | None) -> list[NavigationLink]:
        """Return the links of a person's bar, none for a stranger."""
        if user is None:
            return []
        return [link for link in self._links if link.role == user.role and link.is_shown(user)]

    def home_path(self, user: User) -> str | None:
        """Return where a log-in leads, None for a role without pages."""
        return next((link.path for link in self.links_for(user)), None)
