"""The page of `ehr research` names every subcommand with an example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from ehr_analytics.cli import app
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "reference" / "research.md").read_text("utf-8")


def _leaf_commands(command: Any, name: str) -> Iterator[str]:
    # Typer keeps its classes of commands and groups private.
    below = getattr(command, "commands", {})
    if not below:
        yield name
    for child, subcommand in below.items():
        yield from _leaf_commands(subcommand, f"{name} {child}")


def test_every_subcommand_is_described_and_shown() -> None:
    commands = list(_leaf_commands(get_command(app), "ehr research"))
    examples = "\n".join(re.findall(r"```sh[^\n]*\n(.*?)```", PAGE, re.S))

    assert len(commands) >= 14
    assert [name for name in commands if f"`{name}" not in PAGE] == []
    assert [name for name in commands if f"{name}" not in examples] == []
