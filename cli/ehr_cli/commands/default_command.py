"""Commands one of which needs no name: `ehr restore DIR` beside `ehr restore confirm`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

__all__ = ["DEFAULT", "DefaultCommandGroup"]

# The name of the command that is meant where none is named.
DEFAULT = "run"


class DefaultCommandGroup(TyperGroup):
    """Runs the command `run` where the first word names no other."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command's name in front.

        Typer keeps its class of contexts private, hence Any.
        """
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = [DEFAULT, *args]
        return list(super().parse_args(ctx, args))
