"""DuckDB expressions that hash keys under the key of a project, the parameter `$key`."""

from __future__ import annotations

from ehr_analytics.project_dates import ProjectDates

__all__ = ["PSEUDONYM_PATTERN", "rekey_column", "render_note_tags"]

# 32 hexadecimal digits, as `ehr_privacy.deid.pseudonyms` makes them; read alike by RE2 and Java.
PSEUDONYM_PATTERN = "(?i)[0-9a-f]{32}"


def rekey_column(
    name: str,
    sql_type: str,
    is_key: bool,
    dates: ProjectDates | None,
    is_date: bool,
) -> str:
    """Return the SQL of a column as a project reads it.

    Each value of a key is hashed, and any text with a pseudonym in it; dates are in the form.
    """
    column = f'"{name}"'
    item_type = sql_type.removesuffix("[]")
    is_simple = "(" not in item_type.removeprefix("DECIMAL(") and "[" not in item_type
    if not is_simple:
        # A value of many parts is none of a view's: hashed whole, whatever is in it.
        return _hash_value(column)
    if sql_type.endswith("[]"):
        item = _rekey_value("item_", item_type, is_key, dates, is_date)
        return f"list_transform({column}, lambda item_: {item})"
    return _rekey_value(column, item_type, is_key, dates, is_date)


def _rekey_value(
    value: str, item_type: str, is_key: bool, dates: ProjectDates | None, is_date: bool
) -> str:
    if is_key:
        return _hash_value(value)
    shown = value if dates is None else dates.render_value(value, item_type, is_date)
    if item_type != "VARCHAR":
        return shown
    pattern = f"regexp_matches({value}, '{PSEUDONYM_PATTERN}')"
    return f"CASE WHEN {pattern} THEN {_hash_value(value)} ELSE {shown} END"


def _hash_value(value: str) -> str:
    # `||` of nothing is nothing; concat() would give all unknown values one pseudonym.
    return f"sha256($key || CAST({value} AS VARCHAR))"


def render_note_tags(column: str, dates: ProjectDates, patient: str) -> str:
    """Return the SQL of scrubbed notes as a project reads them: `ehr_privacy.text.render_tags`.

    A text in which a pseudonym of the lake stands is hashed whole, as any other. `patient` is the
    expression of the pseudonym of whose note it is.
    """
    digits = "regexp_extract(part_, ':([0-9A-F]{16})', 1)"
    tag = f"' ' || left(sha256($key || ':' || {digits}), 6)"
    head = "regexp_extract(part_, '^[A-Z_]+')"
    tail = "regexp_replace(part_, '^[A-Z_]+(:[0-9A-F]{16})?⟧', ']', 's')"
    part = f"'[' || {head} || CASE WHEN regexp_matches(part_, '^[A-Z_]+:') THEN {tag} ELSE '' END"
    day = dates.render_note_day("substr(part_, 6, 10)", patient)
    date = f"coalesce({day}, '[DATE]') || substr(part_, 17)"
    part = f"CASE WHEN starts_with(part_, 'DATE:') THEN {date} ELSE {part} || {tail} END"
    parts = f"list_transform(string_split({column}, '⟦')[2:], lambda part_: {part})"
    text = f"split_part({column}, '⟦', 1) || list_aggregate({parts}, 'string_agg', '')"
    rendered = f"CASE WHEN contains({column}, '⟦') THEN {text} ELSE {column} END"
    pattern = f"regexp_matches({column}, '{PSEUDONYM_PATTERN}')"
    return f"CASE WHEN {pattern} THEN {_hash_value(column)} ELSE {rendered} END"
