"""Every state in which a kill can leave a folder of Delta tables, from one undisturbed run.

The folder is copied, by links, after each step that changes it: a commit, a checkpoint, a file that
is deleted or put in its place. A commit is several steps within delta-rs, and leaves more: data
files that no log names, and files half written under the name they are staged under, `NAME#1`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

from ehr_etl.lake import Lake

__all__ = ["record_states"]

# C functions that change files, as the interpreter names them: delta-rs's, and the system's.
_STEPS = frozenset(
    (
        *("write", "write_to_deltalake", "create_deltalake", "create_write_transaction"),
        *("create_checkpoint", "cleanup_metadata", "compact_optimize", "set_table_properties"),
        *("rename", "replace", "unlink", "remove", "rmdir", "link", "mkdir"),
    )
)


@contextmanager
def record_states(lake: Lake, folder: Path) -> Iterator[list[Path]]:
    """Copy the lake's folder to numbered folders as the block goes on; yield the list of them."""
    recorder = _Recorder(lake.root, folder)

    def profile(frame: FrameType, event: str, function: Any) -> None:
        if event in ("c_call", "c_return") and getattr(function, "__name__", "") in _STEPS:
            recorder.record()

    def open_storage(self: Lake) -> tuple[Any, str]:
        filesystem, root = _open_storage(self)
        return _WatchedFiles(filesystem, recorder), root

    _open_storage = Lake.open_storage
    recorder.record()
    with patch.object(Lake, "open_storage", open_storage):
        sys.setprofile(profile)
        try:
            yield recorder.states
        finally:
            sys.setprofile(None)
    recorder.record()


class _WatchedFiles:
    """A file system of pyarrow's; the profiler does not see its functions."""

    def __init__(self, filesystem: Any, recorder: _Recorder) -> None:
        self._filesystem, self._recorder = filesystem, recorder

    def delete_file(self, path: str) -> None:
        self._filesystem.delete_file(path)
        self._recorder.record()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._filesystem, name)


class _Recorder:
    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        self.states: list[Path] = []
        self._before: dict[str, int] = {}

    def record(self) -> None:
        """Copy the folder, if it changed, and what a kill would have left in between."""
        profile = sys.getprofile()
        sys.setprofile(None)
        try:
            now = self._list_files()
            if now != self._before:
                new = sorted(name for name in now if self._before.get(name) != now[name])
                logs = [name for name in new if "/_delta_log/" in name]
                data = [name for name in new if name not in logs]
                if self.states and logs:
                    # Killed before the data file had its name, and before the log's had.
                    if data:
                        self._copy("data", half=data, left_out=logs)
                    self._copy("log", half=logs)
                self._copy("whole")
                self._before = now
        finally:
            sys.setprofile(profile)

    def _list_files(self) -> dict[str, int]:
        return {
            os.path.join(folder, name).removeprefix(f"{self.root}/"): os.stat(
                os.path.join(folder, name)
            ).st_ino
            for folder, _, names in os.walk(self.root)
            for name in names
        }

    def _copy(self, moment: str, half: list[str] = [], left_out: list[str] = []) -> None:  # noqa: B006
        state = self.folder / f"{len(self.states):03}-{moment}"
        for name in self._list_files():
            if name in left_out:
                continue
            source, target = self.root / name, state / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if name in half:
                content = source.read_bytes()
                target.with_name(f"{target.name}#1").write_bytes(content)
            elif name.endswith(".partial"):
                # Written again in its place.
                shutil.copyfile(source, target)
            else:
                os.link(source, target)
        self.states.append(state)
