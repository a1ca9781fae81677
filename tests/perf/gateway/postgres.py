"""A PostgreSQL database for one measurement, made on the server that a URL names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg

__all__ = ["scratch_database"]


@contextmanager
def scratch_database(url: str) -> Iterator[str]:
    """Make a database beside the one of the URL, lend its URL, drop it."""
    name = f"ehr_bench_{os.getpid()}"
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")
