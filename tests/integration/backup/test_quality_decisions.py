"""What stewards decided of versions with a fault is in force after a restore."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.backups import back_up, open_house, restore, restored_settings, rows
from tests.lib.gateway import House, must, observation
from tests.spec.access.steps import named
from tests.spec.access.test_findings_http import FINDING, LAB, decide, listed, tell, told_to_lake


def change_value(house: House, value: int) -> None:
    """Write a version that no journal needs: nobody's access changes with it."""
    system = house.system("hospital-a")
    changed = must(system.get(LAB)).json()
    changed["valueQuantity"]["value"] = value
    must(system.put(changed))


@pytest.mark.parametrize("decision", ["release", "reject", "send-back"])
def test_a_decision_since_the_backup_is_repeated(
    furnished: House, tmp_path: Path, decision: str
) -> None:
    must(tell(furnished, FINDING))
    back_up(furnished, tmp_path / "backups")
    must(decide(furnished.login("steward"), decision))
    expected = {table: rows(furnished, table) for table in ("quality_decision", "access_request")}
    furnished.gateway.store.resolve_journal()
    settings = restored_settings(furnished, tmp_path / "new")

    report = restore(tmp_path / "backups", settings)

    assert report.state.closure is None
    with open_house(furnished, settings) as again:
        assert {table: rows(again, table) for table in expected} == expected
        assert told_to_lake(again) == [[{"version": 1, "decision": decision}]]
        assert listed(again.login("steward")) == ([LAB] if decision == "send-back" else [])
        asked = named(must(again.login("doctor.a").get("$corrections"))).get("correction", [])
        assert len(asked) == (decision == "send-back")
        assert decide(again.login("steward"), decision).status_code == 409


def test_a_decision_about_content_that_is_lost_decides_nothing_else(
    furnished: House, tmp_path: Path
) -> None:
    """Another version may get the number of the one that was decided about."""
    back_up(furnished, tmp_path / "backups")
    change_value(furnished, 14)
    must(tell(furnished, {**FINDING, "version": 2}))
    must(decide(furnished.login("steward"), "release", version=2))
    furnished.gateway.store.resolve_journal()
    settings = restored_settings(furnished, tmp_path / "new")

    report = restore(tmp_path / "backups", settings)

    assert report.state.closure is None
    with open_house(furnished, settings) as again:
        change_value(again, 15)
        must(tell(again, {**FINDING, "version": 2}))
        assert listed(again.login("steward")) == [LAB]
        assert told_to_lake(again) == []


def test_a_decision_finds_its_version_under_another_number(
    furnished: House, tmp_path: Path
) -> None:
    """A version between the backup's and the one that was decided about is lost."""
    back_up(furnished, tmp_path / "backups")
    system = furnished.system("hospital-a")
    sensitivity = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
    labelled = {
        **observation("lab-1", "laboratory"),
        "meta": {"security": [{"system": sensitivity, "code": "PSY"}]},
    }
    change_value(furnished, 14)
    must(system.put(labelled))
    must(tell(furnished, {**FINDING, "version": 3}))
    must(decide(furnished.login("steward"), "reject", version=3))
    furnished.gateway.store.resolve_journal()
    settings = restored_settings(furnished, tmp_path / "new")

    restore(tmp_path / "backups", settings)

    with open_house(furnished, settings) as again:
        assert told_to_lake(again) == [[{"version": 2, "decision": "reject"}]]
