"""The `ehr` command line: each command parses its options and calls one function.

Everything heavy is imported inside the command that needs it, so that `ehr --help` is quick and
`ehr token` never loads Spark.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ehr_cli.command_group import CommandGroup
from ehr_cli.commands import (
    account,
    audit,
    authorization,
    backup,
    deid,
    notes,
    omop,
    open_data,
    privacy,
    quarantine,
    terminology,
)
from ehr_cli.options import Data, Database, Port

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="eHR Commons: health records shared under the patient's own control.\n\nExample: ehr demo",
)
lake_app = typer.Typer(
    no_args_is_help=True,
    help="The lake: from the change feed to tables for research.\n\nExample: ehr lake run",
)
app.add_typer(lake_app, name="lake")
lake_app.add_typer(quarantine.app, name="quarantine")
lake_app.add_typer(notes.app, name="notes")
lake_app.add_typer(omop.app, name="omop")
app.add_typer(deid.app, name="deid")
app.add_typer(privacy.app, name="privacy")
app.add_typer(open_data.app, name="open-data")
app.add_typer(audit.app, name="audit")
app.add_typer(backup.backup_app, name="backup")
app.add_typer(backup.restore_app, name="restore")
app.add_typer(account.app, name="account")
app.add_typer(terminology.app, name="terminology")
app.add_typer(authorization.keys_app, name="keys")
app.add_typer(authorization.client_app, name="client")


@app.command()
def up(
    data: Data = None,
    host: Annotated[str | None, typer.Option(show_default="127.0.0.1")] = None,
    port: Port = None,
    workers: Annotated[int | None, typer.Option(help="Processes.", show_default="1")] = None,
    database: Database = None,
    new: Annotated[
        bool, typer.Option("--new", help="Make the data folder if there is none.")
    ] = False,
    with_lake: Annotated[
        bool, typer.Option("--all", help="Keep the lake up to date as well.")
    ] = False,
) -> None:
    """Serve the gateway and the portal; print one line when ready.

    Example: ehr up --data var/mine --port 8090

    Example: ehr up --all --data var/mine
    """
    from ehr_cli import data_folder, settings
    from ehr_cli.server import serve

    chosen = settings.load_settings().override(
        data=data, host=host, port=port, workers=workers, database=database
    )
    if new and not chosen.data.exists():
        chosen.data.mkdir(mode=0o700, parents=True)
    data_folder.require_data_folder(chosen.data)
    companion = "ehr_cli.commands.lake_follower" if with_lake else None
    serve.serve(chosen, on_ready=typer.echo, companion_module=companion)


@app.command()
def token(
    user: Annotated[str | None, typer.Option(help="A log-in.", metavar="LOGIN")] = None,
    client: Annotated[str | None, typer.Option(help="A program.", metavar="ID")] = None,
    scope: Annotated[str | None, typer.Option(help='Such as "system/*.cruds".')] = None,
    organization: Annotated[
        str | None,
        typer.Option(
            help="Whom the program acts for; it sees what that organisation wrote.",
            show_default="its own, else ehr-commons",
            metavar="ID",
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Print an access token for use on this machine, and nothing else.

    Example: ehr token --user dr.wong --data var/demo
    """
    from ehr_cli import settings
    from ehr_cli.data_folder import gateway_settings, require_data_folder
    from ehr_gateway.oauth.offline_tokens import issue_local_token

    chosen = settings.load_settings().override(data=data)
    require_data_folder(chosen.data)
    gateway = gateway_settings(chosen)
    typer.echo(
        issue_local_token(
            chosen.data,
            user=user,
            client=client,
            scope=scope,
            organization=organization,
            database_url=gateway.database_url,
            base_url=gateway.base_url,
        )
    )


@app.command()
def load(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files or folders.")],
    organization: Annotated[
        str, typer.Option(help="Who wrote records that do not say so.", metavar="ID")
    ] = "ehr-commons",
    rejects: Annotated[
        Path | None,
        typer.Option(help="Write refused resources here, not to stderr.", metavar="FILE"),
    ] = None,
    base: Annotated[
        list[str] | None,
        typer.Option(
            help="A FHIR base address that stood for this server when the files were made.",
            metavar="URL",
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Load bundles or NDJSON into the store; what is refused is reported by line.

    Run it again after an interruption: it goes on where it stopped.

    Exits with 0 when anything was accepted, else with the code of the error.

    Example: ehr load path/to/synthea/output --data var/mine --rejects refused.txt
    """
    from ehr_cli import settings
    from ehr_cli.commands import load as loading

    loading.load_paths(
        settings.load_settings().override(data=data), paths, organization, rejects, base or ()
    )


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Empty, or not there yet.")],
    organization: Annotated[
        str, typer.Option(help="Whose system asks: it gets what that may see.", metavar="ID")
    ] = "ehr-commons",
    patients: Annotated[bool, typer.Option("--patients", help="Patients' records alone.")] = False,
    group: Annotated[
        str | None, typer.Option(help="The records of a Group's members.", metavar="ID")
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Of these types alone.", metavar="TYPE")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="What was written since then; an export prints it.", metavar="INSTANT"),
    ] = None,
    data: Data = None,
) -> None:
    """Export records from the gateway that serves a data folder, as files of NDJSON.

    Each file is whole once it has its name. An interrupted export is begun anew, in another folder.

    Example: ehr export records --type Condition --type Observation --data var/demo
    """
    from ehr_cli import settings
    from ehr_cli.commands import export as exporting
    from ehr_cli.data_folder import gateway_settings, require_data_folder
    from ehr_gateway.oauth.offline_tokens import issue_local_token
    from ehr_gateway.served_address import read_served_address

    chosen = settings.load_settings().override(data=data)
    require_data_folder(chosen.data)
    gateway = gateway_settings(chosen)
    base = f"{read_served_address(chosen.data) or gateway.base_url}/fhir"

    def issue_token() -> str:
        return issue_local_token(
            chosen.data,
            client="ehr-export",
            scope="system/*.rs",
            organization=organization,
            database_url=gateway.database_url,
            base_url=gateway.base_url,
        )

    selection = exporting.Selection(patients, group, tuple(types or ()), since)
    done = exporting.export_with_progress(base, issue_token, folder, selection)
    typer.echo(f"{done.resources:,} resources in {done.files} files. Next time: --since "
               f"{done.transaction_time}")  # fmt: skip


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop when the tour is done.")] = False,
    data: Annotated[Path, typer.Option(help="Made anew each time.", metavar="DIR")] = Path(
        "var/demo"
    ),
    port: Port = None,
) -> None:
    """Show the whole way once, on a sample of synthetic patients: from hospital to research.

    Example: ehr demo --once
    """
    from ehr_cli import settings
    from ehr_cli.demo import tour

    tour.run_tour(settings.load_settings().override(data=data, port=port), once=once)


@app.command()
def upgrade(
    check: Annotated[
        bool, typer.Option("--check", help="Say whether it is needed; change nothing.")
    ] = False,
    data: Data = None,
    database: Database = None,
) -> None:
    """Bring the database of an older version along; stop the gateway and make a backup first.

    Killed at any moment, it goes on where it stopped when it is run again.

    With --check it exits with 0 when nothing is to be done, else with 1.

    Example: ehr upgrade --data var/mine
    """
    from ehr_cli import settings
    from ehr_cli.commands import upgrade as upgrading

    chosen = settings.load_settings().override(data=data, database=database)
    if not check:
        upgrading.run(chosen)
    elif not upgrading.check(chosen):
        raise typer.Exit(1)


@app.command()
def doctor(data: Data = None, port: Port = None) -> None:
    """Say what is missing or wrong on this machine, and what to do.

    Example: ehr doctor --data var/mine
    """
    from ehr_cli import settings
    from ehr_cli.commands import doctor as examination

    if not examination.print_report(settings.load_settings().override(data=data, port=port)):
        raise typer.Exit(1)


@lake_app.command("run")
def lake_run(
    data: Data = None,
    feed: Annotated[str | None, typer.Option(help="The gateway's address.", metavar="URL")] = None,
    once: Annotated[
        bool, typer.Option("--once/--follow", help="Stop at the end of the feed, or follow it.")
    ] = True,
) -> None:
    """Bring every table of the lake up to date from the gateway's change feed.

    Example: ehr lake run --data var/mine
    """
    from ehr_cli import settings
    from ehr_cli.commands.lake import run_lake
    from ehr_cli.commands.lake_follower import follow_lake

    chosen = settings.load_settings().override(data=data)
    if once:
        run_lake(chosen, feed)
    else:
        follow_lake(chosen, feed)


@lake_app.command("follow")
def lake_follow(
    data: Data = None,
    feed: Annotated[str | None, typer.Option(help="The gateway's address.", metavar="URL")] = None,
) -> None:
    """Follow the gateway's change feed until stopped: a change is in the tables within seconds.

    Example: ehr lake follow --data var/mine
    """
    from ehr_cli import settings
    from ehr_cli.commands.lake_follower import follow_lake

    follow_lake(settings.load_settings().override(data=data), feed)


@lake_app.command("publish")
def lake_publish(
    topic: Annotated[str, typer.Argument(help="kafka://HOST:PORT/TOPIC.", metavar="TOPIC")],
    data: Data = None,
    feed: Annotated[str | None, typer.Option(help="The gateway's address.", metavar="URL")] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop at the end of the feed.")] = False,
) -> None:
    """Write the gateway's change feed to a Kafka topic, for lakes that read it from there.

    Example: ehr lake publish kafka://127.0.0.1:9092/ehr-feed
    """
    from ehr_cli import settings
    from ehr_cli.commands import lake

    lake.publish_feed(settings.load_settings().override(data=data), topic, feed, once=once)


@lake_app.command("status")
def lake_status(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show how far the lake follows the feed, and the sizes of its tables.

    Example: ehr lake status --json
    """
    from ehr_cli import settings
    from ehr_cli.commands import lake

    lake.print_status(settings.load_settings().override(data=data), as_json=as_json)


@lake_app.command("rebuild")
def lake_rebuild(
    table: Annotated[str, typer.Argument(help="silver, deid, omop or gold/NAME.")],
    data: Data = None,
) -> None:
    """Make a table of the lake anew from its input, and what is made of it.

    Example: ehr lake rebuild deid
    """
    from ehr_cli import settings
    from ehr_cli.commands import lake

    lake.rebuild_table(settings.load_settings().override(data=data), table)


@lake_app.command("erase")
def lake_erase(
    patient: Annotated[str, typer.Argument(metavar="PATIENT", help="The patient's id.")],
    data: Data = None,
    database: Database = None,
) -> None:
    """Finish the approved erasure of a patient everywhere, and certify it by a scan.

    Two people approve it first, each logged in: Erasures in the portal, or $purge and
    $decide-erasure. Exits with 0 when nothing of the patient is found any more, else with 1.

    Example: ehr lake erase pat-17 --data var/mine
    """
    from ehr_cli import settings
    from ehr_cli.commands import erasure

    chosen = settings.load_settings().override(data=data, database=database)
    erasure.erase_patient(chosen, patient)


@lake_app.command("scan")
def lake_scan(
    patient: Annotated[str, typer.Argument(metavar="PATIENT", help="The patient's id.")],
    data: Data = None,
    database: Database = None,
) -> None:
    """Look for a patient's id and pseudonyms in every file of the data folder; change nothing.

    Exits with 0 when nothing is found, else with 1.

    Example: ehr lake scan pat-17 --data var/mine
    """
    from ehr_cli import settings
    from ehr_cli.commands import erasure

    chosen = settings.load_settings().override(data=data, database=database)
    erasure.print_certificate(chosen, erasure.scan_for_patient(chosen, patient))


@lake_app.command("view")
def lake_view(
    file: Annotated[
        Path, typer.Argument(help="A ViewDefinition (JSON), or the name of one of the library.")
    ],
    data: Data = None,
) -> None:
    """Write one ViewDefinition of the de-identified records to a gold table.

    Example: ehr lake view smokers.json
    """
    from ehr_cli import settings
    from ehr_cli.commands import lake

    lake.write_view(settings.load_settings().override(data=data), file)


@lake_app.command("dictionary")
def lake_dictionary(data: Data = None) -> None:
    """Write the data dictionary of all views to a table of the lake.

    Example: ehr lake dictionary --data var/mine
    """
    from ehr_cli import settings
    from ehr_cli.commands import lake

    lake.write_dictionary(settings.load_settings().override(data=data))


@lake_app.command("conformance")
def lake_conformance(
    suite: Annotated[Path, typer.Argument(help="The folder `tests` of SQL on FHIR v2.")],
    report: Annotated[Path, typer.Option(help="The file to write.")] = Path("test_report.json"),
    engine: Annotated[
        Literal["duckdb", "spark"], typer.Option(help="What runs the views.")
    ] = "duckdb",
    data: Data = None,
) -> None:
    """Run the official tests of SQL on FHIR and write their report.

    Example: ehr lake conformance sql-on-fhir-v2/tests
    """
    from ehr_cli import settings
    from ehr_cli.commands import lake

    chosen = settings.load_settings().override(data=data)
    if not lake.report_conformance(suite, report, engine, chosen):
        raise typer.Exit(1)


@lake_app.command("quality")
def lake_quality(data: Data = None) -> None:
    """Show the newest results of the quality gate.

    Example: ehr lake quality --data var/mine
    """
    from ehr_cli import settings
    from ehr_cli.commands import lake

    lake.print_quality(settings.load_settings().override(data=data))


if __name__ == "__main__":
    app()
