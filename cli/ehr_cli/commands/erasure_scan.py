"""Scan of every file, table and object store for what is left of an erased patient."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from ehr_cli.settings import Settings

if TYPE_CHECKING:
    from ehr_etl.erasure.byte_search import ByteSearch
    from ehr_etl.erasure.certificate import Certificate
    from ehr_gateway.settings import GatewaySettings

__all__ = ["scan_everything"]

# Copies of databases in the system's temporary folder, left by a check or a scan that was killed.
_COPIES = ("ehr-reading-*", "ehr-scan-*")
_NOT_SCANNED = (
    "backups, which are encrypted: a restore erases the patient again before it serves",
    "the journal of what was closed, which is encrypted",
    "topics of a message broker, where the lake is fed by one: they keep lines for their own time",
)
_NOT_SCANNED_POSTGRESQL = "the PostgreSQL server's own files, write-ahead log and replicas"
_NOT_SCANNED_CLUSTER = "scratch files on the machines of the Spark cluster"
_NOT_SCANNED_STORE = (
    "earlier versions of objects, and uploads cut short, where the lake's object store keeps them"
)


def scan_everything(
    settings: Settings, erasure: str, search: ByteSearch, shared: int, swept: dict[str, int]
) -> Certificate:
    """Scan the data folder, the lake's store and the database; return the certificate of it."""
    from ehr_cli.commands.lake_access import open_lake
    from ehr_cli.data_folder import gateway_settings
    from ehr_etl.erasure.certificate import Certificate
    from ehr_etl.erasure.folder_scan import FolderScan, scan_folder, scan_storage
    from ehr_etl.erasure.lake_erasure import list_lake_tables

    chosen = gateway_settings(settings)
    sealed = [
        str(path.relative_to(settings.data))
        for path in (settings.data / "erasures").glob("*.sealed")
    ]
    scan = FolderScan()
    scan_folder(scan, settings.data, search, left_out=sealed)
    if not chosen.audit_folder.resolve().is_relative_to(settings.data.resolve()):
        scan_folder(scan, chosen.audit_folder, search, within="audit-log/")
    for pattern in _COPIES:
        for folder in sorted(Path(gettempdir()).glob(pattern)):
            scan_folder(scan, folder, search, within=f"{folder}/")
    not_scanned = list(_NOT_SCANNED)
    lake = open_lake(settings)
    if lake.tables_url:
        scan_storage(scan, lake, search, list_lake_tables(lake))
        not_scanned.append(_NOT_SCANNED_STORE)
    if not settings.spark_master.startswith("local"):
        not_scanned.append(_NOT_SCANNED_CLUSTER)
    if chosen.database_url is not None:
        for table, pieces in _read_postgresql(chosen):
            scan.add_stream("PostgreSQL", table, pieces, search)
        not_scanned.append(_NOT_SCANNED_POSTGRESQL)
    return Certificate(
        erasure=erasure,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        texts=len(search.texts),
        shared_texts=shared,
        scan=scan,
        swept=swept,
        not_scanned=not_scanned,
    )


def _read_postgresql(settings: GatewaySettings) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield each table of the database, and its rows as bytes."""
    import psycopg
    from psycopg import sql

    with psycopg.connect(str(settings.database_url)) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
        ).fetchall()
        for (table,) in tables:
            cursor = connection.cursor(name="scan")
            cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
            yield (
                table,
                (
                    b"\0".join(
                        value if isinstance(value, bytes) else str(value).encode() for value in row
                    )
                    for row in cursor
                ),
            )
            cursor.close()
