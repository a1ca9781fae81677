"""What reads disclosed is in the log once, wherever a process ends on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ehr_fhir.errors import Unavailable
from ehr_gateway.audit_log.spool import Spool
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS
from tests.lib.audit_writers import event
from tests.unit.audit.conftest import Log

# Keeps events one by one, says so, and never ends by itself.
PROGRAM = """
import itertools, sys
from pathlib import Path
from ehr_gateway.audit_log.spool import Spool
from tests.lib.audit_writers import event

spool = Spool(Path(sys.argv[1]), None)
for number in itertools.count():
    spool.append([event(number)])
    print(number, flush=True)
"""


@pytest.fixture
def log(log_at: Callable[[str], Log]) -> Log:
    """Return an empty log."""
    return log_at("log")


@pytest.fixture
def spool(log: Log, tmp_path: Path) -> Spool:
    """Return files on their way into the log."""
    return Spool(tmp_path / "spool", log.database)


def ids(log: Log) -> list[str]:
    with log.database.read_transaction() as connection:
        return [row[0] for row in connection.execute("SELECT id FROM audit ORDER BY seq")]


def names(count: int) -> list[str]:
    return [f"event-{number}" for number in range(count)]


def files(spool: Spool) -> list[Path]:
    return sorted(spool._folder.glob("*.rows"))


def test_rows_enter_the_log_in_their_order_and_leave_no_file(log: Log, spool: Spool) -> None:
    spool.append([event(0), event(1)])
    spool.append([event(2)])
    assert ids(log) == []

    spool.flush()

    assert ids(log) == names(3)
    assert files(spool) == []
    log.sign()
    assert log.verify().is_intact


def test_many_rows_are_in_the_log_as_they_were_kept(log: Log, spool: Spool) -> None:
    spool.append([event(number) for number in range(123)])

    spool.flush()

    assert ids(log) == names(123)
    assert log.verify().is_intact


def test_nothing_is_carried_twice_after_an_end_before_the_file_was_removed(
    log: Log, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.append([event(0), event(1)])

    def ended(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", ended)
    with pytest.raises(KeyboardInterrupt):
        spool.flush()
    monkeypatch.undo()
    spool.append([event(2)])
    spool.flush()

    assert ids(log) == names(3)
    assert files(spool) == []


def test_nothing_is_lost_when_the_commit_fails(
    log: Log, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.append([event(0)])

    def refused(*_: Any) -> None:
        raise Unavailable("The database is busy.")

    monkeypatch.setattr("ehr_gateway.audit_log.spool.append_rows", refused)
    with pytest.raises(Unavailable):
        spool.flush()
    monkeypatch.undo()
    spool.append([event(1)])
    spool.flush()

    assert ids(log) == names(2)


def test_what_a_killed_process_kept_is_carried_by_another(log: Log, spool: Spool) -> None:
    command = [sys.executable, "-c", PROGRAM, str(spool._folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(200)]
    os.kill(process.pid, signal.SIGKILL)
    rest = process.communicate()[0].splitlines()
    spool.flush()

    kept = len(said) + len(rest)
    # It may have kept one more than it could say.
    assert ids(log) in (names(kept), names(kept + 1))


def test_half_a_row_is_none(log: Log, spool: Spool) -> None:
    spool.append([event(0)])
    (file,) = files(spool)
    with file.open("ab") as added:
        added.write(b'["event-1", 17953')

    spool.flush()

    assert ids(log) == names(1)


def test_rows_that_a_power_cut_spoilt_are_said_to_be_lost(
    log: Log, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    spool.append([event(0)])
    (file,) = files(spool)
    with file.open("ab") as added:
        added.write(bytes(40) + b"\n")
    spool.append([event(1)])

    spool.flush()

    assert ids(log) == names(2)
    assert "1 rows of the audit log were lost" in caplog.text


def test_a_file_that_the_log_refuses_stays_and_is_in_nobodys_way(
    log: Log, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = list(event(0))
    nobody[CONTENT_COLUMNS.index("login")] = None
    spool.append([nobody])
    another = Spool(spool._folder, log.database)
    another.append([event(1)])

    spool.flush()

    assert ids(log) == ["event-1"]
    assert [file.suffix for file in spool._folder.iterdir() if file.name != "lock"] == [".refused"]
    assert "The audit log refuses" in caplog.text


def test_without_room_nothing_is_kept_and_it_is_said(
    log: Log, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.append([event(0)])
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:30]))

    with pytest.raises(Unavailable, match="cannot be written"):
        spool.append([event(7)])
    monkeypatch.undo()
    spool.append([event(1)])
    spool.flush()

    assert ids(log) == names(2)


def test_a_folder_that_cannot_be_written_is_said(log: Log, tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")

    with pytest.raises(Unavailable, match="cannot be written"):
        Spool(tmp_path / "taken", log.database).append([event(0)])


def test_a_long_file_is_closed_and_another_begun(log: Log, spool: Spool) -> None:
    for start in range(0, 3000, 100):
        spool.append([event(number) for number in range(start, start + 100)])

    assert len(files(spool)) > 1
    spool.flush()
    assert ids(log) == names(3000)


def test_the_files_are_for_their_owner_alone(spool: Spool) -> None:
    spool.append([event(0)])

    assert [file.stat().st_mode & 0o777 for file in files(spool)] == [0o600]
    assert spool._folder.stat().st_mode & 0o777 == 0o700


def test_writers_and_carriers_at_once_lose_and_double_nothing(
    log: Log, spool: Spool, tmp_path: Path
) -> None:
    stop = threading.Event()

    def keep(name: int) -> None:
        mine = Spool(tmp_path / "spool", log.database)
        for number in range(200):
            mine.append([(f"{name}-{number}", *event(number)[1:])])

    def carry() -> None:
        mine = Spool(tmp_path / "spool", log.database)
        while not stop.is_set():
            mine.flush()

    carriers = [threading.Thread(target=carry) for _ in range(2)]
    for carrier in carriers:
        carrier.start()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(keep, range(3)))
    stop.set()
    for carrier in carriers:
        carrier.join()
    spool.flush()

    found = ids(log)
    assert len(found) == len(set(found)) == 600
    for name in range(3):
        mine = [one for one in found if one.startswith(f"{name}-")]
        assert mine == [f"{name}-{number}" for number in range(200)]
    log.sign()
    assert log.verify().is_intact
