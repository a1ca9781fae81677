"""Short writes of words, for tests of the event loop's writers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ehr_fhir.errors import NotFound
from ehr_gateway.database import Connection, JournaledDatabase
from ehr_gateway.transaction.write_batch import BatchWriter
from tests.lib.loops import run

TIMEOUT_S = 20


def put(connection: Connection, text: str) -> str:
    connection.execute("INSERT INTO word VALUES (?)", (text,))
    return text


def refuse(connection: Connection) -> str:
    put(connection, "half")
    raise NotFound("no")


def words(database: JournaledDatabase) -> set[str]:
    with database.read_transaction() as connection:
        return {str(row[0]) for row in connection.execute("SELECT text FROM word")}


def many(writer: BatchWriter, jobs: list[Callable[[Connection], str]]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        writes = asyncio.gather(*map(writer.write, jobs), return_exceptions=True)
        return await asyncio.wait_for(writes, TIMEOUT_S)

    return run(all_of_them())
