"""Regular expressions in linear time (RE2), since pattern and text may both be hostile.

FHIRPath leaves the dialect to the engine (N1 §5.6, "implementation-specific"). RE2 has no
look-around and no back-references: they need backtracking, by which `^(a+)+$` takes time
exponential in the length of the text. Its classes `\\d`, `\\s` and `\\w` are ASCII's.

Time is linear in the text but also in the size of the pattern, so that a match is counted as steps
beforehand. RE2 takes up to 10 ns for each character and each step of the compiled pattern (measured
on a million letters: 36 s for `(a?){900}b` of 3,605 steps, 2 ms for `(a+)+$`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import re2

from ehr_fhir.errors import Invalid

__all__ = ["LinearPattern", "compile_pattern"]

# Bytes of one compiled pattern and its automaton: `.{1,1000}` fits, `(.{1,1000}){5}` does not.
_MAX_MEMORY = 1 << 20
# Characters times steps of a pattern that count as one step of an evaluation. Its half million
# steps are then 2.5 seconds at the most.
_WORK_PER_STEP = 500
# FHIRPath writes groups as Java does: $1 and ${name}.
_GROUP = re.compile(r"\$(?:\{(\w+)\}|(\d))")


class LinearPattern:
    """A compiled pattern; it calls `count_steps` before each search, which may raise TooCostly."""

    def __init__(self, pattern: str) -> None:
        options = re2.Options()
        # A point is any character, line ends too (N1 §5.6: single-line mode).
        options.dot_nl = True
        options.log_errors = False
        options.max_mem = _MAX_MEMORY
        try:
            self._compiled: Any = re2.compile(pattern, options)
        except (re2.error, UnicodeEncodeError):
            raise Invalid(
                "The regular expression is not one that this engine reads: look-around,"
                " back-references and very large counts are not served."
            ) from None
        self._size: int = self._compiled.programsize

    def matches_part(self, text: str, count_steps: Callable[[int], None]) -> bool:
        """Return whether some part of a text matches."""
        return self._search(self._compiled.search, text, count_steps)

    def matches_whole(self, text: str, count_steps: Callable[[int], None]) -> bool:
        """Return whether the whole of a text matches."""
        return self._search(self._compiled.fullmatch, text, count_steps)

    def replace(
        self, text: str, template: str, count_steps: Callable[[int], None]
    ) -> Iterator[str]:
        """Yield the pieces of a text in which each match is replaced.

        Raises Invalid when the template names a group that the pattern does not have.
        """
        parts = self._parse_template(template)
        end = 0
        count_steps(self._count_match_steps(len(text)))
        for match in self._compiled.finditer(_check_unicode(text)):
            # The next search may read the whole rest of the text.
            count_steps(self._count_match_steps(len(text) - match.end()))
            yield text[end : match.start()]
            yield "".join(part if isinstance(part, str) else match[part[0]] or "" for part in parts)
            end = match.end()
        yield text[end:]

    def _search(
        self, search: Callable[[str], object], text: str, count_steps: Callable[[int], None]
    ) -> bool:
        count_steps(self._count_match_steps(len(text)))
        return search(_check_unicode(text)) is not None

    def _count_match_steps(self, characters: int) -> int:
        return characters * self._size // _WORK_PER_STEP

    def _parse_template(self, template: str) -> list[str | tuple[int | str]]:
        """Split a template into texts and groups; a group is a tuple of its number or name."""
        parts: list[str | tuple[int | str]] = []
        end = 0
        for match in _GROUP.finditer(template):
            group: int | str = match[1] or int(match[2])
            names = self._compiled.groupindex
            if group not in names and not (
                isinstance(group, int) and group <= self._compiled.groups
            ):
                raise Invalid("The substitution of `replaceMatches()` names no such group.")
            parts += [template[end : match.start()], (group,)]
            end = match.end()
        return [*parts, template[end:]]


# Each may hold up to `_MAX_MEMORY`.
@lru_cache(64)
def compile_pattern(pattern: str) -> LinearPattern:
    """Compile a pattern; raise Invalid for syntax that RE2 does not have."""
    return LinearPattern(pattern)


def _check_unicode(text: str) -> str:
    """Return a text; raise Invalid for half a surrogate pair, which RE2's UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Invalid("A regular expression is asked of a text that is no Unicode.") from None
    return text
