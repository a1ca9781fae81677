"""TOML tables whose every key is known, and every fault named with its place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ehr_fhir.errors import Unprocessable

# Names become columns of a frame, and of files that other programs read.
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class TomlTable:
    """A TOML table that says of each fault where it is."""

    def __init__(
        self,
        table: Mapping[str, Any],  # Any: values are checked where they are read
        place: str,
    ) -> None:
        self._table, self.place = table, place

    def keys(self) -> tuple[str, ...]:
        """Return the keys that are there."""
        return tuple(self._table)

    def has(self, key: str) -> bool:
        """Say whether a key is there."""
        return key in self._table

    def require_keys(self, *known: str) -> None:
        """Refuse keys that are not known."""
        if unknown := sorted(set(self._table) - set(known)):
            raise Unprocessable(
                f"{self.place}: unknown key {', '.join(unknown)}; known are {', '.join(known)}."
            )

    def read_text(self, key: str, *, optional: bool = False) -> str:
        """Return a text; an optional one that is not there is empty."""
        if optional and key not in self._table:
            return ""
        return str(self._read(key, str, "a text"))

    def read_flag(self, key: str) -> bool:
        """Return true or false; false where it is not there."""
        return key in self._table and bool(self._read(key, bool, "true or false"))

    def read_number(self, key: str, *, optional: bool = False) -> float | None:
        """Return a number; None where an optional one is not there."""
        if optional and key not in self._table:
            return None
        return _check_number(self._read(key, object, "a number"), f"{self.place}.{key}")

    def read_texts(self, key: str, *, optional: bool = False) -> tuple[str, ...]:
        """Return a list of texts; an optional one that is not there is empty."""
        if optional and key not in self._table:
            return ()
        found: Sequence[object] = self._read(key, list, "a list of texts")
        if not found or not all(isinstance(one, str) for one in found):
            raise Unprocessable(f"{self.place}.{key}: give a list of texts.")
        return tuple(str(one) for one in found)

    def read_table(self, key: str) -> TomlTable:
        """Return a table."""
        return TomlTable(self._read(key, dict, "a table"), key)

    def read_tables(self, key: str) -> dict[str, TomlTable]:
        """Return tables by their names; none where the key is not there."""
        if key not in self._table:
            return {}
        tables = self._read(key, dict, "tables with a name each")
        for name, table in tables.items():
            if not _NAME.fullmatch(name) or not isinstance(table, dict):
                raise Unprocessable(
                    f"{key}.{name}: give a table whose name has small letters, digits and _."
                )
        return {name: TomlTable(table, f"{key}.{name}") for name, table in tables.items()}

    def read_numbers(self, key: str) -> dict[str, float]:
        """Return a number for each text."""
        table = self._read(key, dict, "a table of texts and their numbers")
        return {text: _check_number(value, f"{self.place}.{key}") for text, value in table.items()}

    def read_labels(self, key: str) -> dict[str, str]:
        """Return a text for each text."""
        table = self._read(key, dict, "a table of texts and their labels")
        if not all(isinstance(value, str) for value in table.values()):
            raise Unprocessable(f"{self.place}.{key}: give a text for each text.")
        return dict(table)

    def _read(self, key: str, kind: type[object], words: str) -> Any:  # Any: a value of that kind
        if key not in self._table:
            raise Unprocessable(f"{self.place}: the key {key} is missing; give {words}.")
        if not isinstance(self._table[key], kind):
            raise Unprocessable(f"{self.place}.{key}: give {words}.")
        return self._table[key]


def _check_number(value: object, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unprocessable(f"{place}: give a number.")
    return float(value)
