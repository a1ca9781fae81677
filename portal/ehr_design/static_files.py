"""The static files of the design: what there is, its media types, and an address that changes.

A file's address holds a digest of its content (`?v=`), so a browser that keeps it still gets the
new one with the first page after an upgrade.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

FOLDER = Path(str(files("ehr_design") / "static"))
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
_FOR_GOOD, _FOR_AN_HOUR = "public, max-age=31536000, immutable", "public, max-age=3600"
# As much of the digest as tells two versions of a file apart. Chosen.
_DIGEST_LENGTH = 12


@cache
def static_path(prefix: str, name: str) -> str:
    """Return the address of a file under the prefix at which it is served."""
    return f"{prefix}/{name}?v={_digest(name)}"


def cache_control(name: str, version: str) -> str:
    """Return how long a browser may keep a file that it asked for with `?v=`.

    With the digest of what is served it never asks again (RFC 8246); any other, of a page from
    before or after an upgrade, for an hour.
    """
    is_same = media_type(name) is not None and version == _digest(name)
    return _FOR_GOOD if is_same else _FOR_AN_HOUR


def media_type(name: str) -> str | None:
    """Return the media type of a file of the design, None if there is no such file.

    >>> media_type("ehr.css"), media_type("../display_settings.py")
    ('text/css; charset=utf-8', None)
    """
    is_file = name in {path.name for path in FOLDER.iterdir()}
    return MEDIA_TYPES.get(Path(name).suffix) if is_file else None


def icon_names() -> list[str]:
    """Return the names of the sprite's icons."""
    sprite = (FOLDER / "icons.svg").read_text("utf-8")
    return re.findall(r'<symbol id="([\w-]+)"', sprite)


def read_themes() -> dict[str, dict[str, str]]:
    """Return the colours of every theme by token, as the style sheet has them.

    "system" is left out: it is one of the others, by what the device says.
    """
    sheet = (FOLDER / "ehr.css").read_text("utf-8")
    themes = {}
    for name, selector in _THEME_SELECTORS.items():
        found = re.search(re.escape(selector) + r"\{(color-scheme:[^}]*)\}", sheet)
        if found is None:
            raise ValueError(f"The style sheet has no theme {name}.")
        themes[name] = dict(re.findall(_COLOUR, found[1]))
    return themes


def token_names() -> list[str]:
    """Return the names of the colour tokens."""
    return list(read_themes()["light"])


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:_DIGEST_LENGTH]


# A colour token and its value: opaque, or of the shadow with a share of black.
_COLOUR = re.compile(r"--ehr-([a-z-]+): ?(#[0-9a-f]{3,8}|rgba\([^)]*\))")
_THEME_SELECTORS = {
    "light": ":root",
    "dark": ":root[data-theme=dark]",
    "contrast": ":root[data-theme=contrast]",
}
