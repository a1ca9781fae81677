"""Names of people in Chinese characters, by lexicons of names and the words around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from ehr_privacy.text.alternatives import join_alternatives
from ehr_privacy.text.entities import Entity
from ehr_privacy.text.lexicon import Lexicon, load_lexicon

__all__ = ["find_chinese_names"]

_MOST_GIVEN = 2


def find_chinese_names(folded: str) -> Iterator[Entity]:
    """Yield the names of people in Chinese characters of a folded text (`fold_characters`)."""
    finder = _chinese_finder()
    for match in finder.surname.finditer(folded):
        entity = finder.measure(folded, match)
        if entity is not None:
            yield entity


@cache
def _chinese_finder() -> _ChineseFinder:
    return _ChineseFinder(load_lexicon())


class _ChineseFinder:
    def __init__(self, lexicon: Lexicon) -> None:
        self.surname = re.compile(join_alternatives(lexicon.surnames))
        self._given = lexicon.given_characters
        self._titles = lexicon.compile_chinese("titles", "(?:{})")
        self._cues = lexicon.compile_chinese("cues", r"(?:{})[\s::(是叫为,，]{{0,2}}$")
        self._after = lexicon.compile_chinese("after", "(?:{})")
        self._acts = lexicon.compile_chinese("acts", r"(?:于\w\w)?(?:{})")
        self._ordinary = lexicon.compile_chinese("ordinary", "(?:{})")

    def measure(self, text: str, match: re.Match[str]) -> Entity | None:
        """Return the name that begins with a surname, if it is one."""
        start, end = match.span()
        if self._ordinary.match(text, start):
            return None
        before = text[max(0, start - 6) : start]
        has_cue = self._cues.search(before) is not None
        is_bounded = not before or not _is_han(before[-1])
        for given in range(_MOST_GIVEN, -1, -1):
            stop = end + given
            name = text[end:stop]
            if len(name) < given or not all(map(_is_han, name)):
                continue
            title = self._titles.match(text, stop)
            known = all(character in self._given for character in name)
            if title is not None and (known or has_cue or given < 2):
                return Entity(start, stop, "PERSON", 0.8 if given else 0.7)
            # Yu is mostly the preposition of the same form.
            acts = match.group() != "于" and self._acts.match(text, stop) is not None
            is_ended = acts or not _is_han_at(text, stop) or bool(self._after.match(text, stop))
            likely = any(character in self._given for character in name)
            likely = likely and given > 1
            is_alone = acts or (is_bounded and is_ended)
            if not given or not (
                known or (has_cue and (is_ended or likely)) or (is_alone and likely)
            ):
                continue
            if has_cue:
                return Entity(start, stop, "PERSON", 0.7)
            if acts or (is_bounded and is_ended and (given == 2 or not _is_han_at(text, stop))):
                return Entity(start, stop, "PERSON", 0.55)
        return None


def _is_han_at(text: str, at: int) -> bool:
    return at < len(text) and _is_han(text[at])


def _is_han(character: str) -> bool:
    return "\u3400" <= character <= "\u9fff" or "\U00020000" <= character <= "\U0002ffff"
