"""Steps of research by command: `--as` names an account of a role that may take the step."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import create_engine
from typer.testing import CliRunner

from ehr_analytics import airlock, people
from ehr_analytics import project as projects
from ehr_analytics.analyses.frame import CohortFrame
from ehr_analytics.cohorts import parse_cohort
from ehr_analytics.cohorts.definition import AsTopCodes
from ehr_analytics.cohorts.result import CohortResult
from ehr_analytics.disclosure.budget import BudgetLedger
from ehr_analytics.disclosure.private_statistics import PrivateTable
from ehr_analytics.private_study import LAKE, PrivateCohort
from ehr_analytics.register import Register
from ehr_analytics.researchers import Training, record_training
from ehr_cli.main import app
from ehr_etl.lake import Lake
from ehr_etl.tables.bucketed import create_tables
from ehr_fhir.errors import Conflict, Forbidden, Invalid, NotFound, exit_code
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.login.account_lifecycle import disable_account
from ehr_gateway.operations import _research_projects as operations
from tests.lib.gateway import House
from tests.lib.released_cells import count_persons, store_run, write_persons
from tests.lib.training import train

Ehr = Callable[..., tuple[int, str]]
REFUSED = exit_code(Forbidden(""))
UNKNOWN = exit_code(NotFound(""))
CONFLICT = exit_code(Conflict(""))
# Of two people: the ones that a project has, and another account of each.
APPLICANT = ("re.lau", "st.lau", "au.lau")
STEWARD = ("st.ng", "au.ng")
# Accounts that take no approver's step, and what each is refused with.
OTHERS = {
    "nobody.at-all": UNKNOWN, "st.gone": UNKNOWN, "re.mok": REFUSED, "dr.ho": REFUSED,
    "admin": REFUSED, "p.pat-2": REFUSED,
}  # fmt: skip


@pytest.fixture
def office(house: House) -> House:
    """Return a house with people who have an account for each of their roles."""
    database = house.gateway.store.database
    for login, role, person in (
        ("re.lau", "researcher", "lau"),
        ("st.lau", "steward", "lau"),
        ("re.mok", "researcher", None),
        ("st.ng", "steward", "ng"),
        ("au.ng", "auditor", "ng"),
        ("au.tse", "auditor", None),
        ("st.gone", "steward", None),
        # A person to themselves, but for the electronic identity that `st.lau` has too.
        ("au.lau", "auditor", "other-lau"),
    ):
        account = Account(login, role, login.upper(), "ehr-commons", person=person)
        identity = {"identity_number": "ZB234567(3)", "pin": "246810"}
        accounts.add_account(database, account, **identity if login in APPLICANT[1:] else {})
    doctor = Account("dr.ho", "clinician", "Dr Ho", "hospital-a", "doctor")
    accounts.add_account(database, doctor)
    disable_account(house.gateway, "st.gone")
    return house


@pytest.fixture
def ehr(office: House) -> Ehr:
    """Return how to run a command in the office: its exit code and what it says."""
    settings = office.settings
    environment = {"EHR_DATABASE": settings.database_url or "sqlite"}

    def run(*words: str) -> tuple[int, str]:
        words = (*words, "--data", str(settings.data))
        result = CliRunner().invoke(app, words, env=environment)
        return result.exit_code, result.output + result.stderr

    return run


def new(ehr: Ehr, login: str, *options: str) -> tuple[int, str]:
    return ehr(
        *("research", "project", "new", "falls", "--title", "Falls", "--purpose", "Who falls?"),
        *("--ethics", "REC-7", "--item", "encounter_flat.patient_id", "--until", "2099-12-31"),
        *("--as", login, *options),
    )


def step(ehr: Ehr, action: str, login: str) -> int:
    more = {"return": ("--reason", "Name the people."), "approve": ("--digest", read_digest(ehr))}
    return ehr("research", "project", action, "falls", "--as", login, *more.get(action, ()))[0]


def read_digest(ehr: Ehr) -> str:
    """Return the digest that the application of the project is shown with."""
    return ehr("research", "project", "show", "falls")[1].split("Digest: ")[-1].strip()


def submitted(ehr: Ehr) -> None:
    assert new(ehr, "re.lau")[0] == 0
    assert step(ehr, "submit", "re.lau") == 0


def test_the_commands_and_the_operations_know_the_same_roles() -> None:
    assert people.APPLICANT_ROLES == operations.APPLICANT_ROLES
    assert people.APPROVER_ROLES == operations.APPROVER_ROLES


def test_two_people_take_a_project_to_open_and_the_register_names_them_as_tokens_do(
    ehr: Ehr, office: House
) -> None:
    submitted(ehr)
    assert step(ehr, "approve", "st.ng") == 0
    assert step(ehr, "approve", "au.tse") == 0
    # By the other account of one of the two.
    assert step(ehr, "open", "au.ng") == 0

    register = Register(office.settings.data)
    project = projects.get_project(register, "falls")
    assert (project.state, project.applicant, project.people) == ("open", "lau", ("lau",))
    assert project.approvers == ("ng", "au.tse")
    assert step(ehr, "close", "re.mok") == REFUSED
    assert step(ehr, "close", "re.lau") == 0


@pytest.mark.parametrize("action", ["approve", "return", "open"])
def test_nobody_but_an_enabled_steward_or_auditor_decides(
    ehr: Ehr, office: House, action: str
) -> None:
    submitted(ehr)
    state = "submitted"
    if action == "open":
        assert [step(ehr, "approve", login) for login in ("st.ng", "au.tse")] == [0, 0]
        state = "approved"

    assert {login: step(ehr, action, login) for login in OTHERS} == OTHERS
    assert [step(ehr, action, login) for login in APPLICANT] == [REFUSED] * len(APPLICANT)
    assert projects.get_project(Register(office.settings.data), "falls").state == state


@pytest.mark.parametrize("first", STEWARD)
@pytest.mark.parametrize("second", STEWARD)
def test_all_accounts_of_a_person_are_one_approver(ehr: Ehr, first: str, second: str) -> None:
    submitted(ehr)
    assert step(ehr, "approve", first) == 0

    assert step(ehr, "approve", second) == REFUSED


@pytest.mark.parametrize("login", ["nobody.at-all", "st.gone", "st.ng", "admin", "p.pat-2"])
def test_nobody_but_a_researcher_or_clinician_applies_or_is_applied_for(
    ehr: Ehr, office: House, login: str
) -> None:
    refused = {"nobody.at-all": UNKNOWN, "st.gone": UNKNOWN}.get(login, REFUSED)

    assert new(ehr, login)[0] == refused
    assert new(ehr, "re.lau", "--person", login)[0] == refused
    assert projects.list_projects(Register(office.settings.data)) == []


def test_whoever_works_in_a_project_runs_it_by_any_account_that_may_run(
    ehr: Ehr, office: House, tmp_path_factory: pytest.TempPathFactory
) -> None:
    code = tmp_path_factory.mktemp("code") / "code.py"
    code.write_text("", "utf-8")
    assert new(ehr, "re.lau", "--person", "dr.ho")[0] == 0
    words = ("study", "code", str(code), "--project", "falls", "--output", "a.csv", "--as")

    for login, refused in OTHERS.items():
        if login not in ("re.mok", "dr.ho"):
            assert ehr(*words, login)[0] == refused
            assert ehr("research", "run", "acute-returns", "--as", login)[0] == refused
    # A steward of the same person may not: their role does not run.
    assert ehr(*words, "st.lau")[0] == REFUSED
    for login in ("re.mok", "re.lau", "dr.ho"):
        assert "Project falls is draft" in ehr(*words, login)[1]


def test_outputs_leave_by_two_people_whichever_accounts_they_use(ehr: Ehr, office: House) -> None:
    data = office.settings.data
    persons = write_persons(data, 60)
    submitted(ehr)
    for action, login in (("approve", "st.ng"), ("approve", "au.tse"), ("open", "st.ng")):
        assert step(ehr, action, login) == 0
    register = Register(data)
    run = store_run(register, "run-1", [count_persons(register, "falls", persons)], "falls", "lau")

    def check(action: str, login: str) -> int:
        reason = () if action in ("check", "release") else ("--reason", "No small cell.")
        read = airlock.digest_outputs(register, run)
        digest = ("--digest", read) if action == "approve" else ()
        return ehr("research", "airlock", action, run, "--as", login, *reason, *digest)[0]

    assert check("check", "nobody.at-all") == check("check", "st.gone") == UNKNOWN
    assert check("check", "p.pat-2") == REFUSED
    # Without a training on record.
    assert check("check", "re.lau") == REFUSED
    train(register, "lau")
    assert check("check", "re.lau") == 0
    for action in ("approve", "reject"):
        assert {login: check(action, login) for login in OTHERS} == OTHERS
        assert [check(action, login) for login in APPLICANT] == [REFUSED] * len(APPLICANT)
    assert check("approve", "st.ng") == 0
    assert [check("approve", login) for login in STEWARD] == [REFUSED] * 2
    assert check("approve", "au.tse") == 0
    assert {login: check("release", login) for login in OTHERS} == OTHERS
    assert [check("release", login) for login in APPLICANT] == [REFUSED] * len(APPLICANT)
    assert check("release", "au.ng") == 0
    decided = airlock.get_proposal(register, run).decisions
    assert [decision.person for decision in decided] == ["ng", "au.tse"]
    assert_traced(ehr, office, run)


def assert_traced(ehr: Ehr, office: House, run: str) -> None:
    """Each command put its step on record, and a witness verifies the release by its file."""
    data = office.settings.data
    with office.gateway.store.read_transaction() as connection:
        leaves = "SELECT count(*) FROM audit WHERE interaction = 'research-step'"
        recorded = connection.execute(leaves).fetchone()[0]
    # The training was recorded by no command, and is no event of the project.
    assert recorded == len(Register(data).events("falls"))
    proof, key = data / "falls.trace", office.settings.audit_folder / "verifier.key"
    code, text = ehr("audit", "trace", run, "--proof", str(proof))
    assert code == 0, text
    assert "ng approved its files" in text and "NOT SHOWN: no leaf says that run-1 ran" in text
    released = data / "research" / "released" / "falls" / run
    words = ("audit", "verify-trace", str(proof), "--key", str(key), "--files", str(released))
    assert CliRunner().invoke(app, words).exit_code == 0
    (released / "all.csv").write_text("changed")
    assert CliRunner().invoke(app, words).exit_code == 1
    assert ehr("audit", "trace", run, "--json")[0] == 1
    proof.write_text(proof.read_text().replace('"au.tse', '"au.mok').replace("au.tse", "au.mok"))
    assert CliRunner().invoke(app, words[:5]).exit_code == 1


def test_a_folder_without_a_platform_has_nobody(ehr: Ehr, office: House) -> None:
    empty = office.settings.data / "empty"
    empty.mkdir()

    if office.settings.database_url is None:
        words = ("research", "project", "submit", "falls", "--as", "re.lau", "--data", str(empty))
        result = CliRunner().invoke(app, words)
        assert (result.exit_code, "no platform" in result.output + result.stderr) == (UNKNOWN, True)
        assert not (empty / "ehr.db").exists()


def test_a_command_that_is_not_run_by_ehr_knows_nobody(office: House) -> None:
    from ehr_analytics.cli import app as research

    words = ("project", "submit", "falls", "--as", "re.lau", "--data", str(office.settings.data))

    assert CliRunner().invoke(research, words).exit_code == 1


_SEEN = """
name = "seen"
[events.visits]
table = "encounter_flat"
date = "start"
[index]
events = "visits"
[[column]]
name = "sex"
kind = "person"
column = "gender"
values = ["female", "male"]
[[column]]
name = "born"
kind = "person"
column = "birth_year"
"""


def test_private_answers_are_paid_from_a_budget_of_two_people(
    ehr: Ehr, office: House, tmp_path: Path
) -> None:
    people_of_lake = len(write_persons(office.settings.data, 300))
    create_tables(Lake(office.settings.data / "lake"))
    # Of the lake: a project's dates are in an order of its own, which is made with it.
    key = office.settings.data / "keys" / "deid.key"
    key.parent.mkdir(exist_ok=True)
    key.write_bytes(bytes(32))
    file = tmp_path / "seen.toml"
    file.write_text(_SEEN, "utf-8")
    items = [
        word
        for name in ("patient_demographics.id", "patient_demographics.gender",
                     "patient_demographics.birth_year", "encounter_flat.start")
        for word in ("--item", name)
    ]  # fmt: skip
    assert new(ehr, "re.lau", *items)[0] == 0
    for action, login in (
        ("submit", "re.lau"), ("approve", "st.ng"), ("approve", "au.tse"), ("open", "st.ng"),
    ):  # fmt: skip
        assert step(ehr, action, login) == 0

    training = Training("Data protection", date(2026, 1, 1), date(2099, 1, 1))
    record_training(Register(office.settings.data), "lau", "eHR Commons", training, "ng")

    def ask(kind: str, *options: str, epsilon: str = "5", login: str = "re.lau") -> tuple[int, str]:
        own = ("--project", "falls", "--epsilon", epsilon, "--as", login)
        return ehr("study", "private", kind, str(file), *options, *own)

    def grant(login: str, epsilon: str, *options: str) -> int:
        return ehr("privacy", "budget", "grant", epsilon, "--as", login, *options)[0]

    assert ask("count")[0] == UNKNOWN  # no budget
    assert grant("st.ng", "100") == grant("au.tse", "100") == 0
    assert grant("st.lau", "12", "--project", "falls") == REFUSED
    assert grant("re.mok", "12", "--project", "falls") == REFUSED
    assert grant("st.ng", "12", "--project", "falls") == 0
    assert grant("au.ng", "12", "--project", "falls") == CONFLICT
    assert ask("count")[0] == UNKNOWN  # proposed, not granted
    assert grant("au.tse", "12", "--project", "falls") == 0

    code, shown = ask("count")
    assert code == 0
    assert 0 < int(shown) <= people_of_lake + 20
    code, shown = ask("histogram", "--column", "sex", epsilon="2")
    assert code == 0
    assert {"female", "male"} <= set(shown.split())
    code, shown = ask("mean", "--column", "born", "--low", "1900", "--high", "2030", epsilon="2")
    assert code == 0
    assert 1900 < float(shown) < 2030
    halves = ("--candidate", "1900", "--candidate", "1970", "--candidate", "2030")
    assert ask("quantile", "--column", "born", "--alpha", "0.5", *halves, epsilon="2")[0] == 0
    assert ask("count", epsilon="2")[0] == CONFLICT  # 1 is left
    assert ask("count", epsilon="0.5", login="re.mok")[0] == REFUSED
    code, shown = ehr("privacy", "budget", "show")
    assert re.search(r"falls\s+12\s+11\s+1\b", shown)


def test_labels_that_the_data_chose_have_no_private_histogram(tmp_path: Path) -> None:
    codes = replace(
        parse_cohort(tomllib.loads(_SEEN, parse_float=Decimal)).columns[0], form=AsTopCodes(5)
    )
    cohort = replace(parse_cohort(tomllib.loads(_SEEN, parse_float=Decimal)), columns=(codes,))
    ledger = BudgetLedger(create_engine(f"sqlite:///{tmp_path / 'budget.db'}"))
    table = PrivateTable(ledger, LAKE, "falls", "re.lau")
    frame = CohortFrame(CohortResult(cohort, pa.table({}), pa.table({}), {"sex": ("a", "b")}))

    with pytest.raises(Invalid, match="the data chose"):
        PrivateCohort(cohort, frame, table).histogram("sex", 1.0)
