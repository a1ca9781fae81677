"""Whatever was done since the backup, a restored store shows nobody more than the one it was."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lib.backups import back_up, open_house, restore, restored_settings
from tests.lib.gateway import House, Session, condition, must, observation, patient, restriction

PEOPLE = ("doctor.a", "doctor.b", "pharmacist.b", "p.pat-1", "p.pat-2")
RECORDS = ("Condition/con-1", "Observation/lab-1", "Observation/lab-2", "Encounter/enc-1")
STEPS = (
    "share", "withdraw", "hide all", "hide lab", "lift", "label", "delete", "link", "unlink",
    "new record", "back up",
)  # fmt: skip


@pytest.fixture
def database() -> str:
    return "sqlite"


def put(session: Session, body: dict[str, Any]) -> None:
    """Store a resource, also one that was deleted."""
    if session.get(f"{body['resourceType']}/{body['id']}").status_code == 410:
        must(session.put(body))
    else:
        session.store(body)


def take(house: House, step: str) -> None:
    """Do one thing of those that open and close; what is refused by now is not done."""
    me, hospital = house.login("p.pat-1"), house.system("hospital-a")
    platform = house.system("ehr-commons")
    if step == "share":
        house.share()
    elif step == "withdraw":
        house.share(status="inactive")
    elif step == "hide all":
        put(me, restriction("hide", against="Organization/hospital-b"))
    elif step == "hide lab":
        put(me, restriction("hide", against="Organization/hospital-b", domain="laboratory"))
    elif step == "lift":
        me.delete("Consent/hide")
    elif step == "label":
        # It moves to another domain, which consent judges anew.
        hospital.put(observation("lab-2", "vital-signs"))
    elif step == "delete":
        hospital.delete("Observation/lab-1")
    elif step == "link":
        other = {"other": {"reference": "Patient/pat-1"}, "type": "replaces"}
        must(platform.put({**patient("pat-2", "ZB1234563"), "link": [other]}))
    elif step == "unlink":
        must(platform.put(patient("pat-2", "ZB1234563")))
    elif step == "new record":
        hospital.post("Condition", condition("x", "enc-1"))


def seen(house: House) -> set[tuple[str, str]]:
    return {
        (login, record)
        for login in PEOPLE
        for record in RECORDS
        if house.login(login).get(record).status_code == 200
    }


@settings(max_examples=8)
@given(before=st.lists(st.sampled_from(STEPS), max_size=3),
       after=st.lists(st.sampled_from(STEPS), min_size=1, max_size=6))  # fmt: skip
def test_a_restored_store_shows_nobody_more(
    furnished: House, tmp_path_factory: pytest.TempPathFactory, before: list[str], after: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("agrees")
    live = House(_copied(furnished, folder / "live"))
    live.clock = furnished.clock
    for step in before:
        take(live, step)
    back_up(live, folder / "backups")
    for step in after:
        if step == "back up":
            back_up(live, folder / "backups")
        else:
            take(live, step)
    live.gateway.store.resolve_journal()
    expected = seen(live)
    target = restored_settings(live, folder / "new")

    report = restore(folder / "backups", target)

    assert report.state.closure is None
    with open_house(live, target) as again:
        assert seen(again) <= expected
        # Merging that was undone since stays: it closes.
        if "unlink" not in after:
            assert seen(again) == expected
    live.gateway.store.close()


def _copied(house: House, target: Path) -> Path:
    shutil.copytree(house.settings.data, target)
    return target
