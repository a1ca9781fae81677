"""kill -9 in the middle of a run: the next run ends with the tables of an undisturbed one."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from ehr_etl.gold.delta_views import overwrite_table
from ehr_etl.gold.library import list_view_names
from ehr_etl.jobs import LocalRunner
from ehr_etl.lake import Lake
from ehr_etl.lake_run import run_once
from ehr_etl.maintenance import list_files_in_use
from ehr_etl.pipeline import LakeWriter
from ehr_etl.upkeep import iterate_tables
from tests.lib.feed_lines import consent
from tests.lib.killed_states import record_states
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import (
    KEY,
    NOW_MS,
    TABLES,
    Pages,
    condition,
    encounter,
    first_feed,
    hospital,
    rows,
)
from tests.lib.object_store import ObjectStore

pytestmark = [pytest.mark.timeout(3000)]

ROOT = Path(__file__).resolve().parents[2]

# The process kills itself just after a commit of one table, so that the moment is always the same.
KILLED = """
import os, signal, sys
from pathlib import Path
from ehr_etl import batch, lake_run
from ehr_etl.lake import Lake
from ehr_etl.tables import bronze
from tests.lib.lake_input import KEY, NOW_MS, first_feed

folder, moment = Path(sys.argv[1]), sys.argv[2]

def after(function):
    def both(*arguments, **more):
        found = function(*arguments, **more)
        if moment in map(str, arguments):
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return both

if moment == "bronze":
    bronze.append_rows = after(bronze.append_rows)
elif moment == "gold":
    update = batch.update_gold_table
    def die(*arguments, **more):
        update(*arguments, **more)
        os.kill(os.getpid(), signal.SIGKILL)
    batch.update_gold_table = die
else:
    batch.delete_keys_and_add = after(batch.delete_keys_and_add)
lake_run.run_once(Lake(folder / "lake"), first_feed(), deid_key=KEY, now_ms=NOW_MS)
"""


@pytest.mark.slow
def test_a_killed_run_is_taken_up_where_it_was(tmp_path: Path) -> None:
    whole, killed = Lake(tmp_path / "whole"), Lake(tmp_path / "killed" / "lake")
    run_once(whole, first_feed(), deid_key=KEY, now_ms=NOW_MS)

    for moment in ("bronze", "quarantine", "silver", "deid", "gold", "decisions", "places"):
        ran = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "killed"), moment], cwd=ROOT, check=False
        )
        assert ran.returncode == -signal.SIGKILL, moment
    run_once(killed, first_feed(), deid_key=KEY, now_ms=NOW_MS)

    for table in TABLES:
        assert rows(killed, table) == rows(whole, table), table


# Takes in one page after the other from where the lake is, makes tables anew and cleans up.
WRITER = """
import json, random, sys
from pathlib import Path
from ehr_etl.lake import Lake
from ehr_etl.pipeline import LakeWriter
from tests.lib.lake_input import KEY, NOW_MS, Pages

pages = [page.encode() for page in json.loads(Path(sys.argv[2]).read_text())]
with LakeWriter(Lake(Path(sys.argv[1])), KEY) as writer:
    writer.maintain(0, NOW_MS)
    print("ready", flush=True)
    while True:
        for number in range(len(pages)):
            if writer.take_in(Pages(pages[: number + 1])):
                writer.bring_up(NOW_MS)
        writer.rebuild(random.choice(("silver", "deid", "gold/condition_flat")), NOW_MS)
        writer.maintain(0, NOW_MS)
"""


def feed_of_many_changes(seed: int, steps: int) -> list[bytes]:
    """Return pages of changes of every kind, each page as the gateway would send it."""
    chance = random.Random(seed)
    store = FakeStore()
    pages: list[bytes] = []
    for record in hospital():
        store.put(record)
    after = decisions = 0
    for step in range(steps):
        pages.append(b"".join(store.pages(after, decisions)))
        after, decisions = len(store.versions), store.number
        for _ in range(chance.randint(1, 4)):
            who = chance.choice(("one", "two", "three"))
            kind = chance.randrange(6)
            if kind == 0:
                store.put(
                    condition(f"cond-{who}", f"p-{who}", f"enc-{who}", note=[{"text": str(step)}])
                )
            elif kind == 1:
                store.put(consent(f"p-{who}", "research", permit=bool(step % 2)))
            elif kind == 2:
                store.delete(encounter(f"enc-{who}", f"p-{who}"))
            elif kind == 3:
                store.put(
                    encounter(
                        f"enc-{who}",
                        f"p-{who}",
                        period={"start": "2026-03-04", "end": f"2026-03-0{1 + step % 9}"},
                    )
                )
            elif kind == 4:
                store.add_label(("Condition", f"cond-{who}"), "HIV")
            else:
                store.put(
                    {
                        **consent(f"p-{who}", "joining"),
                        "status": chance.choice(("active", "inactive")),
                    }
                )
    return [page for page in pages if page]


def check_kills(folder: Path, kills: int, seed: int) -> None:
    pages = feed_of_many_changes(seed, steps=kills + 2)
    feed = folder / "pages.json"
    feed.write_text(json.dumps([page.decode() for page in pages]))
    whole, killed = Lake(folder / "whole"), Lake(folder / "killed")
    with LakeWriter(whole, KEY) as writer:
        writer.take_in(Pages(pages))
        writer.bring_up(NOW_MS)
    chance = random.Random(seed)
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(killed.root), str(feed)],
            cwd=ROOT, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0, 1.5))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL

    with LakeWriter(killed, KEY) as writer:
        writer.take_in(Pages(pages))
        writer.bring_up(NOW_MS)
    for table in TABLES:
        assert rows_without_bucket(killed, table) == rows_without_bucket(whole, table), table


def rows_without_bucket(lake: Lake, table: str) -> list[str]:
    return sorted(
        json.dumps({name: value for name, value in json.loads(row).items() if name != "bucket"},
                   sort_keys=True)
        for row in rows(lake, table)
    )  # fmt: skip


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_that_was_killed_anywhere_is_finished_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """`step`: every so many states in which a kill can leave the lake; all of them are slow."""
    # Small files are joined at once, so that this is killed too.
    monkeypatch.setattr("ehr_etl.maintenance._MOST_FILES", 1)
    first, *others = feed_of_many_changes(7, steps=4)
    whole = Lake(tmp_path / "whole")
    run(whole, [first])
    with record_states(whole, tmp_path) as states:
        run(whole, others)
    wanted = {table: rows(whole, table) for table in TABLES}
    # The last ones are those of upkeep.
    for state in dict.fromkeys([*states[::step], states[-2]]):
        killed = Lake(tmp_path / "next" / state.name)
        shutil.copytree(state, killed.root)

        run(killed, others)

        assert {table: rows(killed, table) for table in TABLES} == wanted, state.name
        assert list_unused_files(killed) == [], state.name


def run(lake: Lake, pages: list[bytes]) -> None:
    """Take in some pages, bring the tables up and delete what is old."""
    with LakeWriter(lake, KEY, LocalRunner(1)) as writer:
        writer.take_in(Pages(pages))
        writer.bring_up(NOW_MS)
        writer.maintain(0, NOW_MS)


def list_unused_files(lake: Lake) -> list[str]:
    """Return the data files that no newest version of a table has."""
    found = []
    for name in iterate_tables(lake):
        used = list_files_in_use(lake.open_table(name))
        paths = (info.path.removeprefix(f"{lake.root}/{name}/") for info in lake.list_files(name))
        found += [path for path in paths if path not in used and "_delta_log/" not in path]
    return found


def test_a_table_that_was_half_created_is_created_by_the_next_run(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    log = lake.table_path("silver") / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json#1").write_text("{")

    run(lake, first_feed().content)

    assert rows(lake, "silver")


@pytest.mark.parametrize("where", ["folder", "object store"])
def test_a_table_that_no_view_makes_any_more_is_dropped_by_the_next_run(
    tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    lake = Lake(tmp_path)
    if where == "object store":
        store: ObjectStore = request.getfixturevalue("object_store")
        lake = Lake(tmp_path, f"{store.url}/abandoned", store.options)
    run(lake, first_feed().content)
    filesystem, _ = lake.open_storage()
    for info in lake.list_files("gold/condition_flat"):
        content = filesystem.open_input_stream(info.path).read()
        path = info.path.rpartition("gold/condition_flat/")[2]
        lake.write_file(f"gold/dropped/{path}", content)
        if "_delta_log/" not in path:
            lake.write_file(f"gold/half_deleted/{path}", content)
    # Another program's.
    overwrite_table(lake, "gold/colours", pa.table({"name": ["red"]}))
    assert {"dropped", "half_deleted"} < set(lake.list_folders("gold"))

    run(lake, [])

    assert lake.list_folders("gold") == sorted(["colours", *list_view_names()])
    assert lake.list_files("gold/half_deleted") == []


@pytest.mark.slow
def test_fifty_kills_at_any_instant_leave_the_tables_of_an_undisturbed_run(tmp_path: Path) -> None:
    check_kills(tmp_path, kills=50, seed=2)
