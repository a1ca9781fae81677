"""Keyboard shortcuts of a clinician's pages, and how a reader switches them off or changes them.

Keys that are single characters can be switched off, or be asked for together with Alt (WCAG 2.2,
2.1.4 Character Key Shortcuts). The script `ehr.js` acts on them; without it nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ehr_design.display_settings import read_choice
from ehr_portal.i18n import N_

# The cookie and form field of the choice.
SHORTCUT_MODE = "keys"
# Mode -> what it is called; the first is the default.
SHORTCUT_MODES = {
    "on": N_("On"),
    "alt": N_("On, together with the Alt key"),
    "off": N_("Off"),
}


@dataclass(frozen=True)
class Shortcut:
    """One shortcut as the help lists it."""

    # Pressed one after the other.
    keys: tuple[str, ...]
    # Marked with N_, translated where it is shown.
    title: str


SHORTCUTS = (
    Shortcut(("/",), N_("Search")),
    Shortcut(("j",), N_("Next row")),
    Shortcut(("k",), N_("Row before")),
    Shortcut(("g", "w"), N_("Write into the record")),
    Shortcut(("g", "c"), N_("Compare results")),
    Shortcut(("g", "t"), N_("Timeline of the record")),
    Shortcut(("?",), N_("Open or close this list")),
)


def read_shortcut_mode(cookies: Mapping[str, str]) -> str:
    """Return the mode a reader chose; the default for anything else.

    >>> read_shortcut_mode({"keys": "alt"}), read_shortcut_mode({"keys": "<b>"})
    ('alt', 'on')
    """
    choice = read_choice(cookies, SHORTCUT_MODE)
    return choice if choice in SHORTCUT_MODES else next(iter(SHORTCUT_MODES))
