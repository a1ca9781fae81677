"""DuckDB expressions that hash keys under the key of a project, the parameter `$key`."""

from __future__ import annotations

__all__ = ["PSEUDONYM_PATTERN", "rekey_column"]

# 32 hexadecimal digits, as `ehr_privacy.deid.pseudonyms` makes them; read alike by RE2 and Java.
PSEUDONYM_PATTERN = "(?i)[0-9a-f]{32}"


def rekey_column(name: str, kind: str, rekeyed: bool) -> str:
    column = f'"{name}"'
    item_kind = kind.removesuffix("[]")
    is_simple = "(" not in item_kind.removeprefix("DECIMAL(") and "[" not in item_kind
    if not is_simple:
        # A value of many parts is none of a view's: hashed whole, whatever is in it.
        return _hashed(column)
    if not rekeyed and item_kind != "VARCHAR":
        return column
    if kind.endswith("[]"):
        return f"list_transform({column}, lambda item_: {_rekeyed('item_', rekeyed)})"
    return _rekeyed(column, rekeyed)


def _rekeyed(value: str, rekeyed: bool) -> str:
    if rekeyed:
        return _hashed(value)
    pattern = f"regexp_matches({value}, '{PSEUDONYM_PATTERN}')"
    return f"CASE WHEN {pattern} THEN {_hashed(value)} ELSE {value} END"


def _hashed(value: str) -> str:
    # `||` of nothing is nothing; concat() would give all unknown values one pseudonym.
    return f"sha256($key || CAST({value} AS VARCHAR))"
