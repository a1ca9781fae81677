"""Where the gateway's processor time goes: `python -m tests.perf.profile_gateway [FOLDER]`.

Runs each measurement of the bench against one worker under py-spy, and prints the functions with
the largest share of samples: alone, and of our own code with what it calls. FOLDER keeps the stacks
for a flame graph.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.perf.gateway import workload
from tests.perf.gateway.bundles import sample
from tests.perf.gateway.servers import Server, ours
from tests.perf.gateway.wrk import Load, press

SECONDS = 8
SHOWN = 15


def main() -> None:
    """Print a table for each kind of request, and keep the stacks for a flame graph."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    data = sample()
    with tempfile.TemporaryDirectory() as folder, ours(Path(folder)) as server:
        workload.seed(server, data)
        imported = workload.import_bundles(server, data)
        loads = {
            "read": workload.reads(imported),
            "search": workload.searches(data, imported),
            "create": workload.creates(data),
            "update": workload.updates(server, data),
        }
        for name, load in loads.items():
            stacks = Path(folder, f"{name}.txt")
            rate = _profile(server, load, stacks)
            sys.stdout.write(f"\n== {name}: {rate:,.0f}/s under the profiler\n")
            sys.stdout.writelines(_top(stacks))
            if out is not None:
                out.mkdir(exist_ok=True)
                (out / stacks.name).write_bytes(stacks.read_bytes())


def _profile(server: Server, load: Load, stacks: Path) -> float:
    spy = subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(server.pid)),
            # Without stopping the server: a paused one looks slower where it waits.
            *("--nonblocking", "--rate", "250", "--duration", str(SECONDS)),
            *("--format", "raw", "--output", str(stacks)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    result = press(server, load, SECONDS + 1)
    spy.wait()
    if result.errors:
        sys.stdout.write(f"{result.errors} of {result.requests} requests went wrong.\n")
    return result.rate


def _top(stacks: Path) -> Iterator[str]:
    """Yield the functions on top of the most stacks, then those of ours anywhere in the most."""
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in stacks.read_text().splitlines():
        frames, _, count = line.rpartition(" ")
        names = [_short(frame) for frame in frames.split(";")]
        alone[names[-1]] += int(count)
        for name in set(names):
            if "  ehr_" in name and "  ehr_cli" not in name:
                within[name] += int(count)
    whole = sum(alone.values())
    for title, found in (("own time", alone), ("ours, with what it calls", within)):
        yield f"-- {title}\n"
        for name, samples in found.most_common(SHOWN if found is alone else 2 * SHOWN):
            yield f"{100 * samples / whole:5.1f} %  {name}\n"


def _short(frame: str) -> str:
    """Shorten `name (path/to/package/file.py:12)` to the name, the file and its folder."""
    name, _, place = frame.partition(" (")
    path, _, _ = place.rstrip(")").rpartition(":")
    return f"{name}  {'/'.join(_tail(Path(path)))}" if path else name


def _tail(path: Path) -> tuple[str, ...]:
    """Return a path from its package on."""
    return path.parts[-3:] if path.parts[-3:][0].startswith("ehr_") else path.parts[-2:]


if __name__ == "__main__":
    main()
