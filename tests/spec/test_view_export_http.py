"""`$viewdefinition-export`: files of a project's views, in the background, until they expire."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ehr_analytics import export_register, export_writer, view_exports
from ehr_analytics import project as projects
from ehr_analytics.export_register import erase_expired, read_live_exports
from ehr_analytics.register import Register, utc_now
from ehr_cli.research_queries import ProjectQueries
from ehr_etl.duckdb_session import QueryLimits
from ehr_gateway.backup.file_listing import list_files
from tests.lib.gateway import House, must
from tests.lib.research_lake import leave, parameters, serve_with_lake

PEOPLE, VISITS = "patient_demographics", "encounter_flat"
# Chosen: a query's process starts in about a second, in some more where the machine is busy.
SECONDS = 90.0


@pytest.fixture
def lake(furnished: House) -> House:
    """A gateway that is served with the lake; doctor.b is in a project that may read rows."""
    return serve_with_lake(furnished)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Exports that wait for their turn until the test is over."""
    with export_writer._write_lock:
        yield


def _view(view: str, name: str | None = None) -> dict[str, Any]:
    parts = [{"name": "viewReference", "valueReference": {"reference": f"ViewDefinition/{view}"}}]
    if name is not None:
        parts.append({"name": "name", "valueString": name})
    return {"name": "view", "part": parts}


def _start(house: House, *views: dict[str, Any], login: str = "doctor.b", **values: Any) -> Any:
    sent = parameters(**{"project": "falls", **values})
    sent["parameter"] += views or (_view(PEOPLE),)
    headers = {"Prefer": "respond-async"}
    return house.login(login).post("$viewdefinition-export", sent, headers=headers)


def _address(answer: Any) -> str:
    return urlsplit(str(answer.headers["content-location"])).path.removeprefix("/fhir/")


def _ask(house: House, address: str, login: str = "doctor.b", method: str = "GET") -> Any:
    return house.login(login).request(method, address, follow_redirects=False)


def _wait(house: House, address: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while (answer := _ask(house, address)).status_code == 202:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)
    return answer


def _finish(house: House, *views: dict[str, Any], **values: Any) -> str:
    """Export and wait; return the address."""
    address = _address(_start(house, *views, **values))
    assert _wait(house, address).status_code == 303
    return address


def _exports(house: House) -> Path:
    return house.settings.data / "research" / "exports"


def _values(answer: Any) -> dict[str, Any]:
    found: dict[str, list[Any]] = {}
    for parameter in answer.json()["parameter"]:
        name, *_ = parameter.pop("name"), None
        found.setdefault(name, []).append(next(iter(parameter.values())))
    return found


def test_views_are_exported_into_files(lake: House) -> None:
    started = _start(lake, _view(PEOPLE, "people"), _view(VISITS), clientTrackingId="mine")
    assert started.status_code == 202
    assert _values(started)["status"] == ["accepted"]

    status = _wait(lake, _address(started))
    assert status.status_code == 303
    result = must(_ask(lake, urlsplit(status.headers["location"]).path.removeprefix("/fhir/")))

    said = _values(result)
    assert (said["status"], said["clientTrackingId"]) == (["completed"], ["mine"])
    assert "expires" in result.headers
    files = {}
    for parts in said["output"]:
        part = {each["name"]: each for each in parts}
        address = urlsplit(part["location"]["valueUri"]).path.removeprefix("/fhir/")
        files[part["name"]["valueString"]] = must(_ask(lake, address))
    assert set(files) == {"people", VISITS}
    people = [json.loads(line) for line in files["people"].text.splitlines()]
    assert len(people) == 30
    assert set(people[0]) == {"id", "gender", "birth_year"}
    visits = [json.loads(line) for line in files[VISITS].text.splitlines()]
    assert {visit["patient_id"] for visit in visits} <= {person["id"] for person in people}


@pytest.mark.parametrize(
    ("name", "media_type", "first"),
    [
        ("csv", "text/csv", b"id,gender,birth_year"),
        ("ndjson", "application/x-ndjson", b'{"id":'),
        ("json", "application/json", b'[{"id":'),
        ("parquet", "application/vnd.apache.parquet", b"PAR1"),
    ],
)
def test_every_format_is_written(lake: House, name: str, media_type: str, first: bytes) -> None:
    answer = must(_ask(lake, f"{_finish(lake, _format=name)}/files/0"))

    assert answer.headers["content-type"].startswith(media_type)
    assert answer.content.startswith(first)


def test_rights_are_judged_at_the_start(lake: House) -> None:
    assert _start(lake, login="doctor.a").status_code == 404
    assert _start(lake, login="p.pat-1").status_code == 404
    assert _start(lake, project="unknown").status_code == 404
    assert _start(lake, project="counts").status_code == 403
    for view in ("condition_flat", "../deid", "patient_demographics/../../silver"):
        assert _start(lake, _view(view)).status_code in (404, 422)
    for name in ("../x", "a/b", "", "x" * 65, "0", "a\n"):
        assert _start(lake, _view(PEOPLE, name)).status_code == 422
    assert _start(lake, _view(PEOPLE), _view(PEOPLE)).status_code == 422
    assert _start(lake, _format="delta").status_code in (406, 422)
    assert not _exports(lake).exists()


def test_rights_are_judged_at_each_step(lake: House) -> None:
    address = _finish(lake)

    for step in ("", "/result", "/files/0"):
        assert _ask(lake, address + step, "doctor.a").status_code == 404
    assert _ask(lake, address, "doctor.a", "DELETE").status_code == 404
    for number in ("1", "-1", "x", "..%2Fsubjects.json", "subjects.json", "999999"):
        assert _ask(lake, f"{address}/files/{number}").status_code == 404
    projects.close_project(Register(lake.settings.data), "falls", "doctor.b")
    for step in ("", "/result", "/files/0"):
        assert _ask(lake, address + step).status_code == 409


@pytest.mark.parametrize("category", ["research", "joining"])
def test_whoever_opts_out_is_left_out_then_and_later(lake: House, category: str) -> None:
    people = _finish(lake)
    assert len(must(_ask(lake, f"{people}/files/0")).text.splitlines()) == 30
    leave(lake, category)

    # The files of before hold that person: they go.
    assert _ask(lake, f"{people}/files/0").status_code == 410
    assert _ask(lake, people).status_code == 410
    assert list(_exports(lake).iterdir()) == []
    # What is exported from now on does not, though the lake has not run since.
    people = _finish(lake)
    assert len(must(_ask(lake, f"{people}/files/0")).text.splitlines()) == 29


def test_a_term_that_ends_takes_the_files(lake: House) -> None:
    address = _finish(lake)
    [path] = _exports(lake).glob("*/subjects.json")
    content = json.loads(path.read_text())
    content["due"] = [[int(time.time() * 1000) - 1, content["subjects"][0]]]
    path.write_text(json.dumps(content))

    assert _ask(lake, f"{address}/files/0").status_code == 410


def test_what_an_erasure_took_makes_the_export_gone(lake: House) -> None:
    for name in ("0", "subjects.json"):
        address = _finish(lake)
        [path] = _exports(lake).glob(f"*/{name}")
        path.unlink()

        assert _ask(lake, f"{address}/files/0").status_code == 410
        assert list(_exports(lake).iterdir()) == []


def test_an_export_is_cancelled_before_and_after_it_is_done(lake: House, held: None) -> None:
    address = _address(_start(lake))
    waiting = _ask(lake, address)
    assert (waiting.status_code, waiting.headers["x-progress"]) == (202, "0 of 1 views written")
    assert _ask(lake, f"{address}/result").status_code == 404

    assert _ask(lake, address, method="DELETE").status_code == 202
    assert _ask(lake, address).status_code == 404
    assert _ask(lake, address, method="DELETE").status_code == 404
    assert list(_exports(lake).iterdir()) == []


def test_a_cancel_ends_the_process_of_the_query(
    lake: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes: list[subprocess.Popen[bytes]] = []
    inner = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        # A query that does not end by itself.
        endless = [command[0], "-c", "import time; time.sleep(3600)"]
        processes.append(inner(endless, **options))
        return processes[-1]

    monkeypatch.setattr("ehr_analytics.query_process.subprocess.Popen", start)
    address = _address(_start(lake))
    deadline = time.monotonic() + SECONDS
    while not processes:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert processes[0].poll() is None

    assert _ask(lake, address, method="DELETE").status_code == 202

    processes[0].wait(SECONDS)
    assert _ask(lake, address).status_code == 404


def _own_view(definition: dict[str, Any], **more: Any) -> dict[str, Any]:
    part = [{"name": "viewResource", "resource": definition}]
    part += [{"name": name, "valueString": value} for name, value in more.items()]
    return {"name": "view", "part": part}


def test_a_view_of_ones_own_is_exported_under_its_item_alone(lake: House) -> None:
    column = [{"name": "id", "path": "getResourceKey()"}, {"name": "sex", "path": "gender"}]
    mine = {"resourceType": "ViewDefinition", "name": "mine", "resource": "Patient",
            "status": "active", "select": [{"column": column}]}  # fmt: skip

    assert _start(lake, _own_view(mine)).status_code == 403
    wrong = {**mine, "select": []}
    assert _start(lake, _own_view(wrong), project="own").status_code == 422

    address = _finish(lake, _own_view(mine), _view(PEOPLE), project="own", _format="json")
    rows, known = (must(_ask(lake, f"{address}/files/{number}")).json() for number in (0, 1))
    assert len(rows) == 30
    assert {row["id"] for row in rows} == {row["id"] for row in known}

    # Whoever opts out takes the files of such an export too.
    leave(lake, "research")
    assert _ask(lake, f"{address}/files/0").status_code == 410


def test_files_are_given_up_by_a_delete(lake: House) -> None:
    address = _finish(lake)

    assert _ask(lake, address, method="DELETE").status_code == 202
    for step in ("", "/result", "/files/0"):
        assert _ask(lake, address + step).status_code == 404
    assert list(_exports(lake).iterdir()) == []


def test_an_export_that_a_restart_cut_off_says_so(lake: House) -> None:
    address = _finish(lake)
    register = Register(lake.settings.data)
    [export] = read_live_exports(register)
    # As a process that was killed leaves it: begun, with files, its lock released.
    with register.transaction() as rows:
        rows.execute("UPDATE export SET state = 'in-progress'")

    answer = _ask(lake, address)

    assert answer.status_code == 503
    assert "restart" in answer.json()["issue"][0]["diagnostics"]
    assert not export_register.export_folder(register, export.id).exists()
    assert _finish(lake) != address


def test_rows_and_files_go_at_expiry(lake: House) -> None:
    address = _finish(lake)
    data = lake.settings.data
    later = Register(data, lambda: utc_now() + timedelta(hours=25))
    (_exports(lake) / "of-a-restored-backup").mkdir()

    assert erase_expired(later) == 0

    assert list(_exports(lake).iterdir()) == []
    assert _ask(lake, f"{address}/files/0").status_code == 404
    assert _ask(lake, address).status_code == 404


def test_the_watch_erases_what_expired_before_a_restart(
    lake: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_register, "_SECONDS_BETWEEN_SWEEPS", 0.1)
    _finish(lake)
    with Register(lake.settings.data).transaction() as rows:
        rows.execute("UPDATE export SET expires = 1")
    export_register._watched.discard(lake.settings.data)

    ProjectQueries(lake.settings.data).watch_exports()

    deadline = time.monotonic() + 10
    while list(_exports(lake).iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_backup_holds_the_files(lake: House) -> None:
    _finish(lake)

    copied = {path.name for path in list_files(lake.settings, without_lake=True)}

    assert "research.db" in copied
    assert not copied & {"0", "lock", "subjects.json"}


Limits = Callable[..., None]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limits:
    """Give exports other limits."""

    def set_limits(**values: Any) -> None:
        changed = view_exports.ExportLimits(**values)
        monkeypatch.setattr(view_exports.ViewExports.__init__, "__defaults__", (changed,))

    return set_limits


def test_a_view_of_too_many_rows_is_refused(lake: House, limit: Limits) -> None:
    limit(query=QueryLimits(memory_mb=256, seconds=30, rows=10))

    answer = _wait(lake, _address(_start(lake)))

    assert answer.status_code == 413
    assert list(_exports(lake).iterdir()) == []


def test_a_file_that_is_too_large_is_refused(lake: House, limit: Limits) -> None:
    limit(file_mb=0)

    assert _wait(lake, _address(_start(lake))).status_code == 413


def test_a_person_and_the_disk_hold_so_many_exports(lake: House, held: None) -> None:
    for _ in range(view_exports.LIMITS.exports_of_person):
        assert _start(lake).status_code == 202
    assert _start(lake).status_code == 429
    for export in read_live_exports(Register(lake.settings.data)):
        assert _ask(lake, f"$viewdefinition-export/{export.id}", method="DELETE").status_code == 202
    assert _start(lake).status_code == 202


def test_a_full_disk_takes_no_export(lake: House, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage("/")._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)

    assert _start(lake).status_code == 503


def test_each_step_is_in_the_log_of_the_project(lake: House) -> None:
    must(_ask(lake, f"{_finish(lake)}/files/0"))

    events = [
        event for event in Register(lake.settings.data).events("falls") if "export" in event.detail
    ]
    assert [(event.action, event.after) for event in events] == [
        ("export", None), ("export", "in-progress"), ("export", "completed"), ("download", None),
    ]  # fmt: skip
    assert {event.who for event in events} == {"doctor.b"}


def test_each_step_is_in_the_audit_log(lake: House) -> None:
    address = _finish(lake)
    for step in ("", "/result", "/files/0", "/files/7"):
        _ask(lake, address + step)
    lake.gateway.audit_batcher.flush()

    with lake.gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT query, outcome FROM audit WHERE query LIKE '%viewdefinition-export%'"
        ).fetchall()
    asked = {row["query"].removeprefix(address) for row in rows}
    assert {"$viewdefinition-export", "", "/result", "/files/0", "/files/7"} <= asked


def test_a_gateway_without_the_lake_says_so(furnished: House) -> None:
    assert _start(furnished).status_code == 503
    for method in ("GET", "DELETE"):
        assert _ask(furnished, "$viewdefinition-export/x", method=method).status_code == 503
