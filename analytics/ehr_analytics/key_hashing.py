"""DuckDB expressions that hash keys under the key of a project, the parameter `$key`."""

from __future__ import annotations

__all__ = ["PSEUDONYM_PATTERN", "rekey_column", "render_note_tags"]

# 32 hexadecimal digits, as `ehr_privacy.deid.pseudonyms` makes them; read alike by RE2 and Java.
PSEUDONYM_PATTERN = "(?i)[0-9a-f]{32}"


def rekey_column(name: str, sql_type: str, is_key: bool) -> str:
    """Return the SQL of a column: hash each value of a key, and any text with a pseudonym in it."""
    column = f'"{name}"'
    item_type = sql_type.removesuffix("[]")
    is_simple = "(" not in item_type.removeprefix("DECIMAL(") and "[" not in item_type
    if not is_simple:
        # A value of many parts is none of a view's: hashed whole, whatever is in it.
        return _hash_value(column)
    if not is_key and item_type != "VARCHAR":
        return column
    if sql_type.endswith("[]"):
        return f"list_transform({column}, lambda item_: {_rekey_value('item_', is_key)})"
    return _rekey_value(column, is_key)


def _rekey_value(value: str, is_key: bool) -> str:
    if is_key:
        return _hash_value(value)
    pattern = f"regexp_matches({value}, '{PSEUDONYM_PATTERN}')"
    return f"CASE WHEN {pattern} THEN {_hash_value(value)} ELSE {value} END"


def _hash_value(value: str) -> str:
    # `||` of nothing is nothing; concat() would give all unknown values one pseudonym.
    return f"sha256($key || CAST({value} AS VARCHAR))"


def render_note_tags(column: str) -> str:
    """Return the SQL of scrubbed notes as a project reads them: `ehr_privacy.text.render_tags`.

    A text in which a pseudonym of the lake stands is hashed whole, as any other.
    """
    digits = "regexp_extract(part_, ':([0-9A-F]{16})', 1)"
    tag = f"' ' || left(sha256($key || ':' || {digits}), 6)"
    head = "regexp_extract(part_, '^[A-Z_]+')"
    tail = "regexp_replace(part_, '^[A-Z_]+(:[0-9A-F]{16})?⟧', ']', 's')"
    part = f"'[' || {head} || CASE WHEN regexp_matches(part_, '^[A-Z_]+:') THEN {tag} ELSE '' END"
    parts = f"list_transform(string_split({column}, '⟦')[2:], lambda part_: {part} || {tail})"
    text = f"split_part({column}, '⟦', 1) || list_aggregate({parts}, 'string_agg', '')"
    rendered = f"CASE WHEN contains({column}, '⟦') THEN {text} ELSE {column} END"
    pattern = f"regexp_matches({column}, '{PSEUDONYM_PATTERN}')"
    return f"CASE WHEN {pattern} THEN {_hash_value(column)} ELSE {rendered} END"
