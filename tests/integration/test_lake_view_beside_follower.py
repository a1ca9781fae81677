"""`ehr lake view` while another process writes the lake: readers see whole versions, never half."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ehr_etl.lake import Lake, read_small_table
from ehr_etl.pipeline import LakeWriter
from tests.lib.feed_lines import consent
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import KEY, NOW_MS, condition, encounter, patient

PEOPLE = tuple(f"p{number}" for number in range(8))
# All diagnoses have the same one at a time: a reader who sees two sees half of a change.
CODES = ("44054006", "195967001", "38341003")


@dataclass
class Hospital:
    """A store that changes all diagnoses at once, again and again, and the lake behind it."""

    lake: Lake
    store: FakeStore = field(default_factory=FakeStore)
    changes: int = 0

    def change_all(self) -> None:
        self.changes += 1
        coding = {"system": "http://snomed.info/sct", "code": CODES[self.changes % len(CODES)]}
        for who in PEOPLE:
            self.store.put(condition(f"c-{who}", who, f"e-{who}", code={"coding": [coding]}))

    def follow(self, ending: threading.Event, started: threading.Event) -> None:
        for who in PEOPLE:
            self.store.put(patient(who))
            self.store.put(consent(who, "joining"))
            self.store.put(encounter(f"e-{who}", who))
        with LakeWriter(self.lake, KEY) as writer:
            while not ending.is_set():
                self.change_all()
                writer.take_in(self.store)
                writer.bring_up(NOW_MS)
                if self.changes % 5 == 0:
                    writer.maintain(1, NOW_MS)
                started.set()


@dataclass
class Reader:
    """Reads a table as often as it can, and keeps each different content that it saw."""

    lake: Lake
    table: str
    seen: list[tuple[tuple[str, ...], list[Any]]] = field(default_factory=list)

    def read(self, ending: threading.Event, started: threading.Event) -> None:
        while not ending.wait(0.005):
            if not self.lake.has_table(self.table):
                continue
            rows = read_small_table(self.lake, self.table)
            content = (tuple(rows.column_names), rows.column("code").to_pylist())
            if not self.seen or self.seen[-1] != content:
                self.seen.append(content)
            started.set()


@contextmanager
def beside(*works: Callable[[threading.Event, threading.Event], None]) -> Iterator[None]:
    """Do works in threads until the block ends; raise what one of them raised."""
    ending = threading.Event()
    errors: list[BaseException] = []

    def run(work: Callable[[threading.Event, threading.Event], None]) -> None:
        try:
            work(ending, started)
        except BaseException as error:
            errors.append(error)
            started.set()

    threads = []
    try:
        for work in works:
            started = threading.Event()
            threads.append(threading.Thread(target=run, args=(work,)))
            threads[-1].start()
            assert started.wait(120)
        yield
    finally:
        ending.set()
        for thread in threads:
            thread.join(120)
    assert not errors, errors


def write_view(data: Path, columns: dict[str, str]) -> str:
    """Run `ehr lake view` over a definition with some columns; return what it said."""
    view = {
        "resource": "Condition", "name": "diagnoses", "status": "active",
        "select": [{"column": [{"name": name, "path": path} for name, path in columns.items()]}],
    }  # fmt: skip
    file = data / "diagnoses.json"
    file.write_text(json.dumps(view))
    ran = subprocess.run(
        [sys.executable, "-m", "ehr_cli.main", "lake", "view", str(file), "--data", str(data)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def is_enough(own: Reader, shipped: Reader) -> bool:
    """Say whether the readers have seen some versions, and the view's the one with both columns."""
    has_both = own.seen[-1][0] == ("code", "clinical")
    return has_both and min(len(own.seen), len(shipped.seen)) > 3


def test_readers_of_a_view_see_whole_versions_while_another_process_follows(
    tmp_path: Path,
) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "deid.key").write_bytes(KEY)
    hospital = Hospital(Lake(tmp_path / "lake"))
    own, shipped = (
        Reader(hospital.lake, f"gold/{name}") for name in ("diagnoses", "condition_flat")
    )

    code = {"code": "code.coding.first().code"}
    with beside(hospital.follow, shipped.read):
        first = write_view(tmp_path, code)
        with beside(own.read):
            second = write_view(tmp_path, code | {"clinical": "clinicalStatus.coding.code.first()"})
            made = hospital.changes
            # The table follows with the others from now on.
            while hospital.changes < made + 3 or not is_enough(own, shipped):
                threading.Event().wait(0.05)

    assert f"{len(PEOPLE)} rows" in first
    assert f"{len(PEOPLE)} rows" in second
    assert own.seen[0][0] == ("code",)
    assert own.seen[-1][0] == ("code", "clinical")
    for _, codes in own.seen + shipped.seen:
        assert len(codes) == len(PEOPLE)
        assert len(set(codes)) == 1
    last = [CODES[hospital.changes % len(CODES)]] * len(PEOPLE)
    assert read_small_table(hospital.lake, own.table).column("code").to_pylist() == last
