"""`ehr backup` and `ehr restore`: sealed backups while serving, and the way back."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ehr_cli import settings as settings_module
from ehr_cli.commands.default_command import DEFAULT, DefaultCommandGroup
from ehr_cli.options import Data, Database

if TYPE_CHECKING:
    from ehr_cli.settings import Settings
    from ehr_gateway.store.closure import Closure

backup_app = typer.Typer(
    cls=DefaultCommandGroup,
    no_args_is_help=True,
    help="Backups, sealed to your key and made while serving.\n\n"
    "Example: ehr backup /mnt/backups --data var/mine --to age1...",
)
restore_app = typer.Typer(
    cls=DefaultCommandGroup,
    no_args_is_help=True,
    help="Put a backup back; nothing that was closed since opens again.\n\n"
    "Example: ehr restore /mnt/backups --data var/new --key backup.key",
)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of backups.")]
_MIB = 1 << 20


@backup_app.command(DEFAULT)
def backup(
    folder: Folder,
    to: Annotated[
        str | None,
        typer.Option(
            help="The public key to seal to: age1..., or an SSH public key; several with commas.",
            show_default="the setting backup_recipient",
            metavar="KEY",
        ),
    ] = None,
    without_lake: Annotated[
        bool, typer.Option("--without-lake", help="Leave out the lake: it can be read anew.")
    ] = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Add a backup to a folder; only what is new since the last one is written.

    Example: ehr backup /mnt/backups --data var/mine --to age1...
    """
    from ehr_cli.data_folder import gateway_settings
    from ehr_gateway.backup.create import BackupPlan, create_backup
    from ehr_gateway.backup.sealing import parse_recipients

    chosen = settings_module.load_settings().override(
        data=data, database=database, backup_recipient=to
    )
    plan = BackupPlan(
        gateway_settings(chosen),
        folder,
        parse_recipients(chosen.backup_recipient),
        without_lake=without_lake,
        changed_settings=_changed_settings(chosen),
    )
    report = create_backup(plan, _say)
    typer.echo(
        f"{report.manifest.name}: {report.files:,} files, {report.size_bytes / _MIB:,.1f} MiB, of "
        f"which {report.written_bytes / _MIB:,.1f} MiB were new; "
        f"{report.audit_size:,} events of the audit log."
    )
    for reason in report.manifest.left_out:
        typer.echo(f"Left out: {reason}.")


@backup_app.command("key")
def make_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key goes.")],
) -> None:
    """Make a key pair; print the public key, the one that backups are sealed to.

    Do it on your own machine: who has the file can read every backup, and without it nobody can.

    Example: ehr backup key backup.key
    """
    from ehr_gateway.backup.sealing import make_identity

    typer.echo(make_identity(file))


@backup_app.command("verify")
def verify(
    folder: Folder,
    name: Annotated[
        str | None, typer.Option(help="Which backup.", show_default="all", metavar="NAME")
    ] = None,
) -> None:
    """Read every file of the backups and hold it against its checksum; needs no key.

    Example: ehr backup verify /mnt/backups
    """
    from ehr_gateway.backup.folder import BackupFolder
    from ehr_privacy.audit import public_key

    backups = BackupFolder(folder)
    # With none there, the newest one is asked for, so that its absence is said.
    chosen: list[str | None] = [name] if name else [*backups.list_names()] or [None]
    for which in chosen:
        manifest = backups.read_manifest(which)
        backups.check_signature(manifest, public_key(backups.read_verifier_key(manifest.name)))
        backups.verify(manifest)
        typer.echo(f"{manifest.name}: whole, {len(manifest.pieces):,} pieces.")


@backup_app.command("prune")
def prune(
    folder: Folder,
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest backups stay.")],
) -> None:
    """Remove old backups, and what only they needed.

    Example: ehr backup prune /mnt/backups --keep 30
    """
    from ehr_gateway.backup.folder import lock_folder

    with lock_folder(folder) as backups:
        removed = backups.prune(keep)
    typer.echo(f"{removed:,} backups removed.")


@restore_app.command(DEFAULT)
def restore(
    folder: Folder,
    key: Annotated[Path, typer.Option(help="The private key.", metavar="FILE")],
    name: Annotated[
        str | None, typer.Option(help="Which backup.", show_default="the newest", metavar="NAME")
    ] = None,
    verifier: Annotated[
        Path | None,
        typer.Option(help="A copy of audit-log/verifier.key kept elsewhere.", metavar="FILE"),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the journal.", show_default="where it was", metavar="FOLDER"
        ),
    ] = None,
    old_data: Annotated[
        Path | None,
        typer.Option(help="The data folder that is replaced, if it is there.", metavar="FOLDER"),
    ] = None,
    old_database: Annotated[
        str | None, typer.Option(help="The PostgreSQL database that is replaced.", metavar="URL")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="A witness's newest checkpoint; may be repeated.", metavar="FILE"),
    ] = None,
    data: Data = None,
    database: Database = None,
) -> None:
    """Put a backup back into a new data folder; all of it, or nothing.

    Everybody logs in anew. What was closed since is closed again by the journal; without it the
    records are closed until a steward confirms them. The audit log goes on where --old-data still
    has it, else it says what was cut off. Stop the old server first.

    Example: ehr restore /mnt/backups --data var/new --key backup.key --old-data var/mine
    """
    from ehr_cli.commands.erasure import erase_from_restored
    from ehr_cli.data_folder import gateway_settings
    from ehr_gateway.backup.audit_tail import PreviousLog, read_checkpoint_notes
    from ehr_gateway.backup.restore import RestorePlan, restore_backup
    from ehr_gateway.backup.sealing import read_identity

    chosen = settings_module.load_settings().override(data=data, database=database)
    old = chosen.override(data=old_data, database=old_database or "sqlite")
    plan = RestorePlan(
        folder,
        read_identity(key),
        gateway_settings(chosen),
        name=name,
        verifier=verifier,
        journal=journal,
        previous_log=PreviousLog(
            gateway_settings(old) if old_data else None,
            read_checkpoint_notes(tuple(checkpoint or ())),
        ),
        erase_elsewhere=erase_from_restored,
    )
    report = restore_backup(plan, _say)
    typer.echo(
        f"Restored {report.manifest.name} to {chosen.data}: {report.files:,} files; the feed's "
        f"epoch is now {report.state.epoch.epoch}."
    )
    state = report.state
    if state.erased:
        typer.echo(f"{len(state.erased):,} patients were erased since; they are erased here too.")
    typer.echo(f"{state.replayed:,} changes since that close something were made again.")
    typer.echo(state.note.sentence)
    if state.closure is not None:
        _explain_closure(state.closure)
        typer.echo(f"Open it with: ehr restore confirm --data {chosen.data} --user STEWARD")


@restore_app.command("confirm")
def confirm(
    user: Annotated[str, typer.Option(help="The steward's log-in.", metavar="LOGIN")],
    data: Data = None,
    database: Database = None,
) -> None:
    """Open a restored store that is closed, in a steward's name; the audit log tells it.

    Do it when the steward has looked at the Consents, and you at `ehr account list`: what was
    withdrawn or disabled since the backup, and is not in the journal, is open again from here on.

    Example: ehr restore confirm --data var/new --user steward
    """
    from ehr_cli.data_folder import gateway_settings
    from ehr_gateway.backup.post_restore import confirm_restore
    from ehr_gateway.store.store import Store

    chosen = gateway_settings(
        settings_module.load_settings().override(data=data, database=database)
    )
    with closing(Store(chosen.database, chosen.data)) as store:
        closure = confirm_restore(store, user, time.time_ns() // 1_000_000)
    if closure is None:
        typer.echo("The store is open: there was nothing to confirm.")
        return
    _explain_closure(closure)
    typer.echo("It is open now.")


def _changed_settings(chosen: Settings) -> dict[str, Any]:
    return {
        field.name: str(getattr(chosen, field.name))
        for field in fields(chosen)
        if getattr(chosen, field.name) != field.default
    }


def _explain_closure(closure: Closure) -> None:
    typer.echo(f"The records are closed, but to patients themselves and stewards: {closure.reason}")
    for name in closure.in_doubt:
        typer.echo(f"In doubt: {name}")


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)
