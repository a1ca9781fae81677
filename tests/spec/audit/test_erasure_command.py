"""`ehr audit erase`: two people, a reason, and a log that still holds."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner, Result

from ehr_cli.main import app
from ehr_gateway.accounts import accounts
from ehr_gateway.accounts.accounts import Account
from ehr_gateway.audit_log.service import AuditLog
from tests.lib.gateway import House, must

REASON = "court order 12/2026"


@pytest.fixture
def seen(furnished: House) -> House:
    """Return a house in which a record was read, with the accounts of those who erase."""
    database = furnished.gateway.store.database
    for account in (
        Account("admin.lee", "administrator", "Lee"),
        Account("steward.ho", "steward", "Ho"),
        Account("steward.lee", "steward", "Lee", person="lee"),
        Account("admin.two", "administrator", "Lee", person="lee"),
    ):
        accounts.add_account(database, account)
    # One person by their electronic identity alone.
    for account in (
        Account("admin.mok", "administrator", "Mok"),
        Account("steward.mok", "steward", "Mok"),
    ):
        accounts.add_account(database, account, identity_number="ZB234567(3)", pin="246810")
    must(furnished.login("doctor.a").get("Observation/lab-1"))
    log: AuditLog = furnished.app.state.audit_log
    log.flush_and_sign()
    return furnished


def erase(house: House, patient: str = "pat-1", **options: str) -> Result:
    """Run the command; options take the place of those that are right."""
    chosen = {"by": "admin.lee", "approver": "steward.ho", "reason": REASON, **options}
    words = [word for name, value in chosen.items() for word in (f"--{name}", value)]
    place = ["--data", str(house.settings.data), "--database", str(house.settings.database)]
    if "://" not in place[-1]:
        place = place[:2]
    return CliRunner().invoke(app, ["audit", "erase", patient, *words, *place])


def rows(house: House) -> list[tuple[object, ...]]:
    """Return the whole log."""
    with house.gateway.store.read_transaction() as connection:
        return [tuple(row) for row in connection.execute("SELECT * FROM audit ORDER BY seq")]


def test_the_events_are_emptied_and_the_log_still_verifies(seen: House) -> None:
    outcome = erase(seen)

    assert outcome.exit_code == 0, outcome.output
    assert "events were emptied" in outcome.stdout
    assert "pat-1" not in str(rows(seen))
    assert "lab-1" not in str(rows(seen))
    place = ["--data", str(seen.settings.data)]
    database = str(seen.settings.database)
    place += ["--database", database] if "://" in database else []
    verified = CliRunner().invoke(app, ["audit", "verify", *place])
    assert verified.exit_code == 0, verified.output
    assert "emptied by an erasure on record" in verified.stdout


def test_who_erased_who_approved_and_why_is_on_record(seen: House) -> None:
    erase(seen)

    with seen.gateway.store.read_transaction() as connection:
        event = connection.execute(
            "SELECT login, query, reason FROM audit WHERE interaction = 'erase-audit'"
        ).fetchone()
    assert tuple(event) == (
        "admin.lee",
        "approved-by=steward.ho&reason=court+order+12%2F2026",
        "erased",
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"by": "doctor.a"}, "administrator or a steward"),
        ({"approver": "admin.lee"}, "A steward approves"),
        ({"by": "steward.ho"}, "Another person"),
        ({"by": "admin.two", "approver": "steward.lee"}, "Another person"),
        ({"by": "admin.mok", "approver": "steward.mok"}, "Another person"),
        ({"approver": "nobody.here"}, "no such account"),
        ({"reason": " "}, "Give a reason"),
        ({"reason": "as pat-1 wished"}, "must not name the patient"),
        ({"patient": "pat-none"}, "no event"),
    ],
)
def test_what_is_not_approved_as_it_should_be_empties_nothing(
    seen: House, options: dict[str, str], told: str
) -> None:
    before = rows(seen)

    outcome = erase(seen, **options)

    assert outcome.exit_code != 0
    assert told in f"{outcome.output} {outcome.exception}"
    assert rows(seen) == before
