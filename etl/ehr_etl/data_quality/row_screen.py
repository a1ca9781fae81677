"""A screen before Great Expectations: do some rows plainly meet the expectations of each row?

Great Expectations takes some 0.1 s of processor time for a table, however few the rows, and most
batches have no fault. So it is asked only where a row fails here. Whatever the screen does not
know, such as another kind of expectation or another type of column, counts as not met.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["are_plainly_met"]

# Values that are there, and the parameters of an expectation, to whether all values meet it.
_Check = Callable[[Sequence[Any], Mapping[str, Any]], bool]  # Any: values of any type


def are_plainly_met(rows: pa.Table, expectations: Iterable[Mapping[str, Any]]) -> bool:
    """Say whether all rows meet expectations of each row, named as Great Expectations does.

    >>> rows = pa.table({"id": ["a1", "a2", None]})
    >>> regex = {"type": "expect_column_values_to_match_regex",
    ...     "kwargs": {"column": "id", "regex": "^a[0-9]$"}}
    >>> are_plainly_met(rows, [regex])
    True
    >>> present = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}}
    >>> are_plainly_met(rows, [regex, present])
    False
    """
    return all(_is_met(rows, expectation) for expectation in expectations)


def _is_met(rows: pa.Table, expectation: Mapping[str, Any]) -> bool:
    kwargs = {name: value for name, value in expectation["kwargs"].items() if name != "column"}
    column = expectation["kwargs"].get("column")
    if column not in rows.column_names:
        return False
    values = rows.column(column)
    is_missing = pc.is_null(values, nan_is_null=True)
    if expectation["type"] == _NOT_NULL:
        return not kwargs and not pc.any(is_missing).as_py()
    check = _CHECKS.get(expectation["type"])
    # Other expectations are about the values that are there.
    return check is not None and check(values.filter(pc.invert(is_missing)).to_pylist(), kwargs)


def _are_unique(values: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    return not kwargs and _are_text(values) and len(set(values)) == len(values)


def _are_matching(values: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if kwargs.keys() != {"regex"} or not _are_text(values):
        return False
    pattern = re.compile(kwargs["regex"])
    return all(pattern.search(value) for value in values)


def _are_in_set(values: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    return (
        kwargs.keys() == {"value_set"} and _are_text(values) and {*values} <= {*kwargs["value_set"]}
    )


def _are_between(values: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if kwargs.keys() != {"min_value", "max_value"}:
        return False
    least, most = kwargs["min_value"], kwargs["max_value"]
    return all(isinstance(value, int) and least <= value <= most for value in values)


def _are_text(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


_NOT_NULL = "expect_column_values_to_not_be_null"
_CHECKS: Mapping[str, _Check] = MappingProxyType(
    {
        "expect_column_values_to_be_unique": _are_unique,
        "expect_column_values_to_match_regex": _are_matching,
        "expect_column_values_to_be_in_set": _are_in_set,
        "expect_column_values_to_be_between": _are_between,
    }
)
