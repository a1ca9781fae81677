"""The portal's style sheet, script and pictures, compressed where that helps.

They hold no secret and nothing that a client sent, so their lengths tell nothing (BREACH). Pages
hold both and are never compressed.
"""

from __future__ import annotations

import gzip
import os
from functools import lru_cache
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Scope

__all__ = ["CompressedStaticFiles"]

_TEXT_SUFFIXES = frozenset({".css", ".js", ".svg", ".txt"})
# Shorter ones fit into one packet of a network, compressed or not. Chosen.
_SHORTEST = 1400


class CompressedStaticFiles(StaticFiles):
    """Static files with a gzip variant, which has an ETag of its own (RFC 9110 §8.8.3)."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return a file, its gzip variant, or 304 to a browser that has it."""
        plain = super().file_response(full_path, stat_result, scope, status_code)
        path = Path(full_path)
        if path.suffix not in _TEXT_SUFFIXES or stat_result.st_size < _SHORTEST:
            return plain
        plain.headers.add_vary_header("Accept-Encoding")
        request = Request(scope)
        if not _takes_gzip(request.headers.get("accept-encoding", "")):
            return plain
        headers = {
            **plain.headers,
            "content-encoding": "gzip",
            "etag": plain.headers["etag"].removesuffix('"') + '-gzip"',
        }
        headers.pop("content-length", None)
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return NotModifiedResponse(Headers(headers))
        return Response(_compress_file(path, stat_result.st_mtime_ns), status_code, headers)


def _takes_gzip(header: str) -> bool:
    """Say whether an Accept-Encoding names gzip with a weight above 0.

    >>> _takes_gzip("br, gzip;q=0.5"), _takes_gzip("gzip;q=0"), _takes_gzip("identity")
    (True, False, False)
    """
    for part in header.lower().split(","):
        name, _, weight = part.replace(" ", "").partition(";q=")
        if name == "gzip":
            return weight == "" or weight.strip("0.") != ""
    return False


# Few files; the time of change is part of the key, for those who work on the style sheet.
@lru_cache(maxsize=64)
def _compress_file(path: Path, changed_ns: int) -> bytes:
    return gzip.compress(path.read_bytes(), mtime=0)
