"""Facts held beside resources: taken whole from the gateway in each run.

The feed has versions. What third parties, patients and stewards said of a record, and what it
inherits from the records that it names, is no part of a version (docs/explanation/consent.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import orjson
import pyarrow as pa

from ehr_etl.change_feed.ndjson import split_lines
from ehr_fhir.errors import Fault

__all__ = ["HELD_FACT_SCHEMA", "HeldFactSource", "pull_held_facts", "unite_held_facts"]

_COLUMNS = ("type", "id", "kind", "value", "source")
HELD_FACT_SCHEMA = pa.schema([(name, pa.string()) for name in _COLUMNS])

HeldFactRow = tuple[str, ...]


@runtime_checkable
class HeldFactSource(Protocol):
    """A feed that has held facts, such as the gateway's."""

    def held_fact_pages(self) -> Iterator[bytes]:
        """Yield pages of NDJSON, a held fact in each line."""
        ...


def pull_held_facts(feed: object) -> frozenset[HeldFactRow]:
    """Return all held facts that a feed has; none of a feed without them."""
    if not isinstance(feed, HeldFactSource):
        return frozenset()
    return frozenset(
        _parse_line(line) for page in feed.held_fact_pages() for line in split_lines(page)
    )


def unite_held_facts(*snapshots: Iterable[HeldFactRow]) -> pa.Table:
    """Return the facts of several snapshots as a table, each once, in a fixed order."""
    rows = sorted({row for snapshot in snapshots for row in snapshot})
    columns = zip(*rows, strict=True) if rows else ((),) * len(_COLUMNS)
    return pa.Table.from_arrays(
        [pa.array(column, pa.string()) for column in columns], schema=HELD_FACT_SCHEMA
    )


def _parse_line(line: bytes) -> HeldFactRow:
    try:
        fact = orjson.loads(line)
        return tuple(str(fact[name]) for name in _COLUMNS)
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        # Without it a record could be open here that is closed there.
        raise Fault("A held fact of the gateway cannot be read: the run has stopped.") from error
