"""Processes of queries: started with little in them, ended when their time is over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ehr_analytics.query_job import QueryJob
from ehr_fhir.errors import (
    EhrError,
    Fault,
    Gone,
    Invalid,
    NotAcceptable,
    TooCostly,
    Unavailable,
    Unprocessable,
)

__all__ = ["QueryAnswer", "run_in_process"]

# Chosen: seconds to start, to load the tables, and to write the table in its format, beside the
# time of the query.
_SECONDS_BESIDE = 30.0
_ERRORS: Mapping[str, type[EhrError]] = {
    kind.__name__: kind for kind in (Invalid, NotAcceptable, TooCostly, Unavailable, Unprocessable)
}
# Chosen: whoever cancels waits for no more than that.
_SECONDS_BETWEEN_LOOKS = 1.0
_TOO_MUCH_MEMORY = "The query needs more memory than it may have: ask for less at a time."


@dataclass(frozen=True)
class QueryAnswer:
    """A table in a format, and how many rows it has."""

    content: bytes
    media_type: str
    rows: int
    # Pseudonyms in the lake, where the job asks for them.
    subjects: tuple[str, ...] = ()


def _never() -> bool:
    return False


def run_in_process(job: QueryJob, is_cancelled: Callable[[], bool] = _never) -> QueryAnswer:
    """Run a query in a process of its own, within its limits of time and memory.

    Its process is ended as soon as `is_cancelled` says so, which is asked once a second.
    """
    limits = job.limits
    # The command line and the environment name nothing of the job, which others could read.
    with subprocess.Popen(
        [sys.executable, "-m", "ehr_analytics.query_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # What a library prints may quote a value.
        stderr=subprocess.DEVNULL,
        env=_build_environment(),
    ) as process:
        try:
            output = _await_output(process, job, is_cancelled)
        finally:
            # Of no use to anybody any more, unless it has ended.
            process.kill()
    head, _, content = output.partition(b"\n")
    if process.returncode or not head:
        if process.returncode == -signal.SIGALRM:
            raise TooCostly(f"The query took longer than {limits.seconds:g} s.")
        if process.returncode < 0:
            # A library that gets no memory ends its process.
            raise TooCostly(_TOO_MUCH_MEMORY)
        raise Fault("The process of a query ended without an answer.")
    reply = json.loads(head)
    if "error" in reply:
        kind = _ERRORS.get(reply["error"], Fault)
        raise kind(reply["message"] or _TOO_MUCH_MEMORY)
    subjects = tuple(reply.get("subjects", ()))
    return QueryAnswer(content, reply["media_type"], reply["rows"], subjects)


def _await_output(
    process: subprocess.Popen[bytes], job: QueryJob, is_cancelled: Callable[[], bool]
) -> bytes:
    seconds = job.limits.seconds
    deadline = None if seconds is None else time.monotonic() + seconds + _SECONDS_BESIDE
    sent: bytes | None = job.to_json()
    while True:
        try:
            output, _ = process.communicate(sent, timeout=_SECONDS_BETWEEN_LOOKS)
        except subprocess.TimeoutExpired:
            # What was sent, and what has come, is kept for the next call.
            sent = None
        else:
            return output
        if deadline is not None and time.monotonic() > deadline:
            raise TooCostly("The query took too long: ask for less at a time.")
        if is_cancelled():
            raise Gone("The query was cancelled.")


def _build_environment() -> dict[str, str]:
    # No setting of the gateway, among which are secrets, comes with a query.
    return {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
    }
