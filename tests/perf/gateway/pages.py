"""Puts what a bench printed into docs/explanation/performance.md, when asked: PUBLISH=1."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

__all__ = ["publish"]

_PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "performance.md"


def publish(name: str, text: str) -> None:
    """Replace what stands between the marks of this name; say when and on what it was measured."""
    if os.environ.get("PUBLISH") != "1":
        return
    page = _PAGE.read_text("utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    said = f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {_machine()}"
    content = f"```text\n{said}\n{text.strip(chr(10))}\n```\n"
    _PAGE.write_text(before + begin + content + end + after, "utf-8")


def _machine() -> str:
    names = (
        line.partition(": ")[2]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return (
        f"{os.cpu_count()} shared cores of {next(names, platform.machine())}, load {load},"
        f" Python {platform.python_version()}"
    )
