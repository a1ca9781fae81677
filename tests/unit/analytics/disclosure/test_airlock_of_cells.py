"""The airlock with typed cells: from a run to files, compared with every earlier release."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from ehr_analytics import airlock
from ehr_analytics import project as projects
from ehr_analytics.disclosure.cell_files import read_cells, write_cells
from ehr_analytics.disclosure.cells import Cell
from ehr_analytics.disclosure.release_history import ReleaseHistory
from ehr_analytics.register import Register
from ehr_analytics.release_crate import CRATE_FILE
from ehr_analytics.run_log import Run, run_folder
from ehr_fhir.errors import Conflict, Invalid
from tests.lib import gold
from tests.lib.research import NOW, open_project, register

PEOPLE = [f"{number:032x}" for number in range(120)]


@pytest.fixture
def book(tmp_path: Path) -> Register:
    gold.write(tmp_path, gold.made_up(120))
    made = register(tmp_path)
    open_project(made)
    return made


def own(book: Register, project: str, people: Iterable[str]) -> frozenset[str]:
    key = projects.read_project_key(book.data, project)
    return frozenset(hashlib.sha256(f"{key}{person}".encode()).hexdigest() for person in people)


def count(table: str, persons: frozenset[str], **labels: str) -> Cell:
    return Cell(table, tuple(labels.items()), "frequency", len(persons), "persons", persons)


def store(book: Register, name: str, cells: list[Cell], project: str = "acute-returns") -> str:
    """Store a run that gave these cells, as an analysis does."""
    run = Run(name, project, "study", "researcher.lau", NOW.isoformat(), "code", "1", {})
    folder = run_folder(book, name)
    folder.mkdir(parents=True)
    write_cells(folder, cells)
    with book.transaction() as connection:
        connection.execute(
            "INSERT INTO run(id, project, study, who, at, code, version, tables, state)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, '{}', 'done')",
            (run.id, run.project, run.study, run.who, run.at, run.code, run.version),
        )
    return name


def release(book: Register, run: str) -> airlock.Release:
    assert airlock.propose_outputs(book, run, "researcher.lau").passed
    for checker in ("steward.ng", "auditor.tse"):
        airlock.record_decision(book, run, checker, "approve", "fine")
    return airlock.release_outputs(book, run, "steward.ng")


def test_cells_are_read_as_they_were_written(book: Register, tmp_path: Path) -> None:
    persons = own(book, "acute-returns", PEOPLE[:20])
    visits = Cell(
        "visits", (("sex", "f"),), "sum", 40.0, "visits", persons, dict.fromkeys(persons, 2.0)
    )

    write_cells(tmp_path, [count("all", persons), visits])

    assert read_cells(tmp_path) == [count("all", persons), visits]


def test_released_files_hold_controlled_values_and_their_controls(book: Register) -> None:
    cells = [
        count("by-sex", own(book, "acute-returns", PEOPLE[:63]), sex="female"),
        count("by-sex", own(book, "acute-returns", PEOPLE[63:66]), sex="male"),
    ]

    released = release(book, store(book, "run-1", cells))

    assert (released.folder / "by-sex.csv").read_text().split() == ["sex,persons", "female,65"]
    controls = json.loads((released.folder / "controls.json").read_text())
    assert controls["unsafe_output"] is False
    assert controls["files"][0]["controls"]["hidden"] == {"threshold": 1}
    assert (released.cells, released.cells_hidden) == (2, 1)
    evidence = airlock.read_evidence(book, "run-1")
    assert [(cell["persons"], cell["hidden_by"]) for cell in evidence] == [
        (63, None),
        (3, "threshold"),
    ]
    assert not list(released.folder.glob("evidence*"))


def test_a_release_is_an_ro_crate_that_names_files_and_checks_and_no_people(
    book: Register,
) -> None:
    cells = [count("by-sex", own(book, "acute-returns", PEOPLE[:63]), sex="female")]

    released = release(book, store(book, "run-1", cells))

    text = (released.folder / CRATE_FILE).read_text("utf-8")
    crate = json.loads(text)
    nodes = {node["@id"]: node for node in crate["@graph"]}
    # RO-Crate 1.2: one flat graph, each entity once, with a type; the context by reference.
    assert crate["@context"] == "https://w3id.org/ro/crate/1.2/context"
    assert len(nodes) == len(crate["@graph"])
    assert all(node.get("@type") for node in nodes.values())
    values = [value for node in nodes.values() for value in node.values()]
    references = [
        each
        for value in values
        for each in (value if isinstance(value, list) else [value])
        if isinstance(each, dict)
    ]
    assert all(reference.keys() == {"@id"} for reference in references)
    named = {reference["@id"] for reference in references}
    assert {name for name in named if not name.startswith("https:")} <= nodes.keys()
    descriptor, root = nodes[CRATE_FILE], nodes["./"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.2"}
    assert root["@type"] == "Dataset"
    assert {"name", "description", "datePublished", "license"} <= root.keys()
    # Every file beside it is described, with what it holds.
    files = {path.name: path.read_bytes() for path in released.folder.iterdir()}
    del files[CRATE_FILE]
    assert {part["@id"] for part in root["hasPart"]} == files.keys()
    for name, content in files.items():
        assert nodes[name]["@type"] == "File"
        assert nodes[name]["contentSize"] == str(len(content))
    table = nodes["by-sex.csv"]
    assert table["sha256"] == hashlib.sha256(files["by-sex.csv"]).hexdigest()
    kinds = [node["name"] for node in nodes.values() if node["@type"] == "AssessAction"]
    assert kinds.count("Decision of an output checker: approve") == 2
    assert "Automatic check: linear programs" in kinds
    assert not [name for name in ("researcher.lau", "steward.ng", "auditor.tse") if name in text]


def test_a_second_project_cannot_take_the_difference(book: Register) -> None:
    open_project(book, id="other")
    release(book, store(book, "run-1", [count("all", own(book, "acute-returns", PEOPLE[:60]))]))
    projects.close_project(book, "acute-returns", "steward.ng")

    run = store(book, "run-2", [count("all", own(book, "other", PEOPLE[:56]))], "other")
    proposed = airlock.propose_outputs(book, run, "researcher.lau")

    assert proposed.passed
    assert airlock.read_evidence(book, run)[0]["hidden_by"] == "differencing"
    outputs = run_folder(book, run) / "outputs" / "all.csv"
    assert outputs.read_text().split() == ["persons"]


def test_two_proposals_at_once_are_compared_when_they_leave(book: Register) -> None:
    first = store(book, "run-1", [count("all", own(book, "acute-returns", PEOPLE[:60]))])
    second = store(book, "run-2", [count("all", own(book, "acute-returns", PEOPLE[:57]))])
    for run in (first, second):
        airlock.propose_outputs(book, run, "researcher.lau")
        for checker in ("steward.ng", "auditor.tse"):
            airlock.record_decision(book, run, checker, "approve", "fine")

    airlock.release_outputs(book, first, "steward.ng")
    with pytest.raises(Conflict, match="propose the run again"):
        airlock.release_outputs(book, second, "steward.ng")

    assert not (book.folder / "released" / "acute-returns" / second).exists()


def test_whoever_is_erased_is_in_no_kept_set_but_still_a_difference(book: Register) -> None:
    release(book, store(book, "run-1", [count("all", own(book, "acute-returns", PEOPLE[:60]))]))
    history = ReleaseHistory(book)

    assert history.forget(PEOPLE[:1]) == 1
    assert history.forget(PEOPLE[:1]) == 0

    [kept] = history.read()
    assert (len(kept.persons), kept.erased, kept.shown) == (59, 1, 60)
    run = store(book, "run-2", [count("all", own(book, "acute-returns", PEOPLE[1:60]))])
    airlock.propose_outputs(book, run, "researcher.lau")
    assert airlock.read_evidence(book, run)[0]["hidden_by"] == "differencing"


def test_kept_sets_name_nobody(book: Register) -> None:
    persons = own(book, "acute-returns", PEOPLE[:60])
    release(book, store(book, "run-1", [count("all", persons)]))

    kept = b"".join(path.read_bytes() for path in book.folder.glob("research.db*"))

    assert not [person for person in (*persons, *PEOPLE[:60]) if person.encode() in kept]
    assert (book.data / "keys" / "releases.key").stat().st_mode & 0o777 == 0o600


def test_made_up_persons_have_no_place_in_the_lake(book: Register) -> None:
    # Copies of ten people, as a study would make them: 'p1-1', 'p1-2', ...
    copies = frozenset(f"{person}-{n}" for person in PEOPLE[:10] for n in range(10))
    run = store(book, "run-1", [count("all", copies)])

    with pytest.raises(Conflict, match="whom the platform never named"):
        airlock.propose_outputs(book, run, "researcher.lau")


def test_the_policy_is_the_projects(book: Register) -> None:
    open_project(book, id="exact", policy="acro-10")
    run = store(book, "run-1", [count("all", own(book, "exact", PEOPLE[:63]))], "exact")

    released = release(book, run)

    assert (released.folder / "all.csv").read_text().split() == ["persons", "63"]


@pytest.mark.parametrize("table", ["../evil", "a/b", "", "A", "."])
def test_a_tables_name_is_no_path(table: str) -> None:
    with pytest.raises(Invalid):
        Cell(table, (), "frequency", 0, "persons", frozenset())


def test_a_register_of_an_older_version_gets_the_default_policy(tmp_path: Path) -> None:
    book = register(tmp_path)
    open_project(book)
    with book.transaction() as connection:
        connection.execute("ALTER TABLE project DROP COLUMN policy")

    assert projects.get_project(register(tmp_path), "acute-returns").policy == "opensafely-7-5"
