"""Steps of research by command through the gateway: the token says who takes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ehr_analytics import project as projects
from ehr_analytics.cli import app
from ehr_analytics.gateway_client import ResearchGateway, open_gateway
from ehr_analytics.register import Register
from ehr_fhir.errors import (
    EhrError,
    Forbidden,
    NotFound,
    Unauthorized,
    Unavailable,
    Unprocessable,
)
from tests.lib.gateway import House
from tests.spec.test_research_projects_http import office
from tests.spec.test_research_work_http import STUDY
from tests.spec.test_research_work_http import office as working

__all__ = ["office", "working"]

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


def run_as(house: House, login: str, *words: str) -> str:
    """Run a command through a house's gateway with somebody's token; return what it says."""
    headers = {**house.login(login).headers, "Content-Type": "application/fhir+json"}
    house.client.headers.update(headers)
    result = CliRunner().invoke(app, words, obj=ResearchGateway(house.client))
    if isinstance(result.exception, EhrError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def ehr(office: House) -> Ehr:
    """Return how somebody runs a command through the office's gateway."""
    return partial(run_as, office)


def decide(ehr: Ehr, login: str, step: str) -> str:
    return ehr(login, "project", step, "falls", "--reason", "The items are few.")


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
        ehr("re.lau", "project", "approve", "falls", "--as", "st.ng", "--reason", "Mine.")
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
    assert "by-sex.csv" in run_as(working, "st.ng", "airlock", "evidence", run)
    why = ("--reason", "No small cell is shown.")
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
