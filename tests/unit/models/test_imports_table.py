"""Imports of flat tables: the frame, the faults that are named, the folder that is kept whole."""

from __future__ import annotations

import gzip
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ehr_fhir.errors import Conflict, EhrError, Fault, NotFound, Unprocessable
from ehr_models import registry
from ehr_models.cli import app
from ehr_models.imports import source_table
from ehr_models.imports.comparators import build_comparator
from ehr_models.imports.flat_table import build_frame
from ehr_models.imports.import_store import list_imports, read_import
from ehr_models.imports.mapping_file import parse_mapping
from ehr_models.imports.table_import import import_table
from ehr_models.registry import get_task
from tests.conftest import ROOT

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
MAPPING = """
task = "readmission-28d"
title = "A ward"
source = "made for this test"
licence = "none"
person = "who"
index = "stay"
missing = ["?"]
notes = ["Small."]

[outcome]
column = "back"
values = { yes = 1, no = 0 }
days = 30

[exclude.died]
column = "went"
in = ["dead"]
reason = "cannot return"

[features.age]
column = "age"
unit = "a"
from = 0
to = 120

[features.emergency]
column = "kind"
values = { urgent = 1, planned = 0, unsure = nan }

[further.went]
kind = "category"
column = "went"
title = "went"
least_people = 1

[further.diagnosis]
kind = "codes"
columns = ["d1", "d2"]
system = "icd-9-cm"
groups = ["chapter", "charlson"]
first = true
least_people = 2

[further.comorbidity]
kind = "charlson"
columns = ["d1", "d2"]
system = "icd-9-cm"
weights = "classic-1987"

[comparators.lace]
acute = "emergency"
comorbidity = "comorbidity"

[groups.sex]
column = "sex"
"""
TABLE = """stay,who,age,kind,went,d1,d2,sex,back
1,ann,70,urgent,home,428.0,250.40,F,yes
2,ann,71,planned,home,8,?,F,no
3,bob,40,unsure,rehab,428,250.01,M,no
4,bob,40,urgent,dead,410,?,M,no
5,cyd,55,planned,home,?,?,?,?
6,dee,55,planned,home,197.0,162.9,?,no
"""


def write_table(folder: Path, text: str = TABLE) -> Path:
    """Write the table, and the mapping beside it."""
    (folder / "mapping.toml").write_text(MAPPING)
    (folder / "data").mkdir(exist_ok=True)
    path = folder / "table.csv"
    path.write_text(text)
    return path


def run(folder: Path, path: Path, *, mapping: str = MAPPING, replace: bool = False) -> None:
    """Import a table under the name `ward`."""
    (folder / "mapping.toml").write_text(mapping)
    import_table(
        path,
        str(folder / "mapping.toml"),
        get_task("readmission-28d"),
        "ward",
        folder / "data",
        NOW,
        replace=replace,
    )


def test_a_table_becomes_a_frame_with_the_features_of_its_mapping(tmp_path: Path) -> None:
    run(tmp_path, write_table(tmp_path))

    stored = read_import(tmp_path / "data", "ward")
    frame = stored.tables["frame"].set_index("encounter_id")
    assert list(frame.index) == ["1", "2", "3", "6"]
    assert frame["returned"].tolist() == [1, 0, 0, 0]
    assert frame["age"].tolist() == [70, 71, 40, 55]
    np.testing.assert_array_equal(frame["emergency"], [1, 0, np.nan, 0])
    assert frame["went_home"].tolist() == [1, 1, 0, 1]
    # 8 is 008, an infection of one person; heart failure two have.
    assert frame["diagnosis_chapter_circulatory"].tolist() == [1, 0, 1, 0]
    assert frame["diagnosis_first_charlson_heart_failure"].tolist() == [1, 0, 1, 0]
    assert "diagnosis_chapter_infections" not in frame
    # Heart failure 1; diabetes with organ damage 2, without 1; of a tumour and its metastases 6.
    assert frame["comorbidity"].tolist() == [3, 0, 2, 6]
    assert frame["group_sex"].tolist() == ["F", "F", "M", None]
    assert frame["ended"].isna().all()


def test_what_was_left_out_is_said(tmp_path: Path) -> None:
    run(tmp_path, write_table(tmp_path))

    (about,) = list_imports(tmp_path / "data")
    assert (about["rows"], about["people"], about["outcomes"]) == (4, 3, 1)
    assert about["excluded"] == [{"name": "died", "reason": "cannot return", "rows": 1}]
    assert about["without_outcome"] == 1
    assert about["has_dates"] is False
    assert about["comparators"] == ["LACE without length of stay, emergency visits"]


def test_a_score_without_all_its_parts_is_a_lower_bound(tmp_path: Path) -> None:
    run(tmp_path, write_table(tmp_path))
    rows = read_import(tmp_path / "data", "ward").tables["frame"]
    (mapped,) = parse_mapping(MAPPING).comparators

    points = build_comparator(mapped).compute_points(rows)

    # Acute 3, comorbidity of 3 is 3; none; unknown and 2; planned and 6, which is 5 points.
    assert points.tolist() == [6, 0, 2, 5]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("stay,who,age", "stay,who,years", "no column age"),
        ("\n2,ann", "\n1,ann", "Column stay: the same as in a row before (row 2)"),
        ("\n2,ann", "\n,ann", "Column stay: empty"),
        ("3,bob", "3,?", "Column who: empty, and each row needs one (row 3)"),
        (",F,yes", ",F,Zweifel", "Column back: a text that outcome.values does not list (row 1)"),
        (",70,", ",Zweifel,", "Column age: not a number (row 1)"),
        (",70,", ",inf,", "Column age: not a number (row 1)"),
        (",70,", ",-3,", "Column age: below 0, which cannot be (row 1)"),
        (",70,", ",712,", "Column age: above 120, which cannot be (row 1)"),
        ("planned", "Zweifel", "the values of emergency do not list (row 2, 5, 6)"),
        ("250.40", "Zweifel", "Column d2: not a code of icd-9-cm (row 1)"),
        ("250.40", "250.401", "Column d2: not a code of icd-9-cm (row 1)"),
    ],
)
def test_a_fault_names_column_and_row_shows_no_cell_and_writes_nothing(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = write_table(tmp_path, TABLE.replace(old, new))

    with pytest.raises(Unprocessable) as raised:
        run(tmp_path, path)

    assert words in str(raised.value)
    assert "Zweifel" not in str(raised.value)
    assert not (tmp_path / "data" / "models").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('person = "who"', 'persom = "who"', "unknown key persom"),
        ('person = "who"', "", "the key person is missing"),
        ("{ yes = 1, no = 0 }", "{ yes = 1, no = 2 }", "outcome.values"),
        ("{ yes = 1, no = 0 }", '{ yes = "1", no = "0" }', "outcome.values: give a number"),
        ('system = "icd-9-cm"', 'system = "icd-7"', "further.diagnosis.system"),
        ('"charlson"]', '"charlsom"]', "charlsom is not there for icd-9-cm"),
        ('weights = "classic-1987"', 'weights = "mine"', "further.comorbidity.weights"),
        ('kind = "category"', 'kind = "words"', "further.went.kind"),
        ("[comparators.lace]", "[comparators.grace]", "comparators.grace"),
        ('acute = "emergency"', 'acute = "urgency"', "urgency"),
        ("[features.age]", "[features.shoe_size]", "shoe_size is no feature of readmission-28d"),
        ('task = "readmission-28d"', 'task = "weather"', "for the task weather"),
        ("[further.went]", "[further.age]", "age"),
        ("[outcome]", "[outcome", "not TOML"),
    ],
)
def test_a_fault_of_a_mapping_names_its_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = write_table(tmp_path)

    with pytest.raises(Unprocessable, match=words):
        run(tmp_path, path, mapping=MAPPING.replace(old, new))

    assert not (tmp_path / "data" / "models").exists()


def test_the_mapping_that_the_page_shows_is_one() -> None:
    page = (ROOT / "docs/how-to/train-on-your-own-table.md").read_text("utf-8")

    mapping = parse_mapping(page.partition("```toml\n")[2].partition("```")[0])

    assert [one.name for one in mapping.comparators] == ["lace"]
    assert {one.name for one in mapping.features} <= set(get_task(mapping.task).feature_names)


@pytest.mark.parametrize("text", ["", "stay,who\n", '"stay\n'])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(EhrError):
        run(tmp_path, write_table(tmp_path, text))


@settings(max_examples=15)
@given(data=st.data())
def test_a_rows_features_know_nothing_of_the_persons_other_rows(data: st.DataObject) -> None:
    columns = pd.DataFrame(
        [line.split(",") for line in TABLE.splitlines()[1:]],
        columns=TABLE.splitlines()[0].split(","),
    ).replace("?", None)
    mapping = parse_mapping(MAPPING.replace("least_people = 2", "least_people = 1"))
    whole = build_frame(columns, mapping, "returned").frame
    kept = data.draw(st.lists(st.sampled_from([0, 1, 2, 5]), min_size=1, unique=True))
    order = data.draw(st.permutations(kept))

    part = build_frame(columns.iloc[order].reset_index(drop=True), mapping, "returned").frame

    names = [feature.name for feature in part.features]
    expected = whole.rows.set_index("encounter_id").loc[part.rows["encounter_id"], names]
    pd.testing.assert_frame_equal(part.rows.set_index("encounter_id")[names], expected)


def test_of_every_second_person_all_rows_are_taken_and_a_fault_names_the_files_row(
    tmp_path: Path,
) -> None:
    path = write_table(
        tmp_path, TABLE.replace("5,cyd,55,planned,home,?,?,?,?", "5,cyd,x,?,?,?,?,?,no")
    )
    task, data, mapping = get_task("readmission-28d"), tmp_path / "data", tmp_path / "mapping.toml"

    with pytest.raises(Unprocessable, match=r"Column age: not a number \(row 5\)"):
        import_table(path, str(mapping), task, "half", data, NOW, one_in=2)

    write_table(tmp_path)
    import_table(path, str(mapping), task, "half", data, NOW, one_in=2)
    rows = read_import(data, "half").tables["frame"]
    # Ann's and Cyd's rows; Cyd has no outcome.
    assert rows["encounter_id"].tolist() == ["1", "2"]


def test_the_same_table_twice_has_the_same_digest(tmp_path: Path) -> None:
    path = write_table(tmp_path)
    run(tmp_path, path)
    first = read_import(tmp_path / "data", "ward").digest
    run(tmp_path, path, replace=True)

    assert read_import(tmp_path / "data", "ward").digest == first

    run(tmp_path, write_table(tmp_path, TABLE.replace(",70,", ",69,")), replace=True)
    assert read_import(tmp_path / "data", "ward").digest != first


def test_a_name_that_is_taken_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = write_table(tmp_path)
    run(tmp_path, path)

    with pytest.raises(Conflict):
        run(tmp_path, path)
    with pytest.raises(Unprocessable):
        run(tmp_path, write_table(tmp_path, TABLE.replace(",70,", ",x,")), replace=True)

    assert read_import(tmp_path / "data", "ward").about["rows"] == 4
    assert [path.name for path in (tmp_path / "data" / "models" / "imports").iterdir()] == ["ward"]


def test_a_table_that_was_changed_is_not_learnt_from(tmp_path: Path) -> None:
    run(tmp_path, write_table(tmp_path))
    (stored,) = (tmp_path / "data" / "models" / "imports" / "ward").rglob("frame.parquet")
    frame = pd.read_parquet(stored)
    frame.assign(returned=1.0).to_parquet(stored)

    with pytest.raises(Fault):
        read_import(tmp_path / "data", "ward")


# Kills itself at each step of writing, one process for each, and prints which import is there then.
KILLED = """
import itertools, os, sys
from pathlib import Path
import pandas as pd
from ehr_models.imports.import_store import read_import, save_import

data, value, step = Path(sys.argv[1]), 0, 0
STEPS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "open", "shutil.rmtree")

def save(value):
    save_import(data, "ward", {"value": value}, {"frame": pd.DataFrame({"x": [value]})},
                replace=True)

save(0)
for value in itertools.count(1):
    child = os.fork()
    if child == 0:
        def count(event, args):
            global step
            if event in STEPS and str(data) in str(args):
                step += 1
                if step == value:
                    os.kill(os.getpid(), 9)
        sys.addaudithook(count)
        save(value)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    stored = read_import(data, "ward")
    assert stored.about["value"] == stored.tables["frame"]["x"][0]
    print(int(stored.about["value"] == value), flush=True)
    if status == 0:
        break
"""


def test_a_replacement_that_is_killed_at_any_step_leaves_the_old_import_or_the_new(
    tmp_path: Path,
) -> None:
    told = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, timeout=240
    )

    assert told.returncode == 0, told.stderr
    is_new = told.stdout.split()
    # At first the old one, from some step on the new one, and nothing of the old is left.
    assert len(is_new) > 8 and is_new == sorted(is_new)
    assert is_new[0] == "0" and is_new[-1] == "1" and "0" in is_new[1:]
    assert len(list((tmp_path / "models" / "imports" / "ward").glob("tables*"))) == 1


def test_a_packed_table_is_read_up_to_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "table.csv.gz"
    write_table(tmp_path)
    packed.write_bytes(gzip.compress(TABLE.encode()))
    run(tmp_path, packed)
    assert read_import(tmp_path / "data", "ward").about["rows"] == 4

    monkeypatch.setattr(source_table, "MOST_UNPACKED_BYTES", len(TABLE) - 1)
    with pytest.raises(Unprocessable, match="when it is unpacked"):
        run(tmp_path, packed, replace=True)
    for content in (b"no gzip", packed.read_bytes()[:-9]):
        packed.write_bytes(content)
        with pytest.raises(Unprocessable, match="cannot be unpacked"):
            run(tmp_path, packed, replace=True)


@pytest.mark.parametrize(("task", "name"), [("readmission-28d", "outreach-90d"), ("ward", "stay")])
def test_a_name_that_clashes_with_a_task_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, name: str
) -> None:
    own = get_task("readmission-28d")
    others = [replace(own, name=each) for each in ("ward", "ward-stay", "outreach-90d")]
    monkeypatch.setattr(registry, "list_tasks", lambda: (own, *others))
    told = CliRunner().invoke(
        app, ["import", str(write_table(tmp_path)), "--task", task, "--name", name,
              "--mapping", str(tmp_path / "mapping.toml"), "--data", str(tmp_path / "data")],
    )  # fmt: skip

    assert isinstance(told.exception, Conflict)
    assert not (tmp_path / "data" / "models").exists()


def test_an_import_that_is_not_there_is_named_beside_those_that_are(tmp_path: Path) -> None:
    run(tmp_path, write_table(tmp_path))

    with pytest.raises(NotFound, match="there are: ward"):
        read_import(tmp_path / "data", "../ward")


def test_days_of_the_prediction_are_read_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    mapping = replace(parse_mapping(MAPPING), ended="day")
    columns = pd.DataFrame(
        [line.split(",") for line in TABLE.splitlines()[1:]],
        columns=TABLE.splitlines()[0].split(","),
    ).replace("?", None)
    days = pd.Series(["2024-05-31", *["2024-06-01T08:00:00Z"] * 5])

    rows = build_frame(columns.assign(day=days), mapping, "returned").frame.rows

    assert rows["ended"].iloc[0] == pd.Timestamp("2024-05-31", tz="UTC")
    days[3] = "31.5.2024"
    with pytest.raises(Unprocessable, match=r"Column day: not a day .*\(row 4\)"):
        build_frame(columns.assign(day=days), mapping, "returned")
