"""Words as the alternatives of a regular expression."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["join_alternatives"]


def join_alternatives(words: Iterable[str]) -> str:
    """Return a regular expression that matches any of some words, the longest where several do.

    >>> join_alternatives(["Sha Tin", "Sha Tin Wai"])
    'Sha\\\\ Tin\\\\ Wai|Sha\\\\ Tin'
    """
    return "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
