"""Places in the log have no gaps and follow the commits, whoever writes, in any process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

from ehr_gateway.audit_log.checkpoints import sign_checkpoint
from ehr_gateway.audit_log.export_folder import LogFolder
from tests.lib.audit_writers import NOW, process, write
from tests.unit.audit.conftest import SIGNER, Log


def sequence(log: Log) -> list[int]:
    with log.database.read_transaction() as connection:
        return [row["seq"] for row in connection.execute("SELECT seq FROM audit ORDER BY seq")]


def test_threads_that_write_and_take_back_leave_no_gap(log_at: Callable[[str], Log]) -> None:
    log = log_at("log")
    with ThreadPoolExecutor(6) as pool:
        kept = sum(pool.map(lambda n: write(log.database, n), range(6)))

    assert sequence(log) == list(range(1, kept + 1))
    log.sign()
    assert log.verify().is_intact


def test_processes_that_write_leave_no_gap_while_checkpoints_are_signed(
    log_at: Callable[[str], Log],
) -> None:
    log = log_at("log")
    done = threading.Event()
    signed: list[int] = []

    def sign() -> None:
        while not done.is_set():
            # A process that starts keeps our files open for a moment, the lock's too.
            found = sign_checkpoint(log.database, log.folder, SIGNER, lambda: NOW)
            signed.extend([found.size] if found else [])

    signer = threading.Thread(target=sign)
    signer.start()
    try:
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            kept = sum(pool.map(process, [log.place] * 2, range(2)))
    finally:
        done.set()
        signer.join()

    assert sequence(log) == list(range(1, kept + 1))
    assert signed == sorted(signed)
    assert log.sign().size == kept
    assert log.verify().is_intact


def test_only_one_process_signs_at_a_time(log: Log) -> None:
    with log.folder.try_lock() as mine:
        assert mine
        other = LogFolder(log.folder.path)

        assert sign_checkpoint(log.database, other, SIGNER, lambda: NOW) is None


def test_every_row_has_a_salt_of_its_own(log: Log) -> None:
    with log.database.read_transaction() as connection:
        salts = [bytes(row[0]) for row in connection.execute("SELECT salt FROM audit")]

    assert len(set(salts)) == len(salts) == 600
    assert {len(salt) for salt in salts} == {16}
