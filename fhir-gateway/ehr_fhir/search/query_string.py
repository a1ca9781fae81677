"""A query string (`a=b&c=d`) parsed strictly."""

from __future__ import annotations

from urllib.parse import parse_qsl

__all__ = ["MAX_QUERY_PAIRS", "parse_query_pairs"]

# Chosen: more than any search needs, before the pairs are split.
MAX_QUERY_PAIRS = 500


def parse_query_pairs(text: str) -> list[tuple[str, str]]:
    """Return names and values in their order; raise ValueError for bytes that are not UTF-8.

    >>> parse_query_pairs("name=a%20b&_count=")
    [('name', 'a b'), ('_count', '')]
    """
    pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_PAIRS)
    # No database and no resource holds it, so nothing could be meant.
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise ValueError("a character of code 0")
    return pairs
