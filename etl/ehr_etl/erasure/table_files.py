"""Files of a Delta table after an erasure: no old data file, no old log entry, no old checkpoint.

Delta keeps the files of earlier versions for readers and recovery, and in its log the least and
greatest values of each. After this a table has its newest version alone, under the number that it
had: one checkpoint, and the data files that it names.
"""

from __future__ import annotations

import re

from ehr_etl.lake import Lake
from ehr_etl.maintenance import list_files_in_use

__all__ = ["drop_old_files", "list_data_files"]

_LOG = "_delta_log/"
_LOG_ENTRY = re.compile(r"(\d{20})\.(?:json|checkpoint(?:\.[\w-]+)*\.(?:json|parquet))")


def drop_old_files(lake: Lake, name: str) -> None:
    """Delete every file of a table that its newest version does not need, half-written ones too.

    Done twice it changes nothing; whoever reads an older version finds its files gone.
    """
    table = lake.open_table(name)
    version = table.version()
    needed = list_files_in_use(table)
    # A checkpoint of before the old files were deleted names them still.
    table.create_checkpoint()
    filesystem, root = lake.open_storage()
    prefix = f"{root}{name}/"
    for info in lake.list_files(name):
        path = info.path.removeprefix(prefix)
        is_kept = _is_current_log(path, version) if path.startswith(_LOG) else path in needed
        if not is_kept:
            filesystem.delete_file(info.path)


def list_data_files(lake: Lake, name: str) -> set[str]:
    """Return the paths of a table's data files in its storage, old ones too."""
    _, root = lake.open_storage()
    paths = (info.path.removeprefix(f"{root}{name}/") for info in lake.list_files(name))
    return {path for path in paths if not path.startswith(_LOG)}


def _is_current_log(path: str, version: int) -> bool:
    """Say whether a file of the log belongs to the newest version.

    >>> _is_current_log("_delta_log/00000000000000000007.json", 7)
    True
    >>> _is_current_log("_delta_log/00000000000000000006.checkpoint.parquet", 7)
    False
    >>> _is_current_log("_delta_log/_last_checkpoint", 7)
    True

    What a killed process had not renamed yet has statistics of its rows as well:

    >>> _is_current_log("_delta_log/00000000000000000008.json#1", 7)
    False
    """
    name = path.removeprefix(_LOG)
    if name == "_last_checkpoint":
        return True
    entry = _LOG_ENTRY.fullmatch(name)
    return entry is not None and int(entry[1]) >= version
