"""The group of `ehr`'s commands: lazy import of other packages' commands, errors to exit codes."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from ehr_cli import settings
from ehr_fhir.errors import EhrError, Fault, exit_code

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ehr_analytics.people import Person, Platform
    from ehr_analytics.withheld import ChangedSubjects

# Name -> module and its one line of help.
MOUNTED_COMMANDS: Mapping[str, tuple[str, str]] = {
    "research": ("ehr_analytics.cli", "Research projects: apply, approve, run, release."),
    "study": ("ehr_cli.study", "Studies: check and run a cohort of the typed language."),
    "models": ("ehr_models.cli", "Models: list, import, train, evaluate, score, card."),
}
# Of whatever a command writes, others may read nothing.
_PRIVATE_UMASK = 0o077
# As shells report a process that SIGINT, SIGTERM or SIGPIPE ended.
INTERRUPTED, TERMINATED, READER_GONE = 130, 143, 141


class Terminated(KeyboardInterrupt):
    """SIGTERM came: the command cleans up behind itself, as after Ctrl-C."""


class CommandGroup(TyperGroup):
    """The top command: mounts other packages' commands and turns errors into one sentence."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return our commands and the mounted ones."""
        return [*super().list_commands(ctx), *MOUNTED_COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; for a mounted one only what the help page needs.

        Typer keeps its classes of contexts and commands private, hence Any here and below.
        """
        if cmd_name in MOUNTED_COMMANDS:
            return TyperCommand(cmd_name, help=MOUNTED_COMMANDS[cmd_name][1])
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command to run; import a mounted one now."""
        if args and args[0] in MOUNTED_COMMANDS:
            module = import_module(MOUNTED_COMMANDS[args[0]][0])
            command = typer.main.get_command(module.app)
            # They may not import our settings, so these come to them as defaults of their options.
            ctx.default_map = {args[0]: _option_defaults(command, settings.load_settings())}
            # Nor may they know the gateway's store: what it tells comes to them as functions.
            ctx.obj = _build_platform(ctx)
            return args[0], command, args[1:]
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the arguments, which prints the help page where it is asked for."""
        with _quiet_end_without_reader():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error becomes a plain sentence and an exit code.

        The result is the command's own, hence Any.
        """
        with _quiet_end_without_reader():
            return self._invoke(ctx)

    def _invoke(self, ctx: Any) -> Any:
        # Records, keys and what is made of them: for the owner's eyes, whatever the folder's mode.
        # The processes that a command starts, Spark's among them, inherit it.
        umask = os.umask(_PRIVATE_UMASK)
        try:
            with _clean_end_on_sigterm():
                return super().invoke(ctx)
        except EhrError as error:
            if _is_debugging():
                raise
            _exit_with(error)
        except Terminated:
            sys.exit(TERMINATED)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except (TyperException, typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if _is_debugging() or (isinstance(error, BrokenPipeError) and _find_closed_outputs()):
                raise
            # Here, since most commands end well and `--help` shall be quick.
            from ehr_cli.disk_faults import translate_disk_fault

            if (fault := translate_disk_fault(error)) is not None:
                _exit_with(fault)
            # The text of a foreign error may quote a record; its type cannot.
            typer.echo(
                f"Something broke inside ({type(error).__name__}); this is our mistake. "
                "Run the command again with EHR_DEBUG=1 to see where.",
                err=True,
            )
            sys.exit(exit_code(Fault("")))
        finally:
            os.umask(umask)


def _build_platform(ctx: Any) -> Platform:
    """Return what commands of research ask of the gateway's store."""
    from ehr_analytics.people import Platform

    return Platform(partial(_find_person, ctx), _open_changes, _read_model_decisions)


def _read_model_decisions(data: Path) -> Sequence[Mapping[str, Any]]:
    from ehr_cli.research_people import read_model_decisions

    return read_model_decisions(data)


def _open_changes(data: Path) -> AbstractContextManager[ChangedSubjects]:
    from ehr_cli.research_people import open_changes

    return open_changes(data)


def _find_person(ctx: Any, data: Path, login: str, roles: Collection[str]) -> Person:
    # Here, since no other command needs the store, and `--help` shall be quick.
    from ehr_cli.research_lineage import record_steps
    from ehr_cli.research_people import find_person

    person = find_person(data, login, roles)
    # The step that follows is put on record when the command ends, however it ends.
    ctx.call_on_close(partial(record_steps, data))
    return person


def _exit_with(error: EhrError) -> NoReturn:
    for issue in error.issues:
        where = f" ({issue.expression})" if issue.expression else ""
        typer.echo(f"{issue.diagnostics}{where}", err=True)
    sys.exit(exit_code(error))


@contextmanager
def _clean_end_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does; a server has handlers of its own."""

    def terminate(signal_number: int, frame: FrameType | None) -> None:
        raise Terminated

    # Only the main thread may set a handler; tests run commands on others.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _quiet_end_without_reader() -> Iterator[None]:
    """End as `cat` does once nobody reads the output any more (`ehr ... | head`)."""
    try:
        yield
        # Flushes, and knows of a process that was started without an output (`>&-`).
        typer.echo(nl=False)
    except BrokenPipeError:
        closed = _find_closed_outputs()
        if not closed:
            raise
        # What is still to be written, at the latest when Python ends, goes nowhere.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for output in closed:
            os.dup2(nowhere, output)
        sys.exit(READER_GONE)
    except SystemExit as ended:
        # Rich, which prints the help pages, ends with 1 then.
        if ended.code == 1 and isinstance(ended.__context__, BrokenPipeError):
            sys.exit(READER_GONE)
        raise


def _find_closed_outputs() -> list[int]:
    """Return which of the standard outputs are pipes that nobody reads any more."""
    poll = select.poll()
    for stream in (sys.stdout, sys.stderr):
        try:
            poll.register(stream.fileno(), 0)
        except (AttributeError, OSError, ValueError):
            # Not there, closed, or no file, as in tests.
            continue
    return [output for output, event in poll.poll(0) if event & select.POLLERR]


def _option_defaults(command: Any, chosen: settings.Settings) -> dict[str, Any]:
    # One value per option, at every depth: a group's commands look theirs up under their name.
    defaults: dict[str, Any] = {"data": chosen.data, "base_url": chosen.base_url}
    for name, subcommand in getattr(command, "commands", {}).items():
        defaults[name] = _option_defaults(subcommand, chosen)
    return defaults


def _is_debugging() -> bool:
    try:
        return settings.load_settings().debug
    except EhrError:
        # The settings themselves are wrong; that is the error to be told.
        return False
