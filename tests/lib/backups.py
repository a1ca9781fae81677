"""Backups and restores of the tests' houses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage.x25519

from ehr_gateway.backup.create import BackupPlan, BackupReport, create_backup
from ehr_gateway.backup.restore import RestorePlan, RestoreReport, restore_backup
from ehr_gateway.backup.sealing import Identity, Recipient
from ehr_gateway.settings import GatewaySettings
from tests.lib.gateway import House, _opened

_KEY = pyrage.x25519.Identity.generate()
IDENTITY = Identity(_KEY)
RECIPIENT = Recipient(str(_KEY.to_public()), _KEY.to_public())
OTHER_IDENTITY = Identity(pyrage.x25519.Identity.generate())


def back_up(house: House, folder: Path, **options: Any) -> BackupReport:
    """Back a house up while it is open."""
    return create_backup(BackupPlan(house.settings, folder, (RECIPIENT,), **options))


def restore(
    folder: Path, settings: GatewaySettings, identity: Identity = IDENTITY, **options: Any
) -> RestoreReport:
    """Restore the newest backup, or the one that is named."""
    return restore_backup(RestorePlan(folder, identity, settings, **options))


def restored_settings(house: House, data: Path) -> GatewaySettings:
    """Return the settings of a house that is to be restored into another folder and database."""
    url = house.settings.database_url
    return replace(house.settings, data=data, database_url=url and url.replace("?", "_again?", 1))


@contextmanager
def open_house(house: House, settings: GatewaySettings) -> Iterator[House]:
    """Open a restored house under the clock of the one it was."""
    again = House(settings.data, database_url=settings.database_url, clock=house.clock)
    again.clock = house.clock
    with _opened(again):
        yield again


def rows(house: House, table: str) -> list[tuple[Any, ...]]:
    """Return the rows of a table, in order of all their columns."""
    with house.gateway.store.read_transaction() as connection:
        found = [tuple(row) for row in connection.execute(f"SELECT * FROM {table}").fetchall()]
    return sorted(found, key=repr)


def drop_folder(path: Path) -> None:
    """Lose a disk."""
    shutil.rmtree(path)
