"""Compile one value of a search parameter to a condition on the columns of its index table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ehr_fhir.references import local_target, relative_reference
from ehr_fhir.search.filters import Clause
from ehr_fhir.search.value_parser import SearchValue
from ehr_fhir.search_parameters import SearchParameter
from ehr_fhir.string_folding import normalize_string, shorten_for_index
from ehr_fhir.token_keys import folded_key, search_keys
from ehr_fhir.units import CANONICAL_SYSTEM
from ehr_gateway.database import Dialect
from ehr_gateway.database.array_literal import array_literal
from ehr_gateway.search.value_sets import CODE_SET_MODIFIERS

__all__ = [
    "Params",
    "clause_conditions",
    "clause_table",
    "count_condition",
    "instant_condition",
    "starts_with",
    "value_condition",
    "value_tables",
]

# Prefixes of dates (R4 §3.1.1.4.3): how the stored range [low, high) compares to the searched one,
# in epoch milliseconds. Conditions name `low` wherever they can, even if `high` alone would do,
# because it is the first column of the tables' keys.
_DATE_CONDITIONS = {
    "eq": "low >= {low} AND low < {high} AND high <= {high}",
    "ne": "NOT (low >= {low} AND low < {high} AND high <= {high})",
    "gt": "high > {high}",
    "lt": "low < {low}",
    "ge": "(high > {high} OR (low >= {low} AND high <= {high}))",
    "le": "low < {high} AND (low < {low} OR high <= {high})",
    "sa": "low >= {high}",
    "eb": "low < {low} AND high <= {low}",
    "ap": "low < {high} AND high > {low}",
    "po": "low < {high} AND high > {low}",
}
# The same for a column that holds an instant, a range of one millisecond.
_INSTANT_CONDITIONS = {
    "eq": "({it} >= {low} AND {it} < {high})",
    "ne": "({it} < {low} OR {it} >= {high})",
    "gt": "{it} >= {high}",
    "lt": "{it} < {low}",
    "ge": "{it} >= {low}",
    "le": "{it} < {high}",
    "sa": "{it} >= {high}",
    "eb": "{it} < {low}",
    "ap": "({it} >= {low} AND {it} < {high})",
    "po": "({it} >= {low} AND {it} < {high})",
}
# A stored number is exact, or a range with both its ends; comparisons use the exact value.
_NUMBER_CONDITIONS = {
    "eq": "low >= {low} AND low < {high} AND high < {high}",
    "ne": "NOT (low >= {low} AND high < {high})",
    "gt": "high > {exact}",
    "lt": "low < {exact}",
    "ge": "high >= {exact}",
    "le": "low <= {exact}",
    "sa": "low > {exact}",
    "eb": "low < {exact} AND high < {exact}",
    "ap": "low <= {high} AND high >= {low}",
}

# Conditions to count in place of the exact ones when a candidate list's length is estimated: near
# enough, and a range of `low` alone, so that the index answers them.
_COUNT_CONDITIONS = {
    "date": {"gt": "low >= {high}", "ge": "low >= {low}", "ap": "low >= {low} AND low < {high}"},
    "number": {
        "gt": "low > {exact}", "ge": "low >= {exact}", "ap": "low >= {low} AND low <= {high}"
    },
}  # fmt: skip

# Both databases limit the number of parameters.
_MAX_BOUND_CODES = 500
# Index table by modifier or type, where it has another name.
_INDEX_TABLES = {"identifier": "token", "special": "position", "text": "string"}


@dataclass
class Params:
    """The parameters of a statement, with the request's instant and the server's base URL."""

    now_ms: int
    # References may name resources of this server by absolute URLs.
    base: str = ""
    values: dict[str, object] = field(default_factory=dict)
    dialect: Dialect = "sqlite"

    def bind(self, value: object) -> str:
        """Bind a value to a new name and return its placeholder."""
        name = f"q{len(self.values)}"
        self.values[name] = value
        return f":{name}"


def value_condition(params: Params, kind: str, clause: Clause, value: SearchValue) -> str:
    """Return the condition on the columns of an index table, by its kind."""
    return _CONDITIONS[kind](params, clause, value)


def clause_table(clause: Clause) -> str:
    """Return the index table that a clause asks, without its prefix."""
    kind = clause.parameter.type
    return _INDEX_TABLES.get(clause.modifier or "", _INDEX_TABLES.get(kind, kind))


def value_tables(parameter: SearchParameter) -> tuple[str, ...]:
    """Return the index tables of which a parameter that has any value has a row."""
    kind = _INDEX_TABLES.get(parameter.type, parameter.type)
    # A reference by identifier alone is indexed among the tokens; a value that no search finds,
    # such as a code's text, among the references.
    return ("reference", "token") if kind == "reference" else (kind, "reference")


def clause_conditions(params: Params, clause: Clause) -> list[str]:
    """Return conditions on the columns of the clause's table, one of which must hold."""
    if clause.parameter.type == "token" and clause.modifier in CODE_SET_MODIFIERS:
        return any_token_conditions(params, clause)
    kind = clause_table(clause)
    return [value_condition(params, kind, clause, value) for value in clause.values]


def any_token_conditions(params: Params, clause: Clause) -> list[str]:
    """Return conditions, one for each system, that a token is one of the clause's codes."""
    # The system of a plain `code` is fixed by its definition and not in the index.
    plain = clause.parameter.datatypes <= {"code"}
    by_system: dict[str | None, list[str]] = {}
    for value in clause.values:
        codes = by_system.setdefault(None if plain else value.system, [])
        codes += _token_keys(clause, value) if value.code is not None else []
    tests = []
    for system, codes in by_system.items():
        named = [_is_one_of(params, codes)] if codes else []
        named += [f"system = {params.bind(system)}"] if system is not None else []
        tests.append(" AND ".join(named) or "TRUE")
    return tests or ["FALSE"]


def _is_one_of(params: Params, codes: list[str]) -> str:
    """Return the condition that `code` is in a list; a long one is a single parameter."""
    if len(codes) <= _MAX_BOUND_CODES:
        return f"code IN ({', '.join(map(params.bind, codes))})"
    if params.dialect == "sqlite":
        return f"code IN (SELECT value FROM json_each({params.bind(json.dumps(codes))}))"  # noqa: S608
    return f"code = ANY(CAST({params.bind(array_literal(codes))} AS text[]))"


def count_condition(params: Params, kind: str, value: SearchValue) -> str | None:
    """Return the condition to count in place of an exact one that no index answers; else None."""
    if kind == "date" and value.prefix in _COUNT_CONDITIONS["date"]:
        return _COUNT_CONDITIONS["date"][value.prefix].format(**_bind_interval(params, value))
    if kind in ("number", "quantity") and value.prefix in _COUNT_CONDITIONS["number"]:
        return _COUNT_CONDITIONS["number"][value.prefix].format(**_bind_number(params, value))
    return None


def instant_condition(params: Params, column: str, value: SearchValue) -> str:
    """Return the condition on a column that holds an instant, such as `last_updated`."""
    return _INSTANT_CONDITIONS[value.prefix].format(it=column, **_bind_interval(params, value))


def starts_with(params: Params, column: str, text: str) -> str:
    """Return the condition that a column's text starts with another."""
    # A range, unlike LIKE, uses the key; no character sorts after U+10FFFF.
    end = params.bind(text + "\U0010ffff")
    return f"{column} >= {params.bind(text)} AND {column} < {end}"


def _bind_interval(params: Params, value: SearchValue) -> dict[str, str]:
    low, high = value.low, value.high
    if value.prefix == "ap":
        margin = abs(params.now_ms - low) // 10
        low, high = low - margin, high + margin
    return {"low": params.bind(int(low)), "high": params.bind(int(high))}


def _date(params: Params, clause: Clause, value: SearchValue) -> str:
    return _DATE_CONDITIONS[value.prefix].format(**_bind_interval(params, value))


def _bind_number(params: Params, value: SearchValue) -> dict[str, str]:
    low, high = value.low, value.high
    if value.prefix == "ap":
        margin = abs(value.exact) / 10
        low, high = min(low, value.exact - margin), max(high, value.exact + margin)
    limits = {"low": low, "high": high, "exact": value.exact}
    return {name: params.bind(limit) for name, limit in limits.items()}


def _number(params: Params, clause: Clause, value: SearchValue) -> str:
    return _NUMBER_CONDITIONS[value.prefix].format(**_bind_number(params, value))


def _quantity(params: Params, clause: Clause, value: SearchValue) -> str:
    test = _number(params, clause, value)
    if value.system is not None:
        system, code = params.bind(value.system), params.bind(value.code)
        return f"{test} AND system = {system} AND code = {code}"
    # As written, not in base units.
    test = f"{test} AND system <> {params.bind(CANONICAL_SYSTEM)}"
    if value.code is not None:
        name = params.bind(value.code)
        return f"{test} AND (code = {name} OR unit = {name})"
    return test


def _reference(params: Params, clause: Clause, value: SearchValue) -> str:
    if value.url is not None and params.base:
        local = local_target(relative_reference(value.url, params.base))
        value = SearchValue(system=local.type, code=local.id) if local else value
    if clause.modifier == "below":
        return f"target_type = '' AND {_is_below(params, 'target_id', value.url or '')}"
    if value.url is not None:
        return f"target_id = {params.bind(value.url)} AND target_type = ''"
    test = f"target_id = {params.bind(value.code)}"
    if value.system is None:
        # A canonical may be any word, so a word alone may be one.
        word = clause.parameter.datatypes & {"canonical", "uri"}
        return test if word else f"{test} AND target_type <> ''"
    return f"{test} AND target_type = {params.bind(value.system)}"


def _string(params: Params, clause: Clause, value: SearchValue) -> str:
    text = value.code or ""
    if clause.modifier == "exact":
        normal, exact = normalize_string(text), shorten_for_index(text)
        return f"normal = {params.bind(normal)} AND exact = {params.bind(exact)}"
    if clause.modifier == "equals":
        return f"normal = {params.bind(normalize_string(text))}"
    if clause.modifier in ("contains", "ends"):
        pattern = (
            "%"
            + _escape_like(normalize_string(text))
            + ("%" if clause.modifier == "contains" else "")
        )
        return f"normal LIKE {params.bind(pattern)} ESCAPE '!'"
    return starts_with(params, "normal", normalize_string(text))


def _position(params: Params, clause: Clause, value: SearchValue) -> str:
    assert value.point is not None  # noqa: S101 - parse_value has set it
    names = dict(zip("xyz", map(params.bind, value.point), strict=True))
    # A point on the unit sphere: the squared distance along the chord.
    squares = " + ".join(f"({axis} - {name}) * ({axis} - {name})" for axis, name in names.items())
    west, east = (params.bind(value.point[0] + side * value.high) for side in (-1, 1))
    return f"x >= {west} AND x <= {east} AND {squares} <= {params.bind(value.high**2)}"


def _escape_like(text: str) -> str:
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return text


def _token(params: Params, clause: Clause, value: SearchValue) -> str:
    tests = []
    if value.code is not None:
        keys = [params.bind(key) for key in _token_keys(clause, value)]
        tests.append(f"code = {keys[0]}" if len(keys) == 1 else f"code IN ({', '.join(keys)})")
    # The system of a plain `code` is fixed by its definition, so naming it narrows nothing.
    implied = clause.parameter.datatypes <= {"code"} and value.code is not None
    if value.system is not None and not implied:
        tests.append(f"system = {params.bind(value.system)}")
    return " AND ".join(tests)


def _token_keys(clause: Clause, value: SearchValue) -> list[str]:
    """Return the keys that a token may have in the index."""
    code = value.code or ""
    if clause.modifier == "of-type":
        return [folded_key(code)]
    if clause.modifier == "identifier":
        return search_keys({"Identifier"}, value.system, code)
    return search_keys(clause.parameter.datatypes, value.system, code)


def _uri(params: Params, clause: Clause, value: SearchValue) -> str:
    text = value.code or ""
    if clause.modifier == "below":
        return _is_below(params, "value", text)
    if clause.modifier == "above":
        return f"substr(CAST({params.bind(text)} AS TEXT), 1, length(value)) = value"
    return f"value = {params.bind(shorten_for_index(text))}"


def _is_below(params: Params, column: str, text: str) -> str:
    """Return the condition that a URI is below another: by prefix or, in `url|1`, by version."""
    if "|" in text:
        versions = starts_with(params, column, f"{text}.")
        return f"({column} = {params.bind(text)} OR ({versions}))"
    return starts_with(params, column, text)


_CONDITIONS: Mapping[str, Callable[[Params, Clause, SearchValue], str]] = {
    "date": _date,
    "number": _number,
    "position": _position,
    "quantity": _quantity,
    "reference": _reference,
    "string": _string,
    "token": _token,
    "uri": _uri,
}
