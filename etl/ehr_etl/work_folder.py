"""Work folders of the lake: copies of rows on this machine, for as long as a command runs.

They lie in the lake's folder and in no folder of the system's, so that what a crash left is found
and deleted by an erasure.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ehr_etl.lake import Lake

__all__ = ["clear_work_folders", "open_work_folder"]

_PREFIX = "work-"


@contextmanager
def open_work_folder(lake: Lake) -> Iterator[Path]:
    """Make a folder that is deleted at the end."""
    lake.root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=_PREFIX, dir=lake.root) as folder:
        yield Path(folder)


def clear_work_folders(lake: Lake) -> None:
    """Delete every work folder, also that of a command which runs: it fails, and may be repeated.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     lake = Lake(Path(folder))
    ...     (lake.root / "work-left").mkdir()
    ...     clear_work_folders(lake)
    ...     list(lake.root.iterdir())
    []
    """
    for folder in lake.root.glob(f"{_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)
