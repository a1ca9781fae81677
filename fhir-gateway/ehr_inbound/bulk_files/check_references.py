"""The judgement over the whole set: duplicates, and references that nothing answers.

A resource that refers to a refused one is refused too, and so on until nothing changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from ehr_gateway.store.store import Store
from ehr_inbound.bulk_files.files import LoadReject
from ehr_inbound.bulk_files.prepare_worker import LoadCandidate, read_candidates
from ehr_inbound.bulk_files.scratch import Scratch

__all__ = ["ReferenceCheck"]

Identity = tuple[str, str]
_TARGETS_PER_STATEMENT = 250


class ReferenceCheck:
    """What is known of a load once every unit has been judged for itself."""

    def __init__(self, scratch: Scratch) -> None:
        self.rejects: list[LoadReject] = []
        # The file and the spool of each unit, and which of its judged are not to be loaded.
        self._units: list[tuple[str, Path]] = []
        self._refused: dict[int, set[int]] = {}
        self._scratch = scratch

    @property
    def accepted(self) -> int:
        """Return how many resources are to be loaded."""
        return int(self._scratch.execute("SELECT COUNT(*) FROM place").fetchone()[0])

    def units(self) -> Iterator[tuple[Path, Collection[int]]]:
        """Yield the spool of each unit, with the numbers of those not to be loaded."""
        for number, (_, spool) in enumerate(self._units):
            yield spool, self._refused.get(number, ())

    def add(self, file: str, spool: Path, judged: Sequence[LoadCandidate]) -> None:
        """Take in one unit; the first of several resources of one id counts."""
        number = len(self._units)
        self._units.append((file, spool))
        for index, one in enumerate(judged):
            made = self._scratch.execute(
                "INSERT INTO place VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (one.type, one.id, number, one.line),
            )
            if made.rowcount == 0:
                where = self._location_of(one)
                self._refuse(number, index, one, f"A duplicate: this id stands at {where} already.")
        self._scratch.executemany(
            "INSERT INTO target VALUES (?, ?) ON CONFLICT DO NOTHING",
            {target for one in judged for target in one.targets},
        )

    def close(self, store: Store) -> None:
        """Refuse what refers to nothing, then what refers to that."""
        missing = set(self._targets_outside_load())
        missing -= set(_find_in_store(store, missing))
        while missing:
            missing = set(self._refuse_referring_to(missing))

    def _targets_outside_load(self) -> Iterator[Identity]:
        yield from self._scratch.execute("SELECT * FROM target EXCEPT SELECT type, id FROM place")

    def _refuse_referring_to(self, missing: set[Identity]) -> Iterator[Identity]:
        """Refuse what refers to something missing, and yield it: it is missing next."""
        for number, (_, spool) in enumerate(self._units):
            for index, one in enumerate(read_candidates(spool)):
                named = one.targets & missing
                if not named or index in self._refused.get(number, ()):
                    continue
                self._scratch.execute(
                    "DELETE FROM place WHERE type = ? AND id = ?", (one.type, one.id)
                )
                text = f"A dangling reference: it refers to a {min(named)[0]} that is neither"
                text += " in the set (or was refused) nor in the store."
                self._refuse(number, index, one, text)
                yield one.type, one.id

    def _location_of(self, one: LoadCandidate) -> str:
        query = "SELECT unit, line FROM place WHERE type = ? AND id = ?"
        unit, line = self._scratch.execute(query, (one.type, one.id)).fetchone()
        return f"{self._units[unit][0]}:{line}"

    def _refuse(self, number: int, index: int, one: LoadCandidate, reason: str) -> None:
        self._refused.setdefault(number, set()).add(index)
        file = self._units[number][0]
        self.rejects.append(LoadReject(file, one.line, one.type, one.id, reason))


def _find_in_store(store: Store, targets: Iterable[Identity]) -> Iterable[Identity]:
    remaining = iter(targets)
    with store.read_transaction() as connection:
        while batch := list(islice(remaining, _TARGETS_PER_STATEMENT)):
            marks = ", ".join(["(?, ?)"] * len(batch))
            rows = connection.execute(
                "SELECT type, id FROM resource WHERE current = 1 AND deleted = 0"  # noqa: S608
                f" AND (type, id) IN (VALUES {marks})",
                [value for target in batch for value in target],
            )
            yield from [(row["type"], row["id"]) for row in rows]
