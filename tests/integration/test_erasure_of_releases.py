"""An erasure takes a person out of the sets that releases are compared by; comparing goes on."""

from __future__ import annotations

import pytest

from ehr_analytics import airlock
from ehr_analytics.disclosure.release_history import ReleaseHistory
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_privacy.deid import pseudonym
from tests.integration.test_erasure_everywhere import approve, follow, run
from tests.lib.gateway import House, consent
from tests.lib.lake_input import KEY
from tests.lib.released_cells import count_persons, own_pseudonyms, store_run
from tests.lib.research import open_project, register

pytestmark = pytest.mark.timeout(1200)

PROJECT = "acute-returns"
ERASED = "pat-1"
OTHERS = [f"other-{number}" for number in range(59)]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """Name the database of the test's house."""
    return str(request.param)


@pytest.fixture
def office(furnished: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """Return a house whose lake has sixty people; a project may count them."""
    steward = Account("steward.ho", "steward", "Ho", "ehr-commons")
    accounts.add_account(furnished.gateway.store, steward)
    # The commands' settings.
    monkeypatch.setenv("EHR_DATABASE", furnished.settings.database_url or "sqlite")
    (furnished.settings.data / "keys" / "deid.key").write_bytes(KEY)
    for patient in OTHERS:
        body = {"resourceType": "Patient", "id": patient, "gender": "female"}
        furnished.system("ehr-commons").store(body)
        joining = consent(f"joining-{patient}", "joining", patient=patient)
        furnished.system("ehr-commons").store(joining)
    follow(furnished, has_omop=False)
    open_project(register(furnished.settings.data))
    return furnished


def test_an_erased_person_leaves_every_set_and_differences_to_them_stay_hidden(
    office: House,
) -> None:
    data = office.settings.data
    book = register(data)
    erased, *others = (pseudonym(KEY, f"Patient/{patient}") for patient in (ERASED, *OTHERS))
    assert propose(office, "run-1", [erased, *others]) is None
    release(office, "run-1")
    [kept] = ReleaseHistory(book).read()
    assert (len(kept.persons), kept.erased, kept.shown) == (60, 0, 60)
    [own] = own_pseudonyms(book, PROJECT, [erased])
    approve(office)

    outcome = run(office, "erase", ERASED)

    assert outcome.exit_code == 0, f"{outcome.output} {outcome.exception!r}"
    [kept] = ReleaseHistory(book).read()
    assert (len(kept.persons), kept.erased, kept.shown) == (59, 1, 60)
    with book.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM release_person").fetchone()[0] == 59
    # Cells that were kept for a run name the person under the project's key.
    kept_files = [path for path in data.rglob("*") if path.is_file()]
    assert not [path for path in kept_files if own.encode() in path.read_bytes()]
    # All but the erased, or but one more, tell of the erased; half of the others tells of nobody.
    assert propose(office, "run-2", others) == "differencing"
    assert propose(office, "run-3", others[1:]) == "differencing"
    assert propose(office, "run-4", others[:30]) is None
    release(office, "run-4")
    # Once more: nobody is taken out twice.
    assert run(office, "erase", ERASED).exit_code != 0
    assert sorted((len(cell.persons), cell.erased) for cell in ReleaseHistory(book).read()) == [
        (30, 0), (59, 1),
    ]  # fmt: skip


def propose(house: House, name: str, persons: list[str]) -> str | None:
    """Propose a run that counts people; return what hides the count."""
    book = register(house.settings.data)
    cell = count_persons(book, PROJECT, persons)
    airlock.propose_outputs(book, store_run(book, name, [cell], PROJECT, "lau"), "lau")
    hidden = airlock.read_evidence(book, name)[0]["hidden_by"]
    return None if hidden is None else str(hidden)


def release(house: House, name: str) -> None:
    """Let two people approve a run, and release it."""
    book = register(house.settings.data)
    for checker in ("steward.ng", "auditor.tse"):
        airlock.record_decision(book, name, checker, "approve", "fine")
    airlock.release_outputs(book, name, "steward.ng")
