"""The commands that a page shows run, in the page's order, in one shell and one scratch folder.

Fences marked `sh` run. Fences marked `sh operator` need root, another machine or a person, and
stay unrun: their syntax is checked, and each `ehr` command in them against the command line's own
declaration. What the scratch folder holds: `.venv`, `ehr.toml` with a free port, a folder
`records` of sample NDJSON, and, where a page names it, `var/demo` as the demo left it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from ehr_cli.command_group import MOUNTED_COMMANDS
from ehr_cli.main import app
from tests.conftest import ROOT
from tests.lib.demo import Demo
from tests.lib.ports import free_port
from tests.lib.postgresql import Cluster

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"```sh([^\n]*)\n(.*?)```", re.S)
# What a page's shell is given first: `make` of a checkout that is set up already, and a server that
# is waited for and stopped before the next one starts.
_PRELUDE = """
set -euo pipefail
make() {
    case "$1" in
        setup | test) ;;
        demo) ehr_up --data var/demo ;;
        *) echo "make $1 is not run here" >&2; return 1 ;;
    esac
}
ehr_up() {
    ehr_down
    # Emptied here: the server's shell may come to it only after the first look.
    : > up.log
    .venv/bin/ehr up "$@" > up.log 2>&1 &
    server=$!
    for _ in $(seq 3000); do
        grep -q "is ready" up.log && return
        kill -0 "$server" || { cat up.log >&2; return 1; }
        sleep 0.1
    done
    echo "the server was not ready in time" >&2
    return 1
}
ehr_down() {
    if [ -n "${server:-}" ]; then kill "$server"; wait "$server" || true; server=; fi
}
trap ehr_down EXIT
"""


def _blocks(page: Path, *, operator: bool) -> list[str]:
    found = _FENCE.findall(page.read_text("utf-8"))
    return [code for marks, code in found if ("operator" in marks) == operator]


# Some dozens of commands, each a process of its own.
SLOW = {"docs/tutorials/first-study.md"}
SHOWN = [page for page in PAGES if _blocks(page, operator=True)]


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


RUN = [
    pytest.param(page, id=_name(page), marks=[pytest.mark.slow] if _name(page) in SLOW else [])
    for page in PAGES
    if _blocks(page, operator=False)
]


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / ".venv").symlink_to(Path(sys.prefix))
    port = free_port()
    (folder / "ehr.toml").write_text(f"port = {port}\n", "utf-8")
    records = folder / "records"
    records.mkdir()
    patient = {"resourceType": "Patient", "id": "pat-1", "gender": "female"}
    (records / "Patient.ndjson").write_text(json.dumps(patient) + "\n", "utf-8")
    yield folder


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_run(
    page: Path, scratch: Path, request: pytest.FixtureRequest
) -> None:
    code = "\n".join(_blocks(page, operator=False))
    environment = {**os.environ, "COLUMNS": "120"}
    if "var/demo" in code or "make demo" in code:
        demo: Demo = request.getfixturevalue("demo")
        shutil.copytree(demo.data, scratch / "var" / "demo")
    if "postgresql" in code:
        cluster: Cluster = request.getfixturevalue("postgresql")
        code = re.sub(r"postgresql://[^\s\"']+", cluster.url(cluster.create()), code)
    port = (scratch / "ehr.toml").read_text("utf-8").split()[-1]
    code = code.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
    code = re.sub(r"^\S*ehr up\b", "ehr_up", code, flags=re.M)

    process = subprocess.Popen(
        ["bash", "-c", _PRELUDE + code],
        cwd=scratch,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=1200)
    finally:
        # Whatever the page left running ends with it.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    assert process.returncode == 0, output[-4000:]


@pytest.mark.parametrize("page", SHOWN, ids=_name)
def test_the_commands_that_an_operator_runs_are_ours_and_well_formed(page: Path) -> None:
    code = "\n".join(_blocks(page, operator=True))

    checked = subprocess.run(["bash", "-n", "-c", code], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr

    joined = code.replace("\\\n", " ")
    for line in re.findall(r"(?:^|\s)(?:\S*/)?ehr ([a-z][^|&;#\n]*)", joined, re.M):
        _check_command(shlex.split(line))


def _check_command(words: list[str]) -> None:
    """Follow the words to a command, then hold the options against those it takes."""
    # Typer's copy of click: groups have `commands`, commands `params`.
    command: Any = get_command(app)
    if words[0] in MOUNTED_COMMANDS:
        command, words = get_command(import_module(MOUNTED_COMMANDS[words[0]][0]).app), words[1:]
    while hasattr(command, "commands"):
        while words and words[0].startswith("--"):
            # Options of the group come before its command.
            option = next((p for p in command.params if words[0] in p.opts), None)
            assert option is not None, f"{command.name} takes no {words[0]}"
            words = words[1 if option.is_flag else 2 :]
        assert words, f"{command.name} needs a command"
        found = command.commands.get(words[0])
        assert found is not None, f"there is no command {words[0]}"
        command, words = found, words[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    named = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert named <= known, f"{command.name} takes no {named - known}"


def test_every_shell_fence_says_whether_it_runs() -> None:
    """An unmarked fence with our commands would be neither run nor checked."""
    unmarked = []
    for page in PAGES:
        for marks, code in re.findall(r"```([^\n]*)\n(.*?)```", page.read_text("utf-8"), re.S):
            if not marks.startswith("sh") and re.search(r"^(\S*/)?(ehr|make) [a-z]", code, re.M):
                unmarked.append(f"{_name(page)}: {code.splitlines()[0]}")
    assert unmarked == []
