"""Whatever is done to a log behind its back is found, at its place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from ehr_fhir.errors import Conflict
from ehr_gateway.audit_log.append import append_rows, seal_rows
from ehr_gateway.schema.audit_log import CONTENT_COLUMNS
from ehr_privacy.audit import Signer, new_tiles, row_leaf
from tests.lib.audit_writers import event
from tests.unit.audit.conftest import SIGNER, Log

COLUMNS = f"{', '.join(CONTENT_COLUMNS)}, salt, leaf"
# Places at random, always the same ones; the first and last leaf of tiles and checkpoints too.
PLACES = sorted({0, 99, 100, 255, 256, 349, 350, 511, 549} | set(Random(7).sample(range(550), 6)))


def rewritten(log: Log, index: int, values: tuple[str | int | None, ...]) -> None:
    """Put other values in, with a leaf to fit: what one who knows the program would do."""
    salt = b"\x05" * 16
    names = ", ".join(f"{name} = ?" for name in (*CONTENT_COLUMNS, "salt", "leaf"))
    leaf = row_leaf(salt, values)
    log.change(f"UPDATE audit SET {names} WHERE seq = ?", *values, salt, leaf, index + 1)


def test_an_untouched_log_holds(log: Log) -> None:
    report = log.verify()

    assert report.is_intact
    assert (report.events, report.signed, report.checkpoints, report.erased) == (600, 550, 3, 0)


def test_it_holds_in_several_processes_too(log: Log) -> None:
    assert log.verify(processes=2).is_intact


def test_a_flipped_value_is_found_where_it_is(log: Log) -> None:
    for n, index in enumerate([*PLACES, 575]):
        column = CONTENT_COLUMNS[n % len(CONTENT_COLUMNS)]
        value: object = "other" if column != "at_ms" else 5
        with log.database.read_transaction() as connection:
            sql = f"SELECT {column} FROM audit WHERE seq = ?"
            before = connection.execute(sql, (index + 1,)).fetchone()[0]
        log.change(f"UPDATE audit SET {column} = ? WHERE seq = ?", value, index + 1)

        name = "other" if column == "id" else f"event-{index}"
        assert log.found() == [("flip", index, name)]

        log.change(f"UPDATE audit SET {column} = ? WHERE seq = ?", before, index + 1)
    assert log.verify().is_intact


def test_a_row_rewritten_with_a_leaf_to_fit_is_found(log: Log) -> None:
    for index in PLACES:
        rewritten(log, index, (f"other-{index}", *event(index)[1:]))
        assert log.found() == [("flip", index, f"other-{index}")]
        # Its own values under another salt are another leaf, too.
        rewritten(log, index, event(index))
        assert log.found() == [("flip", index, f"event-{index}")]
        restore(log, index)


def restore(log: Log, index: int) -> None:
    """Put salt and leaf back as they were."""
    log.change("UPDATE audit SET salt = ?, leaf = ? WHERE seq = ?", *KEPT[index], index + 1)


KEPT: dict[int, tuple[bytes, bytes]] = {}


@pytest.fixture(autouse=True)
def kept(log: Log) -> None:
    KEPT.clear()
    with log.database.read_transaction() as connection:
        for row in connection.execute("SELECT seq, salt, leaf FROM audit"):
            KEPT[row["seq"] - 1] = (bytes(row["salt"]), bytes(row["leaf"]))


def test_an_event_taken_out_is_found(log: Log) -> None:
    log.change("DELETE FROM audit WHERE seq = ?", 301)

    assert log.found() == [("drop", 300, None)]


@pytest.mark.parametrize("index", [0, 300, 597])
def test_an_event_taken_out_and_the_gap_closed_is_found(log: Log, index: int) -> None:
    log.change("DELETE FROM audit WHERE seq = ?", index + 1)
    shift(log, index + 1, -1)

    found = log.found()
    # Beyond the last checkpoint nothing was signed for yet.
    assert found == ([("drop", index, f"event-{index + 1}")] if index < 550 else [])


@pytest.mark.parametrize("index", [0, 255, 300])
def test_an_event_put_in_is_found(log: Log, index: int) -> None:
    shift(log, index, 1)
    values = event(9_999)
    marks = ", ".join("?" * (len(CONTENT_COLUMNS) + 3))
    log.change(
        f"INSERT INTO audit (seq, {COLUMNS}) VALUES ({marks})",
        index + 1, *values, bytes(16), row_leaf(bytes(16), values),
    )  # fmt: skip

    assert log.found(chunk=4096) == [("insert", index, "event-9999")]


def shift(log: Log, after: int, by: int) -> None:
    """Renumber what comes after a leaf; in two steps, since numbers are unique."""
    log.change("UPDATE audit SET seq = -seq WHERE seq > ?", after)
    log.change("UPDATE audit SET seq = -seq + ? WHERE seq < 0", by)


@pytest.mark.parametrize(("one", "other"), [(3, 4), (254, 257), (0, 549)])
def test_two_events_that_change_places_are_found(log: Log, one: int, other: int) -> None:
    for old, new in ((one, -1), (other, one), (-1, other)):
        log.change("UPDATE audit SET seq = ? WHERE seq = ?", new + 1, old + 1)

    found = log.found(chunk=4096)
    assert found[0][1:] == (one, f"event-{other}")
    assert found[0][0] in ("reorder", "flip")


@pytest.mark.parametrize("left", [0, 1, 255, 349, 549])
def test_a_cut_tail_is_found(log: Log, left: int) -> None:
    log.change("DELETE FROM audit WHERE seq > ?", left)

    assert ("cut", left, None) in log.found()


def test_swapped_salts_are_found_at_both_places(log: Log) -> None:
    log.change("UPDATE audit SET salt = ? WHERE seq = 11", KEPT[20][0])
    log.change("UPDATE audit SET salt = ? WHERE seq = 21", KEPT[10][0])

    first, second = log.verify().findings
    assert (first.index, second.index) == (10, 20)
    assert first.text == "The event of leaf 10 has the salt of leaf 20." or "changed" in first.text


def test_a_checkpoint_signed_by_another_is_found(log: Log) -> None:
    forged = Signer(SIGNER.name, b"\x01" * 32).note(550, bytes(32))
    (log.folder.path / "checkpoint").write_bytes(forged)

    assert log.found() == [("checkpoint", 0, None)]


def test_a_checkpoint_taken_away_is_found(log: Log) -> None:
    (log.folder.path / "checkpoint").unlink()

    assert log.found() == [("checkpoint", 0, None)]


def test_rows_and_tiles_rewritten_together_are_found_by_the_signature(log: Log) -> None:
    rewritten(log, 300, ("other", *event(300)[1:]))
    with log.database.read_transaction() as connection:
        rows = connection.execute("SELECT leaf FROM audit ORDER BY seq").fetchall()
    leaves = [bytes(row["leaf"]) for row in rows]
    tiles = log.folder.path / "tile" / "0"
    (tiles / "001").write_bytes(b"".join(leaves[256:512]))

    assert log.found() == [("rewrite", 256, None)]

    # Who makes the tiles above fit too is left with the signatures: the first of these holds.
    shutil.rmtree(log.folder.path / "tile")
    done = 0
    for signed in (100, 350, 550):
        for made in list(new_tiles(log.folder.read_tile, done, leaves[done:signed])):
            log.folder.write_tile(made)
        done = signed
    assert log.found() == [("rewrite", 100, None)]


def test_a_tile_that_was_changed_or_lost_is_found(log: Log) -> None:
    tile = log.folder.path / "tile" / "0" / "000"
    content = bytearray(tile.read_bytes())
    content[64] ^= 1
    tile.write_bytes(bytes(content))
    assert log.found() == [("flip", 2, "event-2")]

    tile.unlink()
    assert [one[0] for one in log.found()] == ["tile"]


def test_a_database_rolled_back_is_found_by_the_witness(
    log: Log, log_at: Callable[[str], Log], tmp_path: Path
) -> None:
    witness = log.folder.read_note()
    other = log_at("other")
    other.add(300)
    other.sign()

    assert ("rollback", 300, None) in other.found(witness=witness)


def test_another_log_of_the_same_length_is_found_by_the_witness(
    log: Log, log_at: Callable[[str], Log]
) -> None:
    witness = log.folder.read_note()
    other = log_at("other")
    other.add(600)
    other.sign()

    assert other.found(witness=witness) == [("rewrite", 549, None)]
    assert log.verify(witness=witness).is_intact


def test_a_witness_alone_is_enough_when_the_exported_log_is_lost(log: Log) -> None:
    witness = log.sign() and log.folder.read_note()
    (log.folder.path / "checkpoint").unlink()
    for day in (log.folder.path / "checkpoints").iterdir():
        day.unlink()

    assert log.verify(witness=witness).is_intact
    rewritten(log, 5, ("other", *event(5)[1:]))
    assert log.found(witness=witness) == [("rewrite", 599, None)]


def test_nothing_is_signed_over_a_log_that_does_not_continue(log: Log) -> None:
    before = log.folder.read_note()
    rewritten(log, 540, ("other", *event(540)[1:]))

    with pytest.raises(Conflict, match="leaf 540"):
        log.sign()
    log.change("DELETE FROM audit WHERE seq > 400")
    with pytest.raises(Conflict):
        log.sign()
    assert log.folder.read_note() == before


def test_an_emptied_event_keeps_the_log_whole_when_an_erasure_tells_of_it(log: Log) -> None:
    log.change("UPDATE audit SET patient = NULL, entities = '[]', salt = ? WHERE seq = 11", b"")
    assert log.found() == [("erase", 10, "event-10")]

    told = list(event(600))
    told[CONTENT_COLUMNS.index("interaction")] = "erase-audit"
    told[CONTENT_COLUMNS.index("entities")] = '["AuditEvent/event-10"]'
    with log.database.write_transaction() as connection:
        append_rows(connection, seal_rows([told]))
    report = log.verify()
    assert report.is_intact
    assert report.erased == 1


def test_a_complete_tile_takes_the_place_of_its_beginnings(log: Log) -> None:
    tiles = log.folder.path / "tile" / "0"

    assert sorted(path.name for path in tiles.iterdir()) == ["000", "001", "002.p"]
    assert log.folder.tree_reader(100).root() == log.folder.tree_reader(550).root(100)


def test_checkpoints_are_signed_only_for_what_is_new(log: Log) -> None:
    first = log.sign()
    notes = list(log.folder.read_history())

    assert log.sign() == first
    assert list(log.folder.read_history()) == notes
    assert first.size == 600
