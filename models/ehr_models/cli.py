"""The commands `ehr models ...`: each parses, calls one function, and renders."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ehr_analytics.people import APPLICANT_ROLES, APPROVER_ROLES, find_person
from ehr_etl.console_table import print_table
from ehr_etl.lake import Lake
from ehr_fhir.errors import NotFound, Unavailable, Unprocessable
from ehr_models.demo import score_with_champion, withdraw_without_champion
from ehr_models.evaluate import Evaluation, cross_validate
from ehr_models.forecasting.cli import app as forecast_app
from ehr_models.frames.feature_list import read_features
from ehr_models.identified_views import IdentifiedViews
from ehr_models.import_commands import import_data, show_imports
from ehr_models.imports.import_store import read_import
from ehr_models.imports.imported_task import apply_import
from ehr_models.learners.portable import read_model
from ehr_models.model_store import ModelStore, ModelVersion
from ehr_models.promotion import PromotionRegister
from ehr_models.promotion_cli import add_commands, open_register
from ehr_models.registry import get_task, list_tasks, refuse_registered
from ehr_models.scored_people import read_scored_people
from ehr_models.task import Task
from ehr_models.task_file import load_task
from ehr_models.train import read_task_data, train_model
from ehr_models.version_files import read_summary
from ehr_models.version_report import CARD_FILE, list_report_files
from ehr_models.ward_cli import ward
from ehr_models.watch import MINIMUM_ROWS, SCORE
from ehr_models.watch_run import Watched, watch_version
from ehr_models.worklist import build_worklist, explain_row

Data = Annotated[Path, typer.Option("--data", help="The platform's data folder.")]
TaskName = Annotated[
    str | None,
    typer.Option("--task", help="Name of the model, if there is more than one.", metavar="NAME"),
]
Source = Annotated[
    str | None,
    typer.Option("--from", help="Learn from this import instead of the lake.", metavar="IMPORT"),
]
VersionNumber = Annotated[
    int | None,
    typer.Option("--version", help="Number of the version; else that which scores, or the newest."),
]
DEFAULT_DATA = Path("var")
# Whoever works with data; the two who promote are others.
TRAINER_ROLES = APPLICANT_ROLES | APPROVER_ROLES

app = typer.Typer(
    help="Prediction models: list, import, train, score, report.\n\nExample: ehr models list",
    no_args_is_help=True,
    add_completion=False,
)
app.add_typer(forecast_app, name="forecast")
add_commands(app)
app.command()(ward)


@app.command("list")
def list_models() -> None:
    """List the models that can be trained. Example: ehr models list"""
    rows = [
        (
            task.name,
            task.outcome.text,
            ", ".join(comparator.title for comparator in task.comparators),
            ", ".join(task.views),
        )
        for task in list_tasks()
    ]
    print_table(("model", "predicts", "beside", "reads"), rows, whole=("model",))


@app.command("tasks")
def show_tasks() -> None:
    """Show what each task learns with, and the limits of its gates. Example: ehr models tasks"""
    rows = [
        (
            task.name,
            ", ".join(task.learners),
            str(task.gates.minimum_outcomes),
            "{:g} to {:g}".format(*task.gates.slope),
            f"{task.gates.in_the_large:g}",
            f"{task.gates.subgroup_auroc:g}",
            f"{task.gates.membership_auroc:g}",
            f"{task.gates.leakage_auroc:g}",
        )
        for task in list_tasks()
    ]
    # As `[gates]` of a task's file names them.
    columns = (
        "model", "learners", "minimum_outcomes", "slope", "in_the_large", "subgroup_auroc",
        "membership_auroc", "leakage_auroc",
    )  # fmt: skip
    print_table(columns, rows, whole=("model",))


app.command("import")(import_data)
app.command("imports")(show_imports)


@app.command()
def train(
    context: typer.Context,
    task: TaskName = None,
    source: Source = None,
    data: Data = DEFAULT_DATA,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="A generator made the data: the report says so.")
    ] = False,
    login: Annotated[
        str,
        typer.Option(
            "--as", help="Log-in of who trains: they cannot promote it, and without it nobody can."
        ),
    ] = "",
) -> None:
    """Train on the de-identified tables, or an import; two others promote the version that results.

    Example: ehr models train --as researcher.lau
    """
    trainer = find_person(context, data, login, TRAINER_ROLES).all_names if login else ()
    chosen, tables = read_task_data(get_task(task), data, source)
    if source is not None:
        # A task of that name may have come after the import.
        refuse_registered(chosen.name)
    training = train_model(
        chosen, tables, data, datetime.now(UTC), is_synthetic=synthetic, trainer=trainer
    )
    _show_evaluation(training.evaluation)
    number = training.version.number
    typer.echo(f"Version {number} of {chosen.name} is saved ({training.seconds:.0f} s).")
    unmet = [gate.text for gate in training.report.gates if not gate.is_met]
    if not trainer:
        unmet.append("Nobody is on record who trained it: --as.")
    if unmet:
        typer.echo(f"It may not score. {' '.join(unmet)}")
    else:
        typer.echo(
            f"It meets its gates: two others promote it, ehr models promote {chosen.name} {number}."
        )


@app.command()
def evaluate(task: TaskName = None, source: Source = None, data: Data = DEFAULT_DATA) -> None:
    """Cross-validate by patient beside the comparators and the prevalence; register nothing.

    Example: ehr models evaluate
    """
    chosen, tables = read_task_data(get_task(task), data, source)
    _show_evaluation(cross_validate(chosen, chosen.build_frame(tables.views)))


@app.command()
def score(
    context: typer.Context,
    token: Annotated[
        str, typer.Option(envvar="EHR_TOKEN", help="Access token of the client `models`.")
    ],
    base_url: Annotated[
        str, typer.Option(help="Address of the gateway.")
    ] = "http://127.0.0.1:8080",
    as_of: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="DATE",
            help="Score as of the end of this day of the past; each assessment says so.",
        ),
    ] = None,
    task: TaskName = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Score the living who have joined, while the outcome may still come; write the risk back.

    Who has joined is read as of the lake's last update. Where no version was promoted, or the last
    one was rolled back, nobody is scored, and what was written by one that scored before is ended.

    Example: EHR_TOKEN=$(ehr token --client models --scope "system/RiskAssessment.cruds
    system/Provenance.cruds") ehr models score
    """
    import httpx

    chosen = get_task(task)
    if not chosen.is_scored_in_batches:
        raise Unprocessable(f"{chosen.name} writes nothing back: it is not scored in batches.")
    lake, now = Lake(data / "lake"), datetime.now(UTC)
    register = open_register(context, data)
    if register.find_champion(chosen.name) is None:
        _withdraw(chosen, register, base_url, token, now)
        return
    people = read_scored_people(lake, _read_deid_key(data), int(now.timestamp() * 1000))
    day = None if as_of is None else as_of.date()
    views = IdentifiedViews(lake)
    with httpx.Client(base_url=base_url, timeout=60) as client:
        try:
            report = score_with_champion(
                chosen, register, views, client, token, now, people=people, as_of=day
            )
        except httpx.TransportError as error:
            raise Unavailable(f"No gateway answers at {base_url}: start `ehr up`.") from error
    when = "now" if day is None else f"as of {day}"
    typer.echo(
        f"{report.accepted} patients scored {when}; {report.refused} refused by the gateway; "
        f"{report.ended} earlier assessments ended."
    )
    typer.echo(report.explain_left_out(chosen))
    if report.reason:
        typer.echo(report.reason)


@app.command()
def worklist(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="Name of the model.", metavar="TASK")] = "",
    most: Annotated[int, typer.Option(help="How many people.", min=1)] = 20,
    data: Data = DEFAULT_DATA,
) -> None:
    """List people who have joined in the order of their risk, each with the model's reasons.

    Of a version that two people promoted alone. It reads identified records and writes nothing.

    Example: ehr models worklist outreach-90d
    """
    chosen = get_task(task or None)
    champion = open_register(context, data).get_champion(chosen.name)
    summary = read_summary(champion)
    lake, now = Lake(data / "lake"), datetime.now(UTC)
    people = read_scored_people(lake, _read_deid_key(data), int(now.timestamp() * 1000))
    identified = IdentifiedViews(lake)
    views = people.select_rows({name: identified[name] for name in chosen.views})
    model, codes = read_model(champion.files), read_features(champion.files).codes
    listed = build_worklist(chosen, model, views, now, codes)
    rows = [
        (number, row.patient, f"{row.probability:.0%}", explain_row(row))
        for number, row in enumerate(listed[:most], 1)
    ]
    print_table(("", "patient", "risk", "reasons"), rows, whole=("patient",))
    typer.echo(
        f"{len(listed)} people in all, by version {champion.number}. {summary['verdict']['en']}"
    )


@app.command()
def watch(
    context: typer.Context,
    task: Annotated[str, typer.Argument(help="Name of the model.", metavar="TASK")] = "",
    weeks: Annotated[int, typer.Option(help="How many weeks back.", min=1, max=260)] = 26,
    data: Data = DEFAULT_DATA,
) -> None:
    """Compare each week with what the model learnt from; the steward sees the alarms.

    Of the version that scores, and of one in shadow beside it. It reads identified records and
    writes nothing about anybody. Run it weekly.

    Example: ehr models watch readmission-28d
    """
    chosen, now = get_task(task or None), datetime.now(UTC)
    register = open_register(context, data)
    lake = Lake(data / "lake")
    people = read_scored_people(lake, _read_deid_key(data), int(now.timestamp() * 1000))
    identified = IdentifiedViews(lake)
    views = people.select_rows({name: identified[name] for name in chosen.views})
    champion = watch_version(chosen, register.get_champion(chosen.name), views, now, weeks)
    register.store.save_watch(chosen.name, [week.to_json() for week in champion.weeks])
    _show_watched(champion, "scores")
    shadow = register.get_shadow(chosen.name)
    if shadow is not None:
        _show_watched(watch_version(chosen, shadow, views, now, weeks), "is in shadow")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The folder to write to.")],
    task: TaskName = None,
    source: Source = None,
    version: VersionNumber = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Write a version's report, pages and card to a folder. Example: ehr models report out"""
    chosen = get_task(task)
    if source is not None:
        chosen = apply_import(chosen, read_import(data, source)).task
    chosen_version = _choose_version(data, chosen, version)
    folder.mkdir(parents=True, exist_ok=True)
    for name in list_report_files():
        (folder / name).write_text(chosen_version.read_text(name), "utf-8")
    typer.echo(f"{len(list_report_files())} files of version {chosen_version.number} in {folder}.")


@app.command()
def card(
    task: TaskName = None,
    source: Source = None,
    version: VersionNumber = None,
    data: Data = DEFAULT_DATA,
) -> None:
    """Print a version's model card, in Markdown. Example: ehr models card > card.md"""
    chosen = get_task(task)
    if source is not None:
        chosen = apply_import(chosen, read_import(data, source)).task
    typer.echo(_choose_version(data, chosen, version).read_text(CARD_FILE))


@app.command()
def features(
    task: TaskName = None, version: VersionNumber = None, data: Data = DEFAULT_DATA
) -> None:
    """List a version's features: unit, source, and how often each was unknown in training.

    Example: ehr models features
    """
    chosen = get_task(task)
    listed = read_features(_choose_version(data, chosen, version).files)
    rows = [
        (feature.name, feature.title, feature.unit, feature.source, f"{share:.1%}")
        for feature in listed.features
        for share in (listed.missing[feature.name],)
    ]
    print_table(("feature", "title", "unit", "source", "unknown"), rows, whole=("feature",))


@app.command("check")
def check_file(
    folder: Annotated[Path, typer.Argument(help="Folder with task.toml and card.md.")],
) -> None:
    """Check the file of a task, and say what it reads. Example: ehr models check my-task"""
    task = load_task(folder)
    typer.echo(f"{task.name}: {task.title}. It reads {', '.join(task.views)}.")


def _show_watched(watched: Watched, standing: str) -> None:
    """Print the weeks of a version; alarms in words."""
    rows = [
        (
            str(week.monday),
            str(week.rows),
            f"{week.psi[SCORE]:.2f}",
            f"{week.expected:.3f}",
            "" if week.observed is None else f"{week.observed:.3f}",
            "" if week.auroc is None else f"{week.auroc:.2f}",
            "; ".join(f"{one.kind} of {one.about} {one.value:.2f}" for one in week.alarms),
        )
        for week in watched.weeks
    ]
    columns = ("week of", "rows", "PSI", "expected", "observed", "AUROC", "alarms")
    print_table(columns, rows, whole=("week of",))
    typer.echo(
        f"Version {watched.version} {standing}: {watched.rows} rows, {watched.outcomes} outcomes, "
        f"mean score {watched.mean_score:.3f}. Weeks of fewer than {MINIMUM_ROWS} rows are not "
        "judged."
    )


def _withdraw(
    task: Task, register: PromotionRegister, base_url: str, token: str, now: datetime
) -> None:
    import httpx

    with httpx.Client(base_url=base_url, timeout=60) as client:
        try:
            ended = withdraw_without_champion(task, register, client, token, now)
        except httpx.TransportError as error:
            raise Unavailable(f"No gateway answers at {base_url}: start `ehr up`.") from error
    typer.echo(
        f"No version of {task.name} was promoted, so nobody is scored; {ended} earlier assessments "
        "ended."
    )


def _choose_version(data: Path, task: Task, number: int | None) -> ModelVersion:
    return PromotionRegister(ModelStore(data)).choose_version(task.name, number)


def _read_deid_key(data: Path) -> bytes:
    """Return the key by which the lake's tables are laid out."""
    path = data / "keys" / "deid.key"
    if not path.exists():
        raise NotFound(f"{path} is missing: start `ehr up` once on this data folder.")
    return path.read_bytes()


def _show_evaluation(evaluation: Evaluation) -> None:
    rows = [
        (name, *map(str, (performance.auroc, performance.average_precision, performance.brier)))
        for name, performance in evaluation.performance.items()
    ]
    print_table(("predictor", "AUROC", "average precision", "Brier"), rows)
    typer.echo(
        f"{evaluation.stays} stays of {evaluation.people} people; 95 % intervals by patient."
    )
    typer.echo(evaluation.verdict)
