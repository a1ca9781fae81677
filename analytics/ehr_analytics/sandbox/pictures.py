"""Pictures that leave the sandbox: a PNG file's header, palette and pixels, and nothing else."""

from __future__ import annotations

import struct

__all__ = ["keep_picture"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


def keep_picture(content: bytes) -> bytes:
    """Return a PNG file without text, times, profiles and what follows it; empty when it is none.

    >>> keep_picture(b"GIF89a")
    b''
    """
    if not content.startswith(_SIGNATURE):
        return b""
    kept, place = [_SIGNATURE], len(_SIGNATURE)
    while place + 12 <= len(content):
        size, kind = struct.unpack(">I4s", content[place : place + 8])
        if kind in _KEPT:
            kept.append(content[place : place + 12 + size])
        place += 12 + size
        if kind == b"IEND":
            return b"".join(kept)
    return b""
