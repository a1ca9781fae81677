"""A load that is killed at any point and run again ends with the tables of an undisturbed one."""

from __future__ import annotations

import gzip
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ehr_gateway.store.store import Store
from tests.lib.store import rows

FULL_TEXT_PAGES = ("full_text_data", "full_text_idx", "full_text_config")
# The process kills itself after the first commit with which there are so many resources.
SCRIPT = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from ehr_inbound.bulk_files.load import load
from ehr_gateway.store.store import Store

class KilledStore(Store):
    @contextmanager
    def write_transaction(self):
        with super().write_transaction() as connection:
            yield connection
        with self.read_transaction() as connection:
            (count,) = connection.execute("SELECT COUNT(*) FROM resource").fetchone()
        if count >= int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    store = KilledStore(Path(sys.argv[1])) if len(sys.argv) > 3 else Store(Path(sys.argv[1]))
    load(store, [Path(sys.argv[2])], workers=2, clock=lambda: 1_790_000_000_000)
"""


@pytest.fixture
def export(tmp_path: Path, shared_data: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    whole = shared_data / "synthea-r4-bulk-47"
    for name in ("Organization", "Location", "Practitioner", "Patient", "Encounter", "Condition"):
        content = gzip.decompress((whole / f"{name}.ndjson.gz").read_bytes())
        (folder / f"{name}.ndjson").write_bytes(content)
    return folder


def tables(path: Path) -> dict[str, list[tuple[object, ...]]]:
    store = Store(path)
    names = [name for (name,) in rows(store, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {
        name: sorted(rows(store, f"SELECT * FROM {name}"), key=repr)
        for name in names
        # The key that signs cursors is each store's own; how the words are laid out in pages, too.
        # How many words each record has stands in `full_text_docsize`, which is compared.
        if name not in ("setting", "sqlite_sequence", "full_text", *FULL_TEXT_PAGES)
    }
    store.close()
    return found


def count(path: Path) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM resource").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def run(script: Path, *words: object) -> int:
    return subprocess.run([sys.executable, str(script), *map(str, words)], check=False).returncode


def test_a_killed_load_is_resumed(tmp_path: Path, export: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    undisturbed, killed = tmp_path / "a" / "ehr.db", tmp_path / "b" / "ehr.db"
    assert run(script, undisturbed, export) == 0

    assert run(script, killed, export, 1000) == -signal.SIGKILL
    half = count(killed)
    assert run(script, killed, export) == 0

    assert 1000 <= half < count(undisturbed)
    expected, actual = tables(undisturbed), tables(killed)
    assert expected.keys() == actual.keys()
    for name, content in expected.items():
        assert actual[name] == content, name
