"""Unpack gzip within a limit, so that a few bytes do not become gigabytes."""

from __future__ import annotations

import zlib

from ehr_fhir.errors import Invalid

__all__ = ["GzipDecoder"]

# zlib's code for gzip with the largest window.
_GZIP = 16 + zlib.MAX_WBITS


class GzipDecoder:
    """Decodes gzip piece by piece, never to more than is asked for."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._has_begun = False

    def decode(self, data: bytes, most: int) -> bytes:
        """Return what a piece unfolds to, up to `most` bytes; Invalid if it is not gzip."""
        pieces = []
        try:
            while data and most > 0:
                self._has_begun = True
                if self._member.eof:
                    # A file may be several members one after another (RFC 1952 §2.2).
                    self._member = zlib.decompressobj(_GZIP)
                piece = self._member.decompress(data, most)
                most -= len(piece)
                pieces.append(piece)
                data = self._member.unused_data or self._member.unconsumed_tail
        except zlib.error as error:
            raise Invalid("What was sent is not gzip, as it says.") from error
        return b"".join(pieces)

    def check_end(self) -> None:
        """Raise Invalid if what was sent ended within a member."""
        if self._has_begun and not self._member.eof:
            raise Invalid("What was sent as gzip ends too early.")
