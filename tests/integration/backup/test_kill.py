"""Killed at any point, a backup or a restore leaves no half."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ehr_gateway.backup.folder import BackupFolder
from tests.lib.backups import IDENTITY, RECIPIENT, back_up, open_house, restore, restored_settings
from tests.lib.gateway import House

BACKUP = """
import sys
from pathlib import Path
from ehr_gateway.backup.create import BackupPlan, create_backup
from ehr_gateway.backup.sealing import parse_recipients
from ehr_gateway.settings import GatewaySettings
data, folder, key = sys.argv[1:]
print("begin", flush=True)
create_backup(BackupPlan(GatewaySettings(data=Path(data)), Path(folder), parse_recipients(key)))
"""
RESTORE = """
import sys
from pathlib import Path
from ehr_gateway.backup.restore import RestorePlan, restore_backup
from ehr_gateway.backup.sealing import read_identity
from ehr_gateway.settings import GatewaySettings
data, folder, key = sys.argv[1:]
settings = GatewaySettings(data=Path(data))
print("begin", flush=True)
restore_backup(RestorePlan(Path(folder), read_identity(Path(key)), settings))
"""
# When it is killed, in seconds from its begin: a backup and a restore take up to a second.
FEW_DELAYS = (0.05, 0.4, 1.0)
_CHANCE = random.Random(11)
MANY_DELAYS = tuple(_CHANCE.uniform(0.0, 1.2) for _ in range(20))
FEW_OR_MANY = pytest.mark.parametrize(
    "delays", [FEW_DELAYS, pytest.param(MANY_DELAYS, marks=pytest.mark.slow)], ids=["few", "many"]
)


@pytest.fixture
def database() -> str:
    return "sqlite"


def kill_after(seconds: float, script: str, *words: object) -> None:
    victim = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert victim.stdout is not None
    assert victim.stdout.readline() == b"begin\n"
    time.sleep(seconds)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    victim.stdout.close()


@FEW_OR_MANY
def test_a_killed_backup_is_none_and_harms_none(
    furnished: House, tmp_path: Path, delays: tuple[float, ...]
) -> None:
    folder = tmp_path / "backups"
    for delay in delays:
        kill_after(delay, BACKUP, furnished.settings.data, folder, RECIPIENT.text)
        backups = BackupFolder(folder)
        for name in backups.list_names():
            backups.verify(backups.read_manifest(name))

    back_up(furnished, folder)
    restore(folder, restored_settings(furnished, tmp_path / "new"))

    with open_house(furnished, restored_settings(furnished, tmp_path / "new")) as again:
        assert again.login("doctor.a").get("Condition/con-1").status_code == 200
    assert list(furnished.settings.data.glob(".backup-copy*")) == []
    assert list(folder.glob("backups/.*")) == []


@FEW_OR_MANY
def test_a_killed_restore_has_done_nothing(
    furnished: House, tmp_path: Path, delays: tuple[float, ...]
) -> None:
    folder, key = tmp_path / "backups", tmp_path / "key"
    key.write_text(str(IDENTITY.key))
    back_up(furnished, folder)
    settings = restored_settings(furnished, tmp_path / "new")
    for delay in delays:
        kill_after(delay, RESTORE, settings.data, folder, key)
        if settings.data.exists():
            # It had come to its end.
            with open_house(furnished, settings) as again:
                assert again.login("doctor.a").get("Condition/con-1").status_code == 200
            shutil.rmtree(settings.data)

    restore(folder, settings)

    with open_house(furnished, settings) as again:
        assert again.login("doctor.a").get("Condition/con-1").status_code == 200
    assert list(tmp_path.glob(".new.restoring")) == []
