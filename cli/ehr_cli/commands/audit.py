"""`ehr audit`: sign a checkpoint of the audit log, verify the log, erase a patient's events."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehr_cli import settings as settings_module
from ehr_cli.commands.audit_trace import check_proof_file, show_trace
from ehr_cli.options import Data, Database
from ehr_fhir.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from ehr_gateway.settings import GatewaySettings

app = typer.Typer(
    no_args_is_help=True,
    help="The audit log: who saw what, provably nothing taken out.\n\nExample: ehr audit verify",
)
_PROCESSES = 2


@app.command()
def verify(
    checkpoint: Annotated[
        Path | None, typer.Option(help="A witness's copy of a checkpoint.", metavar="FILE")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="The verifier key; the exported one else.", metavar="FILE"),
    ] = None,
    data: Data = None,
    database: Database = None,
) -> None:
    """Hash every event anew and hold it against the tiles and checkpoints that were signed.

    Exits with 0 when every event is the one signed for, else with 1 and the place of each fault.

    Example: ehr audit verify --data var/mine --checkpoint witness/checkpoint
    """
    from ehr_gateway.audit_log.export_folder import LogFolder
    from ehr_gateway.audit_log.verify import VerifyTask, verify_log
    from ehr_privacy.audit import public_key

    chosen = _settings(data, database)
    folder = LogFolder(chosen.audit_folder)
    known = public_key(_read(key).decode()) if key else folder.read_key()
    if known is None and checkpoint:
        raise NotFound("The log has exported no verifier key: give the witness's with --key.")
    # Without a key nothing was signed: the events are held against their own leaves alone.
    name, public = known or ("", b"")
    witness = _read(checkpoint) if checkpoint else None
    task = VerifyTask(chosen.database, folder.path, name, public, witness, _PROCESSES)
    report = verify_log(task, _progress)
    for finding in report.findings:
        event = f" (AuditEvent/{finding.event})" if finding.event else ""
        typer.echo(f"{finding.kind} at leaf {finding.index}{event}: {finding.text}", err=True)
    for note in report.restores:
        typer.echo(note.sentence)
    rate = report.events / report.seconds if report.seconds else 0
    erased = f", {report.erased} of them emptied by an erasure on record" if report.erased else ""
    typer.echo(
        f"{report.events:,} events{erased}; {report.signed:,} signed for; "
        f"{report.checkpoints:,} checkpoints hold; {report.seconds:.1f} s, {rate:,.0f} a second."
    )
    if not report.is_intact:
        typer.echo("The audit log is NOT what was signed for.", err=True)
        raise typer.Exit(1)
    typer.echo("Every event is there, in its place, as it was written.")
    _verify_model_decisions(chosen)


@app.command()
def checkpoint(data: Data = None, database: Database = None) -> None:
    """Sign for every event that is there now, and print the checkpoint.

    Example: ehr audit checkpoint --data var/mine
    """
    from ehr_gateway.audit_log.service import open_audit_log
    from ehr_gateway.database import open_database
    from ehr_gateway.oauth.offline_tokens import now_ms

    chosen = _settings(data, database)
    opened = open_database(chosen.database)
    try:
        log = open_audit_log(chosen, opened, now_ms)
        if log.flush_and_sign() is None:
            raise Unavailable("Another process is signing a checkpoint. Try again.")
        typer.echo((log.folder.read_note() or b"").decode(), nl=False)
    finally:
        opened.close()


@app.command()
def trace(
    release: Annotated[str, typer.Argument(metavar="RUN", help="The id of the released run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines as JSON.")] = False,
    proof: Annotated[
        Path | None,
        typer.Option(help="Write what a witness verifies without the platform.", metavar="FILE"),
    ] = None,
    data: Data = None,
    database: Database = None,
) -> None:
    """Show from which data, rules and decisions a released table was made, each by its leaf.

    Exits with 0 when all that can be shown is as it was signed for, else with 1.

    Example: ehr audit trace returns-20261122-083000-1a2b --proof returns.trace
    """
    show_trace(_settings(data, database), release, as_json=as_json, proof=proof)


@app.command("verify-trace")
def verify_trace_command(
    file: Annotated[Path, typer.Argument(help="The file that `ehr audit trace` wrote.")],
    key: Annotated[
        Path, typer.Option(help="The log's public key, `verifier.key`.", metavar="FILE")
    ],
    files: Annotated[
        Path | None, typer.Option(help="A folder with the released files.", metavar="FOLDER")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines as JSON.")] = False,
) -> None:
    """Verify a trace anywhere: it needs the log's public key, and no platform.

    Example: ehr audit verify-trace returns.trace --key witness/verifier.key
    """
    check_proof_file(file, key, files, as_json=as_json)


@app.command()
def erase(
    patient: Annotated[str, typer.Argument(metavar="PATIENT", help="The patient's id.")],
    reason: Annotated[str, typer.Option(help="Why, in one line; it stays in the log.")],
    operator: Annotated[
        str,
        typer.Option("--by", help="Who runs it: administrator or steward.", metavar="LOGIN"),
    ],
    approver: Annotated[
        str, typer.Option(help="Who approved it: a steward, another person.", metavar="LOGIN")
    ],
    data: Data = None,
    database: Database = None,
) -> None:
    """Empty the audit events about a patient whose data is erased; their leaves stay.

    Two people are needed. Both, and the reason, are in the event that records the erasure.

    Example: ehr audit erase pat-17 --reason "court order 12/2026" --by admin.lee
    --approver steward.ho --data var/mine
    """
    from ehr_gateway.access_requests.audit_erasure import erase_with_approval
    from ehr_gateway.audit_log.service import open_audit_log
    from ehr_gateway.oauth.offline_tokens import now_ms
    from ehr_gateway.store.store import Store

    chosen = _settings(data, database)
    with closing(Store(chosen.database, chosen.data)) as store:
        store.attach_journal(chosen.journal_folder, chosen.keys)
        count = erase_with_approval(
            open_audit_log(chosen, store.database, now_ms),
            patient,
            reason=reason,
            operator_login=operator,
            approver_login=approver,
        )
    typer.echo(f"{count:,} events were emptied. Their places and leaves are kept.")


def _verify_model_decisions(settings: GatewaySettings) -> None:
    """Hold the decisions about models against their leaves; exit with 1 where they differ."""
    from ehr_cli.model_decisions import LoggedDecisions
    from ehr_gateway.database import open_for_reading, readable_place
    from ehr_models.model_store import ModelStore
    from ehr_models.promotion import PromotionRegister

    with readable_place(settings.database) as place, closing(open_for_reading(place)) as opened:
        log = LoggedDecisions(opened)
        compared = PromotionRegister(ModelStore(settings.data), log=log).compare_log()
    for number in compared.missing:
        typer.echo(f"Decision {number} about a model was changed, or is gone.", err=True)
    for number in compared.put_in:
        typer.echo(f"Decision {number} about a model was put in: the log has none.", err=True)
    if not compared.holds:
        typer.echo(
            "The decisions about models are NOT those of the log, so nothing scores: "
            "`ehr models decisions TASK --restore` writes them anew from it.",
            err=True,
        )
        raise typer.Exit(1)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFound(f"The file {path.name} cannot be read.") from error


def _settings(data: Path | None, database: str | None) -> GatewaySettings:
    """Return the gateway's settings; a log is looked at where it is, never made."""
    from ehr_cli.data_folder import gateway_settings
    from ehr_gateway.database import open_for_reading, readable_place
    from ehr_gateway.schema.revision import check_revision

    chosen = gateway_settings(
        settings_module.load_settings().override(data=data, database=database)
    )
    if isinstance(chosen.database, Path) and not chosen.database.exists():
        raise NotFound(f"There is no database in the data folder {chosen.data}.")
    with readable_place(chosen.database) as place, closing(open_for_reading(place)) as opened:
        check_revision(opened)
    return chosen


def _progress(done: int, of: int) -> None:
    typer.echo(f"{done:,} of {of:,} events", err=True)
