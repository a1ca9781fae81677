"""What operations refuse before anything is looked up: one database says as much as two."""

from __future__ import annotations

import pytest

from tests.lib.gateway import House, Session
from tests.spec.access.steps import REASON, send, told, xray

UNTIL = "2026-12-01"


@pytest.fixture
def database() -> str:
    """Name the one database of these tests."""
    return "sqlite"


@pytest.fixture
def ward(furnished: House) -> House:
    """Return a house in which hospital-b sees what is open, and an X-ray is restricted."""
    furnished.share()
    xray(furnished, "ray-1")
    return furnished


@pytest.fixture
def pharmacist(ward: House) -> Session:
    """Return the session of the one who meets the marker."""
    return ward.login("pharmacist.b")


@pytest.mark.parametrize(
    "given",
    [
        {"reason": "short"},
        {"reason": "x" * 501},
        {"reason": "aaaaaaaaaaaaaaaaaa"},
        {"reason": "why\u202ethe films are needed"},
        {"hours": 0},
        {"hours": 30 * 24 + 1},
        {"domain": "everything"},
        {"domain": "chinese-medicine"},
        {"reason": [REASON, REASON]},
    ],
    ids=lambda given: next(iter(given)),
)
def test_what_is_asked_for_is_bounded(
    ward: House, pharmacist: Session, given: dict[str, object]
) -> None:
    asked = {"reason": REASON, "domain": "radiology", "hours": 1, **given}
    answer = send(pharmacist, "Patient/pat-1/$request-access", **asked)

    assert answer.status_code == 422, answer.text
    assert REASON not in answer.text
    assert told(ward) == []


@pytest.mark.parametrize(
    ("login", "status"),
    [("system", 403), ("researcher", 403), ("steward", 403), ("p.pat-1", 403)],
)
def test_nobody_but_a_clinician_in_person_asks(ward: House, login: str, status: int) -> None:
    session = ward.system("hospital-b") if login == "system" else ward.login(login)
    answer = send(
        session, "Patient/pat-1/$request-access", reason=REASON, domain="radiology", hours=1
    )

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("login", "record", "until", "status"),
    [
        ("doctor.b", "Observation/lab-1", UNTIL, 404),
        ("doctor.a", "Observation/nothing", UNTIL, 404),
        ("doctor.a", "Condition/con-1", UNTIL, 422),
        ("doctor.a", "Observation/lab-1", "2026-11-21", 422),
        ("doctor.a", "Observation/lab-1", "2027-06-01", 422),
        ("doctor.a", "Observation/lab-1", "soon", 400),
        ("p.pat-1", "Observation/lab-1", UNTIL, 403),
        ("steward", "Observation/lab-1", UNTIL, 403),
    ],
)
def test_what_cannot_be_held_is_refused(
    furnished: House, login: str, record: str, until: str, status: int
) -> None:
    answer = send(furnished.login(login), f"{record}/$hold", reason=REASON, until=until)

    assert answer.status_code == status, answer.text
