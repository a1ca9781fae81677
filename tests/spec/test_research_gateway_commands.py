"""Steps of research by command through the gateway: the token says who takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from ehr_analytics import project as projects
from ehr_analytics import run_worker
from ehr_analytics.cli import app
from ehr_analytics.disclosure.budget import BudgetLedger
from ehr_analytics.gateway_client import ResearchGateway, open_gateway
from ehr_analytics.private_study import LAKE
from ehr_analytics.register import Register
from ehr_cli.privacy_ledger import open_ledger
from ehr_cli.study import app as study_app
from ehr_fhir.errors import (
    Conflict,
    EhrError,
    Forbidden,
    NotFound,
    Unauthorized,
    Unavailable,
    Unprocessable,
)
from ehr_gateway.operations import research_runs
from tests.lib.gateway import House, must
from tests.lib.research_lake import parameters
from tests.spec.test_research_projects_http import office
from tests.spec.test_research_work_http import COHORT, KEPT, STUDY
from tests.spec.test_research_work_http import office as working

__all__ = ["office", "working"]

BORN = '[[column]]\nname = "born"\nkind = "person"\ncolumn = "birth_year"\n'

Ehr = Callable[..., str]
NEW = (
    "project", "new", "falls", "--title", "Falls at home", "--purpose", "Who falls again?",
    "--ethics", "REC-7", "--item", "encounter_flat.patient_id", "--person", "re.lau",
    "--dates", "month", "--since", "2026-01-01", "--until", "2099-12-31",
)  # fmt: skip
TRAINING = (
    "people", "record", "re.lau", "--course", "Research data", "--affiliation", "HKU",
    "--day", "2026-01-05", "--expires", "2099-01-05",
)  # fmt: skip


def run_as(house: House, login: str, *words: str, commands: Typer = app) -> str:
    """Run a command through a house's gateway with somebody's token; return what it says."""
    headers = {**house.login(login).headers, "Content-Type": "application/fhir+json"}
    house.client.headers.update(headers)
    result = CliRunner().invoke(commands, words, obj=ResearchGateway(house.client))
    if isinstance(result.exception, EhrError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def ehr(office: House) -> Ehr:
    """Return how somebody runs a command through the office's gateway."""
    return partial(run_as, office)


def decide(ehr: Ehr, login: str, step: str) -> str:
    digest = ("--digest", "0") if step == "approve" else ()
    if step == "approve" and login in ("st.ng", "au.ng", "au.tse"):
        shown = ehr(login, "project", "show", "falls")
        assert "Who falls again?" in shown
        digest = ("--digest", shown.split("Digest: ")[1].strip())
    return ehr(login, "project", step, "falls", "--reason", "The items are few.", *digest)


def test_a_project_goes_from_draft_to_closed_by_the_persons_of_the_tokens(
    ehr: Ehr, office: House
) -> None:
    assert "is draft" in ehr("re.lau", *NEW)
    assert "0 of 2 approvals" in ehr("re.lau", "project", "submit", "falls")
    assert "1 of 2 approvals" in decide(ehr, "st.ng", "approve")
    with pytest.raises(Forbidden, match="different person"):
        decide(ehr, "au.ng", "approve")
    assert "is approved" in decide(ehr, "au.tse", "approve")
    assert "is open" in decide(ehr, "au.tse", "open")
    assert "is suspended" in decide(ehr, "st.ng", "suspend")
    assert "is suspended" in decide(ehr, "st.ng", "resume")
    assert "is open" in decide(ehr, "au.tse", "resume")
    assert "falls" in ehr("au.tse", "project", "list")
    assert "The items are few." in ehr("re.lau", "project", "log", "falls")
    assert "is closed" in decide(ehr, "re.lau", "close")

    project = projects.get_project(Register(office.settings.data), "falls")
    # Handing in sends what was written before, as it was.
    assert (project.dates, project.items) == ("month", ("encounter_flat.patient_id",))
    steps = [(e.who, e.action) for e in Register(office.settings.data).events("falls")]
    assert steps == [
        ("re.lau", "new"), ("re.lau", "change"), ("re.lau", "submit"), ("ng", "approve"),
        ("au.tse", "approve"), ("au.tse", "open"), ("ng", "suspend"), ("ng", "resume"),
        ("au.tse", "resume"), ("re.lau", "close"),
    ]  # fmt: skip


def test_a_step_is_nobodys_but_the_tokens(ehr: Ehr, office: House) -> None:
    ehr("re.lau", *NEW)
    ehr("re.lau", "project", "submit", "falls")

    for login in ("re.mok", "re.lau", "doctor.b", "p.pat-1"):
        with pytest.raises((Forbidden, NotFound)):
            decide(ehr, login, "approve")
    with pytest.raises(Unprocessable, match="leave out --as"):
        ehr("re.lau", "project", "approve", "falls", "--as", "st.ng", "--digest", "0")
    with pytest.raises(Forbidden):
        ehr("re.lau", *TRAINING)

    project = projects.get_project(Register(office.settings.data), "falls")
    assert (project.state, project.approvers) == ("submitted", ())


def test_a_steward_records_a_training_that_its_person_reads(ehr: Ehr) -> None:
    assert "on record until 2099-01-05" in ehr("st.ng", *TRAINING)

    assert "Research data" in ehr("re.lau", "people", "list")
    assert "Research data" not in ehr("re.mok", "people", "list")


def test_a_study_runs_and_is_released_by_two_people_by_command(
    working: House, tmp_path: Path
) -> None:
    study = tmp_path / "wards.toml"
    study.write_text(f'project = "falls"\nquestion = "Who is there?"\n{STUDY}')

    run = run_as(working, "re.lau", "run", str(study)).split()[1]
    assert run in run_as(working, "re.lau", "airlock", "list", "--project", "falls")
    checked = run_as(working, "re.lau", "airlock", "check", run, "--note", "For the paper.")
    assert "NO" not in checked
    evidence = run_as(working, "st.ng", "airlock", "evidence", run)
    assert "by-sex.csv" in evidence
    reason = ("--reason", "No small cell is shown.")
    with pytest.raises(Conflict):
        run_as(working, "st.ng", "airlock", "approve", run, *reason, "--digest", "0" * 64)
    why = (*reason, "--digest", evidence.split("Digest: ")[1].strip())
    with pytest.raises(Forbidden):
        run_as(working, "st.lau", "airlock", "approve", run, *why)
    assert "waiting" in run_as(working, "st.ng", "airlock", "approve", run, *why)
    with pytest.raises(Forbidden):
        run_as(working, "re.lau", "airlock", "fetch", run, str(tmp_path / "early"))
    assert "released" in run_as(working, "au.tse", "airlock", "approve", run, *why)
    run_as(working, "re.lau", "airlock", "fetch", run, str(tmp_path / "out"))

    assert {"by-sex.csv", "controls.json"} <= {p.name for p in (tmp_path / "out").iterdir()}
    released = working.settings.data / "research" / "released" / "falls" / run
    assert (tmp_path / "out" / "by-sex.csv").read_bytes() == (released / "by-sex.csv").read_bytes()


@pytest.fixture
def study(working: House) -> Ehr:
    """Return how somebody runs a command `ehr study` through the gateway."""
    return partial(run_as, working, commands=study_app)


def test_a_cohort_is_counted_and_its_dummy_tables_are_fetched_by_command(
    study: Ehr, tmp_path: Path
) -> None:
    file = tmp_path / "wards.toml"
    file.write_text(STUDY)

    counted = study("re.lau", "cohort", str(file), "--project", "falls")
    assert "adults" in counted
    assert "Counts left today: 19." in counted
    study("re.lau", "dummy", str(tmp_path / "home"), "--project", "falls", "--people", "20")
    names = {path.name for path in (tmp_path / "home").iterdir()}
    assert names == {"encounter_flat.parquet", "patient_demographics.parquet"}

    with pytest.raises(NotFound):
        study("re.mok", "cohort", str(file), "--project", "falls")
    with pytest.raises(Unprocessable, match="--project"):
        study("re.lau", "cohort", str(file))
    with pytest.raises(Unprocessable, match="leave out --as"):
        study("re.lau", "cohort", str(file), "--project", "falls", "--as", "re.lau")
    file.write_text("name = ")
    with pytest.raises(Unprocessable, match="TOML"):
        study("re.lau", "cohort", str(file), "--project", "falls")


def test_all_pages_of_runs_are_listed(working: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_worker, "start_waiting", lambda register, changed: None)
    monkeypatch.setattr(research_runs, "_DEFAULT_COUNT", "2")
    for _ in range(5):
        sent = parameters(project="falls", definition=STUDY)
        must(working.login("re.lau").post("$research-run", sent))

    listed = run_as(working, "re.lau", "airlock", "list", "--project", "falls")
    assert listed.count("queued") == 5


def test_own_code_is_run_by_command_and_waits_as_unsafe_output(
    study: Ehr, working: House, tmp_path: Path
) -> None:
    code = tmp_path / "wards.py"
    code.write_text("(outputs / 'by-class.csv').write_text('class,people\\nIMP,300\\n')")

    run = study("re.lau", "code", str(code), "--project", "falls", "--output", "by-class.csv")
    listed = run_as(working, "re.lau", "airlock", "list", "--project", "falls")
    assert run.split()[1] in listed
    with pytest.raises(NotFound, match="cannot be read"):
        study("re.lau", "code", "none.py", "--project", "falls", "--output", "by-class.csv")


@pytest.fixture
def ledger(working: House) -> Iterator[BudgetLedger]:
    """Yield the ledger of the gateway's database, with a budget for the project."""
    settings = working.settings
    work = working.app.state.gateway.research_work
    gateway = replace(
        working.app.state.gateway, research_work=replace(work, database=settings.database)
    )
    working.app.state.gateway = gateway
    with open_ledger(settings.data, settings.database) as opened:
        opened.grant(LAKE, "", 100)
        opened.grant(LAKE, "falls", 13)
        yield opened


def test_private_answers_come_through_the_gateway_and_are_paid_for(
    study: Ehr, ledger: BudgetLedger, tmp_path: Path
) -> None:
    file = tmp_path / "wards.toml"
    file.write_text(COHORT + BORN)
    paid = ("--project", "falls", "--epsilon", "3")

    assert 200 < int(study("re.lau", "private", "count", str(file), *paid)) < 320
    shown = study("re.lau", "private", "histogram", str(file), "--column", "sex", *paid)
    assert {"female", "male"} <= set(shown.split())
    bounds = ("--column", "born", "--low", "1900", "--high", "2030")
    assert 1900 < float(study("re.lau", "private", "mean", str(file), *bounds, *paid)) < 2030
    years = ("--alpha", "0.5", "--candidate", "1900", "--candidate", "2030", "--column", "born")
    assert study("re.lau", "private", "quantile", str(file), *years, *paid).strip() in (
        "1900", "2030"
    )  # fmt: skip
    assert ledger.read_remaining_epsilon(LAKE, "falls") == 1
    with pytest.raises(Conflict, match="1 of 13 is left"):
        study("re.lau", "private", "count", str(file), *paid)


def test_a_private_question_that_is_none_costs_nothing(
    study: Ehr, working: House, ledger: BudgetLedger, tmp_path: Path
) -> None:
    def ask(login: str = "re.lau", cohort: str = COHORT, **about: Any) -> tuple[int, str]:
        sent = {"project": "falls", "definition": cohort, "statistic": "count", "epsilon": 1}
        answer = working.login(login).post("$research-private", parameters(**(sent | about)))
        return answer.status_code, answer.text

    with_latest = COHORT.replace("[index]", f"{KEPT}\n[index]")
    refused: dict[str, tuple[int, dict[str, Any]]] = {
        "too dear": (422, {"epsilon": {"valueDecimal": 1e16}}),
        "free": (400, {"epsilon": 0}),
        "yes": (422, {"epsilon": {"valueBoolean": True}}),
        "other statistic": (422, {"statistic": "sum"}),
        "no column": (400, {"statistic": "histogram"}),
        "unknown column": (422, {"statistic": "histogram", "column": "name"}),
        "no bounds": (400, {"statistic": "mean", "column": "sex"}),
        "text": (422, {"statistic": "mean", "column": "sex", "low": 0, "high": 9}),
        "no alpha": (400, {"statistic": "quantile", "column": "sex"}),
        "no candidates": (
            400,
            {"statistic": "quantile", "column": "born", "alpha": 1, "cohort": COHORT + BORN},
        ),
        "one decides about others": (422, {"cohort": with_latest}),
        "researcher of another project": (404, {"login": "re.mok"}),
        "checker": (403, {"login": "st.ng"}),
        "patient": (403, {"login": "p.pat-1"}),
    }
    for why, (status, about) in refused.items():
        found, text = ask(**about)
        assert found == status, (why, text)
    assert ledger.read_remaining_epsilon(LAKE, "falls") == 13


def test_a_token_is_read_from_a_file_and_leaves_the_machine_by_https_alone(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with pytest.raises(NotFound, match="cannot be read"):
        open_gateway("https://ehr.example", token)
    with pytest.raises(Unprocessable, match="--token-file"):
        open_gateway("https://ehr.example", None)
    token.write_text("abc\n")
    with pytest.raises(Unprocessable, match="https alone"):
        open_gateway("http://ehr.example", token)

    opened = open_gateway("http://127.0.0.1:9", token)
    assert opened.client.headers["Authorization"] == "Bearer abc"
    with pytest.raises(Unavailable, match="does not answer"):
        opened.ask("$research-projects")


def test_a_token_that_is_none_is_refused(office: House) -> None:
    office.client.headers["Authorization"] = "Bearer none"

    with pytest.raises(Unauthorized):
        ResearchGateway(office.client).ask("$research-projects")
