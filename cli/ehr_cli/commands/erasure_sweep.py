"""Deletion of files made of a patient's records: runs, exports, models, sessions, releases."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ehr_privacy.deid import pseudonym

if TYPE_CHECKING:
    from ehr_etl.erasure.byte_search import ByteSearch

__all__ = ["forget_in_releases", "sweep_derived_files"]

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
