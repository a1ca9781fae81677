"""Statements as libpq takes them: placeholders, adapted values, and names of prepared ones.

psycopg's own cursors do this too, at several times the cost: they compose each statement anew and
look it up by its whole text. Here a statement is translated once, and psycopg adapts the values
alone (docs/decisions/010).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer

from ehr_gateway.database.connection import Parameters
from ehr_gateway.database.postgresql_rows import Result, Row, column_indexes
from ehr_privacy.consent import BY_ROW

__all__ = [
    "BINARY",
    "PooledConnection",
    "PreparedStatements",
    "Statement",
    "StatementCall",
    "error_of",
    "send_call",
    "translate",
]

# The format of results: the server sends numbers and bytes as they are.
BINARY = pq.Format.BINARY
# How many statements a connection keeps prepared. Each takes some 0.3 MiB of the server's memory,
# on each connection.
_MAX_PREPARED = 200
_PLACEHOLDER = re.compile(r"\?|(?<!:):([a-z_][a-z0-9_]*)")
# PostgreSQL has no statement with more parameters.
_AUTO = [PyFormat.AUTO] * 65535


@dataclass(frozen=True)
class Statement:
    """A statement with PostgreSQL's placeholders ($1), and the names of its parameters if any."""

    text: str
    names: tuple[str, ...]

    def values(self, parameters: Parameters) -> Sequence[Any]:
        """Return the values in the order of the placeholders."""
        if isinstance(parameters, Mapping):
            return [parameters[name] for name in self.names]
        return parameters


@lru_cache(maxsize=4096)
def translate(sql: str) -> Statement:
    """Translate a statement: `:name` and `?` to `$1`, the hint `/*by row*/` to `OFFSET 0`.

    The hint ends a subquery that must run for each row by itself. An OFFSET is a fence that the
    planner does not move a subquery across; else it might read a whole table for a page of twenty.

    >>> translate("SELECT 1 WHERE a = :one AND b = :two AND c = :one")
    Statement(text='SELECT 1 WHERE a = $1 AND b = $2 AND c = $1', names=('one', 'two'))
    >>> translate("a % 2 = ? AND b = ?").text
    'a % 2 = $1 AND b = $2'
    """
    placeholders: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        # Each `?` is a parameter of its own; a name that occurs again is the same one.
        name = match[1] or f"?{len(placeholders)}"
        return placeholders.setdefault(name, f"${len(placeholders) + 1}")

    text = _PLACEHOLDER.sub(number, sql.replace(BY_ROW, "OFFSET 0"))
    return Statement(text, tuple(placeholders))


@dataclass(slots=True)
class StatementCall:
    """One execution of a statement: its values as libpq takes them, and what must be prepared.

    `name` is None at the first use of a statement, which is then sent as text.
    """

    text: str
    # Bytes, or None for NULL.
    values: Sequence[Any]
    types: tuple[int, ...]
    formats: Sequence[pq.Format]
    name: bytes | None
    # Whether the name is new, so that the statement must be prepared first.
    is_new: bool
    # The name of one that is to be deallocated, so that there are not too many.
    dropped: bytes | None


class PreparedStatements:
    """The statements that one connection has prepared, by their text and the types of values.

    Prepared at the second use: there are few texts and long ones among them, so planning costs more
    than keeping the plan.
    """

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self._adapter = Transformer(raw)
        # Least recently used first.
        self._names: OrderedDict[tuple[str, tuple[int, ...]], bytes] = OrderedDict()
        self._used_once: OrderedDict[tuple[str, tuple[int, ...]], None] = OrderedDict()
        self._last_number = 0

    def call(self, statement: Statement, parameters: Parameters) -> StatementCall:
        """Return how to execute a statement with some values."""
        given = statement.values(parameters)
        adapter = self._adapter
        values = adapter.dump_sequence(given, _AUTO[: len(given)])
        types, formats = adapter.types or (), adapter.formats or ()
        key = statement.text, types
        name = self._names.get(key)
        is_new, dropped = False, None
        if name is not None:
            self._names.move_to_end(key)
        elif key in self._used_once:
            name, is_new, dropped = self._assign_name(key), True, self._drop_oldest()
        else:
            self._used_once[key] = None
            if len(self._used_once) > _MAX_PREPARED:
                self._used_once.popitem(last=False)
        return StatementCall(statement.text, values, types, formats, name, is_new, dropped)

    def forget(self, call: StatementCall) -> None:
        """Forget a statement whose preparation failed."""
        self._names.pop((call.text, call.types), None)

    def read(self, result: pq.abc.PGresult) -> Result:
        """Return the rows of a result; raise the error that it tells."""
        status = result.status
        if status == pq.ExecStatus.TUPLES_OK:
            self._adapter.set_pgresult(result)
            number = result.ntuples
            rows = self._adapter.load_rows(0, number, partial(Row, column_indexes(result)))
            return Result(rows, number)
        if status == pq.ExecStatus.COMMAND_OK:
            return Result((), result.command_tuples or 0)
        raise error_of(result)

    def _assign_name(self, key: tuple[str, tuple[int, ...]]) -> bytes:
        del self._used_once[key]
        self._last_number += 1
        name = self._names[key] = b"ehr_%d" % self._last_number
        return name

    def _drop_oldest(self) -> bytes | None:
        return self._names.popitem(last=False)[1] if len(self._names) > _MAX_PREPARED else None


class PooledConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection of the pool, with the statements that it has prepared."""

    statements: PreparedStatements


def send_call(wire: pq.abc.PGconn, call: StatementCall) -> None:
    """Send a statement without a wait; what it needs prepared was sent before."""
    if call.name is None:
        text = call.text.encode()
        wire.send_query_params(text, call.values, call.types, call.formats, BINARY)
    else:
        wire.send_query_prepared(call.name, call.values, call.formats, BINARY)


def error_of(result: pq.abc.PGresult) -> psycopg.Error:
    """Return the error that a result tells; one without a code is of a lost connection."""
    if result.error_field(pq.DiagnosticField.SQLSTATE):
        return psycopg.errors.error_from_result(result)
    return psycopg.OperationalError(result.get_error_message())
