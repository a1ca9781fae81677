"""Search of bytes for many texts at once, in UTF-8, whatever their case.

Texts are found by their first three bytes in a table of 2**24 bits, and then compared. A text that
JSON may write with escapes, or a URL with percent signs, is looked for in these forms too; a number
as columns of 64 bits hold it, and in digits.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

import numpy as np

__all__ = ["SHORTEST_BYTES", "ByteSearch"]

SHORTEST_BYTES = 4
# Of a long text the beginning is enough; what is cut by a page's end is found by its words.
_LONGEST_BYTES = 64
_PREFIX_BYTES, _KEY_BYTES = 3, 8
_NUMBER_BYTES = 8
_NAME_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-")


@dataclass(frozen=True)
class _Pattern:
    """The bytes to find for a text; an id must end where the bytes' own name ends."""

    content: bytes
    text: str
    is_id: bool = False

    def stands_at(self, lower: bytes, start: int) -> bool:
        if not lower.startswith(self.content, start):
            return False
        if not self.is_id:
            return True
        end = start + len(self.content)
        is_ended = end >= len(lower) or lower[end] not in _NAME_BYTES
        # A database's page may have the id right behind another column's text.
        is_begun = (
            len(self.content) >= _KEY_BYTES or not start or (lower[start - 1] not in _NAME_BYTES)
        )
        return is_ended and is_begun


class ByteSearch:
    """A search for some texts and ids; `found` collects those that were found.

    With `is_once` a text that was found is not looked for again.
    """

    def __init__(
        self,
        texts: Collection[str],
        ids: Collection[str] = (),
        numbers: Collection[int] = (),
        *,
        is_once: bool = False,
    ) -> None:
        # First bytes -> lengths of keys; key -> patterns that begin with it.
        self._lengths: defaultdict[bytes, set[int]] = defaultdict(set)
        self._patterns: defaultdict[bytes, list[_Pattern]] = defaultdict(list)
        self._starts = np.zeros(1 << 24, dtype=bool)
        self._is_once = is_once
        self.texts = frozenset(texts) | frozenset(ids) | frozenset(map(str, numbers))
        self.found: set[str] = set()
        self._longest = 1
        for text in sorted(texts):
            for form in _spell(text):
                self._add(_Pattern(form[:_LONGEST_BYTES].lower(), text))
        for identity in sorted(ids):
            self._add(_Pattern(identity.encode().lower(), identity, is_id=True))
        for number in sorted(numbers):
            self._add(_Pattern(str(number).encode(), str(number), is_id=True))
            for order in ("little", "big"):
                content = number.to_bytes(_NUMBER_BYTES, order, signed=True)
                self._add(_Pattern(content.lower(), str(number)))

    @property
    def overlap(self) -> int:
        """What two pieces of a stream have to share, so that nothing between them is missed."""
        return self._longest

    def search(self, content: bytes) -> set[str]:
        """Return the texts that some bytes hold.

        >>> search = ByteSearch({"Chan Tai", "absent"}, {"p-17"})
        >>> sorted(search.search(b"... chan tai, P-17#")), search.search(b"p-170")
        (['Chan Tai', 'p-17'], set())
        >>> person = ByteSearch((), numbers={7 << 55})
        >>> person.search(b"x" + (7 << 55).to_bytes(8, "little")) == person.texts
        True
        """
        lower = content.lower()
        if len(lower) < SHORTEST_BYTES or not self._patterns:
            return set()
        values = np.frombuffer(lower, dtype=np.uint8).astype(np.uint32)
        prefixes = (values[:-2] << 16) | (values[1:-1] << 8) | values[2:]
        hits: set[str] = set()
        for start in np.flatnonzero(self._starts[prefixes]).tolist():
            for length in self._lengths.get(lower[start : start + _PREFIX_BYTES], ()):
                for pattern in self._patterns.get(lower[start : start + length], ()):
                    if pattern.text not in hits and pattern.stands_at(lower, start):
                        hits.add(pattern.text)
            if self._is_once and hits - self.found:
                self._forget(hits - self.found)
                self.found |= hits
        self.found |= hits
        return hits

    def search_stream(self, pieces: Iterable[bytes]) -> tuple[set[str], int]:
        """Return the texts that a stream of bytes holds, and how many bytes it had."""
        hits: set[str] = set()
        before, size = b"", 0
        for piece in pieces:
            size += len(piece)
            joined = before + piece
            hits |= self.search(joined)
            # One byte more: whether a name began before it.
            before = joined[-self.overlap - 1 :]
        return hits, size

    def _add(self, pattern: _Pattern) -> None:
        if len(pattern.content) < SHORTEST_BYTES:
            return
        key = pattern.content[:_KEY_BYTES]
        self._patterns[key].append(pattern)
        prefix = pattern.content[:_PREFIX_BYTES]
        self._lengths[prefix].add(len(key))
        self._starts[int.from_bytes(prefix, "big")] = True
        self._longest = max(self._longest, len(pattern.content))

    def _forget(self, texts: set[str]) -> None:
        for text in texts:
            for form in _spell(text):
                key = form[:_LONGEST_BYTES].lower()[:_KEY_BYTES]
                kept = [other for other in self._patterns.get(key, ()) if other.text not in texts]
                if kept:
                    self._patterns[key] = kept
                else:
                    self._patterns.pop(key, None)


def _spell(text: str) -> set[bytes]:
    """Return the forms in which a text may be written."""
    escaped = json.dumps(text)[1:-1]
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    return {
        form.encode("utf-8", "surrogatepass")
        for form in (text, escaped, plain, quote(text, safe=""), quote_plus(text))
    }
