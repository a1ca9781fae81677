"""The static files of the design: what there is, its media types, and an address that changes.

A file's address holds a digest of its content (`?v=`), so browsers may keep it for a year and still
get the new one with the first page after an upgrade.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

FOLDER = Path(str(files("ehr_design") / "static"))
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
# As much of the digest as tells two versions of a file apart. Chosen.
_DIGEST_LENGTH = 12


@cache
def static_path(prefix: str, name: str) -> str:
    """Return the address of a file under the prefix at which it is served."""
    digest = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()[:_DIGEST_LENGTH]
    return f"{prefix}/{name}?v={digest}"


def media_type(name: str) -> str | None:
    """Return the media type of a file of the design, None if there is no such file.

    >>> media_type("ehr.css"), media_type("../display_settings.py")
    ('text/css; charset=utf-8', None)
    """
    is_file = name in {path.name for path in FOLDER.iterdir()}
    return MEDIA_TYPES.get(Path(name).suffix) if is_file else None
