"""`ehr lake erase` and `ehr lake scan`: finish an erasure everywhere, and prove it by a scan.

An erasure is asked for and approved at the gateway, by two people who are logged in (`$purge`,
`$decide-erasure`). These commands take no names of people: they do what was approved.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

import typer

from ehr_cli.settings import Settings
from ehr_fhir.errors import Conflict, NotFound
from ehr_privacy.deid import pseudonym
from ehr_privacy.erasure import hash_patient

if TYPE_CHECKING:
    from ehr_etl.erasure.byte_search import ByteSearch
    from ehr_etl.erasure.certificate import Certificate
    from ehr_gateway.database import Connection
    from ehr_gateway.erasure.sought_texts import SoughtTexts
    from ehr_gateway.settings import GatewaySettings

# Ids as short as this say nothing by themselves: they are looked for with their type alone.
_SHORTEST_BARE_ID = 4
_REFERENCE = re.compile(r"[A-Z][A-Za-z]+/[A-Za-z0-9.\-]{1,64}(?:/_history/\d+)?")
# Rows of the audit log in memory at once. Chosen.
_ROWS = 10_000
_PACKAGES = ("ehr_fhir", "ehr_gateway", "ehr_etl", "ehr_privacy", "ehr_analytics", "ehr_models")
_EXPORTS, _SPARK_FOLDER = "research/exports", "spark"
# Folders whose files are made of records, and may be deleted where they hold the patient's: each
# can be made again.
_DERIVED_FOLDERS = (
    "research/runs",
    "research/released",
    _EXPORTS,
    "mlflow",
    _SPARK_FOLDER,
    "notices",
)
_SESSIONS = "portal-sessions.db"
# Copies of databases in the system's temporary folder, left by a check or a scan that was killed.
_COPIES = ("ehr-reading-*", "ehr-scan-*")
# How long to wait for a process that follows the feed, and applies the erasure by itself. Chosen.
_FOLLOWER_SECONDS = 120.0
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


@dataclass(frozen=True)
class Erasure:
    """An approved erasure: its id, and what a scan looks for while it is not certified."""

    id: str
    hashes: tuple[str, ...]
    sought: SoughtTexts | None


def erase_patient(settings: Settings, patient: str) -> None:
    """Finish the approved erasure of a patient in store, lake, research and models; certify it."""
    erasure = find_erasure(settings, patient)
    certificate = finish_erasure(settings, erasure, lambda text: typer.echo(text, err=True))
    print_certificate(settings, certificate)


def find_erasure(settings: Settings, patient: str) -> Erasure:
    """Return the approved erasure of a patient; NotFound where nobody approved one."""
    from ehr_cli.commands.lake_access import read_erasure_key
    from ehr_cli.data_folder import require_data_folder

    require_data_folder(settings.data)
    key = read_erasure_key(settings.data)
    digest = "" if key is None else hash_patient(key, patient)
    for erasure in list_approved(settings):
        if digest in erasure.hashes:
            return erasure
    raise NotFound(
        "No erasure of this patient was approved. One person asks for it ($purge, or Erasures in "
        "the portal) and another approves it."
    )


def list_approved(settings: Settings) -> list[Erasure]:
    """Return the erasures that were approved, newest first."""
    from ehr_cli.data_folder import gateway_settings
    from ehr_gateway.access_requests.request_rows import select_requests
    from ehr_gateway.erasure.erased_patients import open_erasure_key
    from ehr_gateway.erasure.requests import ERASURE_KIND
    from ehr_gateway.erasure.sought_texts import erasures_folder, read_sought_texts
    from ehr_gateway.store.store import Store

    chosen = gateway_settings(settings)
    with closing(Store(chosen.database, chosen.data)) as store, store.read_transaction() as rows:
        requests = select_requests(
            rows, "kind = :kind AND state IN ('active', 'ended')", kind=ERASURE_KIND
        )
    if not requests:
        return []
    key = open_erasure_key(chosen.keys)
    folder = erasures_folder(chosen.data)
    return [
        Erasure(
            request.id,
            tuple(request.details["hashes"]),
            read_sought_texts(folder, key, request.id),
        )
        for request in requests
    ]


def finish_pending(settings: Settings, say: Callable[[str], None]) -> None:
    """Certify the erasures that the lake has applied and nobody certified yet."""
    if not any((settings.data / "erasures").glob("*.sealed")):
        return
    for erasure in list_approved(settings):
        if erasure.sought is not None:
            certificate = finish_erasure(settings, erasure, say)
            say(f"Erasure {erasure.id}: {certificate.found} files hold something of it.")


def finish_erasure(settings: Settings, erasure: Erasure, say: Callable[[str], None]) -> Certificate:
    """Finish an erasure everywhere and scan for what is left; each step may be done again."""
    from ehr_etl.erasure.certificate import write_certificate
    from ehr_gateway.erasure.sought_texts import delete_sought_texts, erasures_folder
    from ehr_inbound.bulk_files.work_folder import clear_leftovers

    if erasure.sought is None:
        raise Conflict("This erasure is certified already: see Erasures, or its file.")
    clear_leftovers(settings.data)
    say("Writing the database's files anew.")
    _finish_store(settings)
    say("Taking the patient out of the lake.")
    _erase_from_lake(settings, erasure)
    say("Looking through research, models and sessions.")
    search, shared = _open_search(settings, erasure.sought)
    swept = sweep_derived_files(settings.data, search)
    forget_in_releases(settings.data, erasure.sought.patients)
    say("Scanning every file.")
    certificate = _scan(settings, erasure.id, search, shared, swept)
    folder = erasures_folder(settings.data)
    write_certificate(folder, certificate)
    if not certificate.found:
        delete_sought_texts(folder, erasure.id)
    return certificate


def scan_for_patient(settings: Settings, patient: str) -> Certificate:
    """Scan for an id and its pseudonym, at any time, without texts of the record."""
    from ehr_etl.erasure.byte_search import ByteSearch

    reference = f"Patient/{patient}"
    ids = {reference, *([patient] if len(patient) >= _SHORTEST_BARE_ID else ())}
    search = ByteSearch(
        _list_pseudonyms(settings, [reference]), ids, _list_person_keys(settings, [reference])
    )
    return _scan(settings, "scan", search, 0, {})


def print_certificate(settings: Settings, certificate: Certificate) -> None:
    """Show what was scanned; exit with 1 when something was found."""
    from ehr_etl.console_table import print_table

    rows = [
        (place.name, place.files, place.bytes_scanned, len(place.found_in))
        for place in certificate.scan.places.values()
    ]
    print_table(("Place", "Files", "Bytes", "Found"), rows)
    for sentence in certificate.not_scanned:
        typer.echo(f"Not scanned: {sentence}.")
    for name in sorted(certificate.scan.hits):
        typer.echo(f"Found in {name}.", err=True)
    for name in certificate.scan.unreadable:
        typer.echo(f"Cannot be read: {name}.", err=True)
    typer.echo(
        f"{certificate.texts:,} texts sought in {certificate.scan.files:,} files, "
        f"{certificate.scan.bytes_scanned:,} bytes: found in {certificate.found:,}."
    )
    if certificate.found:
        raise typer.Exit(1)


def erase_from_restored(folder: Path, patients: Sequence[str]) -> None:
    """Take patients out of the lake and of other files of a data folder that is being restored."""
    from ehr_etl.erasure.byte_search import ByteSearch
    from ehr_etl.erasure.erased_lines import find_erased
    from ehr_etl.erasure.lake_erasure import erase_from_bronze, erase_from_lake
    from ehr_etl.lake import Lake
    from ehr_etl.pipeline import forget_tables
    from ehr_etl.work_folder import clear_work_folders
    from ehr_gateway.erasure.erased_patients import open_erasure_key

    settings = Settings(data=folder)
    key, lake = open_erasure_key(folder / "keys"), Lake(folder / "lake")
    clear_work_folders(lake)
    references = {f"Patient/{patient}" for patient in patients}
    deid_key = folder / "keys" / "deid.key"
    if lake.has_table("bronze") and deid_key.exists():
        found = find_erased(lake, key, [hash_patient(key, patient) for patient in patients])
        references |= found.targets
        erase_from_lake(lake, found, deid_key.read_bytes())
        forget_tables(lake)
        erase_from_bronze(lake, found)
    search = ByteSearch(
        _list_pseudonyms(settings, references),
        references,
        _list_person_keys(settings, references),
    )
    sweep_derived_files(folder, search)
    forget_in_releases(folder, patients)


# Parts of an erasure.


def _finish_store(settings: Settings) -> None:
    from ehr_cli.data_folder import gateway_settings
    from ehr_gateway.audit_log.service import open_audit_log
    from ehr_gateway.erasure.finish import finish_erasures
    from ehr_gateway.store.store import Store

    chosen = gateway_settings(settings)
    with closing(Store(chosen.database, chosen.data)) as store:
        log = open_audit_log(chosen, store.database, _now_ms)
        finish_erasures(store, chosen, log.spool, _now_ms())


def _erase_from_lake(settings: Settings, erasure: Erasure) -> None:
    from ehr_cli.commands.lake_access import open_lake, open_writer
    from ehr_gateway.erasure.erased_patients import open_erasure_key

    if not open_lake(settings).has_table("bronze"):
        return
    key = open_erasure_key(settings.data / "keys")
    deadline = time.monotonic() + _FOLLOWER_SECONDS
    while True:
        try:
            with open_writer(settings) as writer:
                writer.erase(erasure.hashes, _now_ms())
            return
        except Conflict:
            if time.monotonic() >= deadline:
                raise
            # A process that follows the feed finds the erasure there.
            if _is_out_of_lake(settings, key, erasure.hashes):
                return
            time.sleep(1)


def _is_out_of_lake(settings: Settings, key: bytes, hashes: Collection[str]) -> bool:
    from ehr_cli.commands.lake_access import open_lake
    from ehr_etl.erasure.erased_lines import find_erased

    return not find_erased(open_lake(settings), key, hashes).patients


def _open_search(settings: Settings, sought: SoughtTexts) -> tuple[ByteSearch, int]:
    """Return the search for what was erased, and how many texts are others' too."""
    from ehr_cli.data_folder import gateway_settings
    from ehr_etl.erasure.byte_search import ByteSearch
    from ehr_gateway.store.store import Store

    references = {f"Patient/{patient}" for patient in sought.patients} | set(sought.records)
    # What the patient's records named of others' is no secret of the patient's.
    sought_texts = {text for text in sought.texts if not _REFERENCE.fullmatch(text)} - references
    chosen = gateway_settings(settings)
    with closing(Store(chosen.database, chosen.data)) as store, store.read_transaction() as rows:
        ids = references | {
            identity
            for identity in (reference.partition("/")[2] for reference in references)
            if len(identity) >= _SHORTEST_BARE_ID and not _is_id_of_others(rows, identity)
        }
        of_others = _find_ids_of_others(rows, sought.patients, ids)
        others = ByteSearch(sought_texts, is_once=True)
        others.search_stream(_read_others(rows))
    others.search_stream(_read_product())
    texts = sought_texts - others.found
    texts -= {reference.partition("/")[2] for reference in references}
    search = ByteSearch(
        texts | _list_pseudonyms(settings, references),
        ids - of_others,
        _list_person_keys(settings, references),
    )
    return search, len(others.found) + len(of_others)


def _is_id_of_others(connection: Connection, identity: str) -> bool:
    row = connection.execute("SELECT 1 FROM resource WHERE id = ? LIMIT 1", (identity,))
    return row.fetchone() is not None


def _find_ids_of_others(
    connection: Connection, patients: Collection[str], ids: Collection[str]
) -> set[str]:
    """Return the ids of records that stand in audit events about other patients.

    A record that was another patient's before stays in the events that tell that patient who saw
    it: they cannot be changed, and tell of nobody else.
    """
    from ehr_etl.erasure.byte_search import ByteSearch

    own = {*patients, *(f"Patient/{patient}" for patient in patients)}
    search = ByteSearch((), set(ids) - own, is_once=True)
    after = 0
    while rows := connection.execute(
        "SELECT seq, patient, entities, query FROM audit"
        " WHERE seq > ? AND patient IS NOT NULL ORDER BY seq LIMIT ?",
        (after, _ROWS),
    ).fetchall():
        texts = (f"{row['entities']}\0{row['query']}" for row in rows if row["patient"] not in own)
        search.search("\0".join(texts).encode())
        after = rows[-1]["seq"]
    return search.found


def _read_others(connection: Connection) -> Iterator[bytes]:
    """Yield what the store says of everybody else: records, and names of accounts."""
    for row in connection.execute("SELECT login, display, person FROM account"):
        yield "\0".join(str(value or "") for value in row).encode()
    for row in connection.execute("SELECT DISTINCT login, display, organization FROM audit"):
        yield "\0".join(str(value or "") for value in row).encode()
    after = 0
    while rows := connection.execute(
        "SELECT pk, body FROM resource WHERE pk > ? ORDER BY pk LIMIT 1000", (after,)
    ).fetchall():
        yield b"\0".join(bytes(row["body"]) for row in rows)
        after = rows[-1]["pk"]


def _read_product() -> Iterator[bytes]:
    """Yield the product's own files: what stands in them tells of nobody."""
    from ehr_etl.erasure.file_contents import read_contents

    for package in _PACKAGES:
        spec = find_spec(package)
        for folder in spec.submodule_search_locations or () if spec else ():
            for path in sorted(Path(folder).rglob("*")):
                if path.is_file() and path.suffix != ".pyc":
                    yield from read_contents(path)


def _list_pseudonyms(settings: Settings, references: Iterable[str]) -> set[str]:
    """Return the pseudonyms of records: the lake's, and those of each project."""
    key_file = settings.data / "keys" / "deid.key"
    if not key_file.exists():
        return set()
    key, references = key_file.read_bytes(), set(references)
    found = {pseudonym(key, reference) for reference in references}
    found |= set(map(str, _list_person_keys(settings, references)))
    keys = [path.read_text("ascii") for path in (settings.data / "keys/research").glob("*.key")]
    return found | {
        hashlib.sha256(f"{project}{value}".encode()).hexdigest()
        for project in keys
        for value in found
    }


def _list_person_keys(settings: Settings, references: Iterable[str]) -> set[int]:
    """Return the numbers by which OMOP's tables know the patients among some references."""
    from ehr_etl.omop.identifiers import person_key

    key_file = settings.data / "keys" / "deid.key"
    if not key_file.exists():
        return set()
    key = key_file.read_bytes()
    people = (reference for reference in references if reference.startswith("Patient/"))
    return {person_key(pseudonym(key, reference)) for reference in people}


def sweep_derived_files(data: Path, search: ByteSearch) -> dict[str, int]:
    """Delete files made of records that hold something of the patient; return how many, by place.

    Of the portal's sessions those rows alone go that do.
    """
    swept: dict[str, int] = {}
    for name in _DERIVED_FOLDERS:
        folder = data / name
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            is_database = path.suffix in (".db", ".db-wal", ".db-shm")
            if path.is_symlink() or not path.is_file() or is_database:
                continue
            if _is_to_sweep(path, search, name):
                if name == _EXPORTS:
                    # Its other files may hold rows of theirs without a key to find them by.
                    shutil.rmtree(path.parent, ignore_errors=True)
                path.unlink(missing_ok=True)
                swept[name] = swept.get(name, 0) + 1
                _record_in_register(data, path)
    if count := _sweep_sessions(data / _SESSIONS, search):
        swept[_SESSIONS] = count
    return swept


def _is_to_sweep(path: Path, search: ByteSearch, folder: str) -> bool:
    """Say whether a file holds something of the patient; so may what Spark left half-written."""
    from ehr_etl.erasure.file_contents import read_contents

    if search.search(path.name.encode("utf-8", "surrogateescape")):
        return True
    try:
        return bool(search.search_stream(read_contents(path))[0])
    except FileNotFoundError:
        return False
    except Exception:
        # Of other folders the scan names it.
        return folder == _SPARK_FOLDER


def forget_in_releases(data: Path, patients: Iterable[str]) -> int:
    """Take erased patients out of the sets that released tables are compared by."""
    from ehr_analytics.disclosure.release_history import ReleaseHistory
    from ehr_analytics.register import Register

    deid_key = data / "keys" / "deid.key"
    if not deid_key.exists() or not (data / "keys" / "releases.key").exists():
        return 0
    key = deid_key.read_bytes()
    return ReleaseHistory(Register(data)).forget(
        [pseudonym(key, f"Patient/{patient}") for patient in patients]
    )


def _sweep_sessions(path: Path, search: ByteSearch) -> int:
    from ehr_gateway.erasure.database_files import rewrite_sqlite_file

    if not path.exists():
        return 0
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        rows = connection.execute("SELECT key, body FROM session").fetchall()
        keys = [(key,) for key, body in rows if search.search(str(body).encode())]
        connection.executemany("DELETE FROM session WHERE key = ?", keys)
    rewrite_sqlite_file(path)
    return len(keys)


def _record_in_register(data: Path, path: Path) -> None:
    """Tell the log of a study's project that a file of a run was deleted."""
    from ehr_analytics.register import Register
    from ehr_analytics.run_log import get_run

    parts = path.relative_to(data).parts
    if parts[:2] != ("research", "runs"):
        return
    register = Register(data)
    run = get_run(register, parts[2])
    with register.transaction() as connection:
        register.append_event(
            connection, run.project, "ehr-commons", "erase", run=run.id,
            detail={"file": "/".join(parts[3:])},
        )  # fmt: skip


def _scan(
    settings: Settings, erasure: str, search: ByteSearch, shared: int, swept: dict[str, int]
) -> Certificate:
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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
