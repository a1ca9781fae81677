"""A list of numbers as one parameter, so that a statement is the same whatever stands in the list.

Written into the text, each list would be a statement of its own, planned anew.
"""

from __future__ import annotations

from collections.abc import Iterable

from ehr_gateway.database.connection import Dialect

__all__ = ["encode_list", "in_list"]


def in_list(dialect: Dialect, name: str) -> str:
    """Say in SQL that what stands before is one of a list.

    >>> f"pk {in_list('sqlite', 'pks')}", f"pk {in_list('postgresql', 'pks')}"
    ('pk IN (SELECT value FROM json_each(:pks))', 'pk = ANY(:pks)')
    """
    if dialect == "sqlite":
        return f"IN (SELECT value FROM json_each(:{name}))"  # noqa: S608 - a name of ours
    return f"= ANY(:{name})"


def encode_list(dialect: Dialect, numbers: Iterable[int]) -> str:
    """Return a list as the value of a parameter.

    >>> encode_list("sqlite", [3, 4]), encode_list("postgresql", [3, 4])
    ('[3,4]', '{3,4}')
    """
    begin, end = "[]" if dialect == "sqlite" else "{}"
    return f"{begin}{','.join(map(str, numbers))}{end}"
