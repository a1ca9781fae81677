"""Ages of 90 and more: few people have one, so that it goes into one class."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ehr_privacy.text.entities import Entity

__all__ = ["OLDEST_AGE_CLASS", "find_ages"]

OLDEST_AGE_CLASS = "90+"
_AGE = re.compile(
    r"(?<![\w./])(?P<age>9\d|1[0-2]\d)(?:"
    r"(?=[ -]?(?:year|yr|y/o|yo\b|y\.o|[岁歲]))"
    r"|(?=[ ]?/?[ ]?[MF]\b))"
    r"|(?i:\b(?:aged?|M/|F/|M|F)[ /]{0,2})(?P<after>9\d|1[0-2]\d)(?![\d./%])"
    r"|(?P<han>[九]十[一二三四五六七八九]?|一百[〇零]?[一二三四五六七八九十]{0,3})(?=[岁歲])"
)


def find_ages(narrow: str) -> Iterator[Entity]:
    """Yield the ages of 90 and more of a narrow text.

    >>> [(found.start, found.end) for found in find_ages("A 93-year-old man, BP 98/60")]
    [(2, 4)]
    """
    for match in _AGE.finditer(narrow):
        name = next(name for name, value in match.groupdict().items() if value)
        yield Entity(*match.span(name), "AGE", 0.9)
