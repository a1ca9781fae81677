"""The commands of research, without Spark."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ehr_analytics.cli import app
from tests.lib.research import ANY_PLATFORM

PROJECT = ("new", "submit", "show", "approve", "return", "open", "close", "list", "log")
AIRLOCK = ("list", "check", "evidence", "approve", "reject", "release")
COMMANDS = [*(("project", c) for c in PROJECT), *(("airlock", c) for c in AIRLOCK), ("run",)]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"])

    assert shown.exit_code == 0
    assert "Example" in shown.output and "--data" in shown.output


def test_a_project_goes_its_way_by_commands(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))

    def ehr(*words: str) -> str:
        result = CliRunner().invoke(app, [*words, *data], obj=ANY_PLATFORM)
        assert result.exit_code == 0, result.output
        return result.output

    ehr(
        "project", "new", "falls", "--title", "Falls", "--purpose", "Who falls?",
        "--ethics", "REC-7", "--as", "researcher.lau", "--item", "encounter_flat.patient_id",
        "--until", "2099-12-31",
    )  # fmt: skip
    ehr("project", "submit", "falls", "--as", "researcher.lau")
    read = ("--digest", ehr("project", "show", "falls").split("Digest: ")[1].strip())
    assert "1 of 2" in ehr("project", "approve", "falls", "--as", "steward.ng", *read)
    ehr("project", "approve", "falls", "--as", "auditor.tse", *read)
    assert "open" in ehr("project", "open", "falls", "--as", "auditor.tse")
    assert "falls" in ehr("project", "list")
    assert "auditor.tse" in ehr("project", "log", "falls")
    assert "closed" in ehr("project", "close", "falls", "--as", "steward.ng")
    assert "run" in ehr("airlock", "list")
