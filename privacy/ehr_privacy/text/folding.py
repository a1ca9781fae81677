"""Texts folded for matching, character by character, so that every offset stays the same."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from ehr_fhir.string_folding import fold_text

__all__ = ["HAN", "SqueezedText", "fold_characters", "narrow_text", "squeeze_text"]

# One Chinese character.
HAN = r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0002ffff]"
_HAN = re.compile(HAN)


class _Table(dict[int, str]):
    """Character -> the one character that it is matched as; kept when it first occurs."""

    def __init__(self, is_folded: bool) -> None:
        super().__init__()
        self._is_folded = is_folded

    def __missing__(self, code: int) -> str:
        character = chr(code)
        narrow = unicodedata.normalize("NFKC", character)
        after = narrow if len(narrow) == 1 else character
        if self._is_folded and after.isalnum():
            folded = fold_text(after)
            after = folded if len(folded) == 1 else after
        elif _HAN.match(after):
            # Patterns are written in traditional characters, and compiled by this table too.
            after = fold_text(after)
        self[code] = after
        return after


_NARROW, _FOLDED = _Table(is_folded=False), _Table(is_folded=True)


def narrow_text(text: str) -> str:
    """Return a text with full-width forms narrow and traditional characters simplified.

    Case stays.

    >>> narrow_text("Ａ１２３４５６（３） 陳大文")
    'A123456(3) 陈大文'
    """
    return text.translate(_NARROW)


def fold_characters(text: str) -> str:
    """Return a text without case, accents, widths and traditional forms, of the same length.

    >>> fold_characters("Zoë CHAN, 陳大文")
    'zoe chan, 陈大文'
    """
    return text.translate(_FOLDED)


@dataclass(frozen=True)
class SqueezedText:
    """The letters and digits of a text, folded; `offsets` says where each one was."""

    text: str
    offsets: tuple[int, ...]


def squeeze_text(folded: str) -> SqueezedText:
    """Return the letters and digits alone of a text that is folded.

    A name matches then however it is divided: Tai Man, Tai-man, TAIMAN.

    >>> squeeze_text("chan, tai-man")
    SqueezedText(text='chantaiman', offsets=(0, 1, 2, 3, 6, 7, 8, 10, 11, 12))
    """
    offsets = tuple([at for at, character in enumerate(folded) if character.isalnum()])
    return SqueezedText("".join([folded[at] for at in offsets]), offsets)
