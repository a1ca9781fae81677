"""Process of a researcher's own code: takes its tables, isolates itself, then runs the code.

In: on standard input a line of JSON (`SandboxJob`), then each table as Parquet. Out: one line of
JSON on a descriptor of its own: whether it ended well, and the class of the error where that is one
of Python's own. What the code prints goes into a log that stays inside.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from ehr_analytics.process_memory import read_data_size
from ehr_analytics.sandbox.isolation import (
    end_with_parent,
    enter_namespaces,
    forbid_calls,
    limit_resources,
    restrict_files,
)

__all__ = ["main"]


def main() -> None:
    """Run the job of standard input."""
    answer = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    head = json.loads(sys.stdin.buffer.readline())
    contents = {name: sys.stdin.buffer.read(size) for name, size in head["tables"]}
    sys.stdin.close()
    code, work = head["code"], Path(head["work"])
    os.environ.clear()
    os.environ.update({"HOME": str(work), "MPLCONFIGDIR": str(work), "LC_ALL": "C.UTF-8"})
    os.chdir(work)
    # Before any library is imported: Landlock and the filter hold for the thread that asks and for
    # those it starts. A pool of threads that was there before would read any file for the code.
    is_alone = len(os.listdir("/proc/self/task")) == 1
    has_namespaces = is_alone and enter_namespaces()
    end_with_parent(head["parent"])
    layers = {
        "namespaces": has_namespaces,
        "files": is_alone and restrict_files(_list_readable(), [work]),
        "calls": is_alone and forbid_calls(),
    }
    outcome: dict[str, object] = {"layers": layers, "ended": False, "error": ""}
    if layers["files"] and layers["calls"]:
        tables = _read_tables(contents)
        limit_resources(
            read_data_size() // 2**20 + head["memory_mb"], head["seconds"], head["output_mb"]
        )
        outcome["error"] = _run(code, {"tables": tables, "outputs": work})
        outcome["ended"] = not outcome["error"]
    for printed in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            printed.flush()
    answer.write(json.dumps(outcome))
    answer.flush()
    # No code of the researcher's runs at the end: nothing registered, no destructor.
    os._exit(0)


def _read_tables(contents: dict[str, bytes]) -> dict[str, Any]:
    import matplotlib
    import pyarrow.parquet

    matplotlib.use("agg")
    return {
        name: pyarrow.parquet.read_table(io.BytesIO(content)).to_pandas()
        for name, content in contents.items()
    }


def _run(code: str, names: dict[str, Any]) -> str:
    """Run the code; return the class of its error, empty when it ended well."""
    try:
        exec(compile(code, "study.py", "exec"), {"__name__": "__main__", **names})  # noqa: S102
    except BaseException as error:
        # Only names that Python itself has: a class of the code's own could be called anything.
        kind = type(error)
        own = getattr(builtins, kind.__name__, None) is kind
        return kind.__name__ if own else "Exception"
    return ""


def _list_readable() -> list[Path]:
    """Return what libraries read: their own files, the machine's size, devices without content."""
    paths = {Path(path) for path in sys.path if path}
    paths |= {Path(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib", "purelib")}
    system = ("/usr/lib", "/lib", "/lib64", "/usr/share/zoneinfo", "/usr/share/fonts")
    paths |= {Path(path) for path in system}
    paths |= {Path("/proc/cpuinfo"), Path("/proc/meminfo"), Path("/proc/self/status")}
    paths |= {Path("/sys/devices/system/cpu"), Path("/sys/fs/cgroup")}
    paths |= {Path("/dev/null"), Path("/dev/urandom")}
    return sorted(path for path in paths if path.exists())


if __name__ == "__main__":
    main()
