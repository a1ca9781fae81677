"""A researcher's own code in a process of its own: what it may use, and what comes out."""

from __future__ import annotations

import builtins
import contextlib
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ehr_analytics.held_lock import is_held
from ehr_fhir.errors import Unavailable, Unprocessable

__all__ = ["SandboxLimits", "SandboxResult", "run_sandboxed"]

_NAME_LENGTH = 64
# A folder of a run, and the file that its process locks: of one that was killed nobody holds it.
_PREFIX, _LOCK = "ehr-sandbox-", "lock"
# Chosen: far longer than between the making of a folder and its lock.
_SECONDS_TO_LOCK = 60.0
# Chosen: to import the libraries and read the tables.
_SECONDS_BESIDE = 60


@dataclass(frozen=True)
class SandboxLimits:
    """What the code may use: memory beside the libraries', time, and the size of a file."""

    memory_mb: int = 2048
    seconds: int = 300
    output_mb: int = 16


@dataclass(frozen=True)
class SandboxResult:
    """How the code ended, and the declared files that it wrote.

    `error` is the name of one of Python's own exceptions and nothing else: its text, the line and
    what was printed may hold values of rows. `log` is what was printed; it stays inside.
    """

    error: str
    files: Mapping[str, bytes]
    log: bytes
    layers: Mapping[str, bool]


def run_sandboxed(
    code: str,
    tables: Mapping[str, bytes],
    outputs: Sequence[str],
    limits: SandboxLimits = SandboxLimits(),
) -> SandboxResult:
    """Run code on tables (Parquet) and return the declared outputs that it wrote.

    Unavailable where the machine has neither Landlock nor a filter of calls.
    """
    for name in outputs:
        if Path(name).name != name or not 0 < len(name) <= _NAME_LENGTH or name.startswith("."):
            raise Unprocessable("An output is a file's name, without a folder.")
    _remove_what_a_kill_left()
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX) as scratch,
        (Path(scratch) / _LOCK).open("wb") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        work, log = Path(scratch) / "work", Path(scratch) / "log"
        work.mkdir()
        head = {
            "code": code,
            "work": str(work),
            "parent": os.getpid(),
            "tables": [[name, len(content)] for name, content in tables.items()],
            "memory_mb": limits.memory_mb,
            "seconds": limits.seconds,
            "output_mb": limits.output_mb,
        }
        given = json.dumps(head).encode() + b"\n" + b"".join(tables.values())
        outcome = _run_worker(given, log, limits)
        if not (outcome.layers.get("files") and outcome.layers.get("calls")):
            raise Unavailable(
                "This machine cannot isolate code: it needs Landlock (Linux 5.13) and seccomp."
            )
        files = {name: _read_output(work / name, limits) for name in outputs}
        return SandboxResult(
            error=outcome.error,
            files={name: content for name, content in files.items() if content is not None},
            log=log.read_bytes()[: limits.output_mb * 2**20],
            layers=outcome.layers,
        )


def _remove_what_a_kill_left() -> None:
    """Remove the folders of runs whose process was killed: what code wrote may hold rows."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # Gone meanwhile, or another account's.
        with contextlib.suppress(OSError):
            is_new = time.time() - folder.stat().st_mtime < _SECONDS_TO_LOCK
            if not is_new and not is_held(folder / _LOCK):
                shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _Outcome:
    error: str
    layers: Mapping[str, bool]


def _run_worker(given: bytes, log: Path, limits: SandboxLimits) -> _Outcome:
    reading, writing = os.pipe()
    with log.open("wb") as printed:
        worker = subprocess.Popen(  # noqa: S603 - our own interpreter and words
            [sys.executable, "-I", "-c", _START, os.pathsep.join(sys.path), str(writing)],
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=printed,
            env={"LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "2"},
            cwd="/",
            pass_fds=(writing,),
            start_new_session=True,
        )
    os.close(writing)
    started = time.monotonic()
    try:
        worker.communicate(given, timeout=limits.seconds + _SECONDS_BESIDE)
    except subprocess.TimeoutExpired:
        pass
    finally:
        worker.kill()
        worker.wait()
    with os.fdopen(reading, "rb") as answer:
        text = answer.read(65_536)
    is_slow = time.monotonic() - started > limits.seconds
    try:
        outcome = json.loads(text)
        error, layers = str(outcome["error"]), dict(outcome["layers"])
    except (ValueError, TypeError, KeyError):
        # Ended by a limit; the layers stood, or it would have said so.
        return _Outcome("TimeoutError" if is_slow else "MemoryError", dict(_STRONG_LAYERS))
    # The code has the descriptor too, and may write there what it likes.
    is_of_python = isinstance(getattr(builtins, error, None), type)
    return _Outcome(error if is_of_python or not error else "Exception", layers)


_STRONG_LAYERS = {"files": True, "calls": True}
_START = (
    "import sys; sys.path[:] = sys.argv[1].split(':'); sys.argv[1:] = sys.argv[2:]; "
    "from ehr_analytics.sandbox.worker import main; main()"
)


def _read_output(path: Path, limits: SandboxLimits) -> bytes | None:
    """Return the content of a regular file; a link could lead anywhere once the code is out."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as content:
        if not stat.S_ISREG(os.fstat(content.fileno()).st_mode):
            return None
        return content.read(limits.output_mb * 2**20)
