"""Refuse duplicates and dangling references over the whole load.

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
    """Collects the candidates of all units and refuses those that cannot be loaded."""

    def __init__(self, scratch: Scratch) -> None:
        self.rejects: list[LoadReject] = []
        # The file and the spool of each unit; by unit, the indexes of its refused candidates.
        self._units: list[tuple[str, Path]] = []
        self._refused: dict[int, set[int]] = {}
        self._scratch = scratch

    @property
    def accepted(self) -> int:
        """Return how many resources are to be loaded."""
        return int(self._scratch.execute("SELECT COUNT(*) FROM place").fetchone()[0])

    def units(self) -> Iterator[tuple[Path, Collection[int]]]:
        """Yield the spool of each unit with the indexes of its refused candidates."""
        for number, (_, spool) in enumerate(self._units):
            yield spool, self._refused.get(number, ())

    def add(self, file: str, spool: Path, candidates: Sequence[LoadCandidate]) -> None:
        """Add the candidates of a unit; of several with one id the first is kept."""
        number = len(self._units)
        self._units.append((file, spool))
        for index, candidate in enumerate(candidates):
            inserted = self._scratch.execute(
                "INSERT INTO place VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (candidate.type, candidate.id, number, candidate.line),
            )
            if inserted.rowcount == 0:
                where = self._location_of(candidate)
                self._refuse(
                    number, index, candidate, f"A duplicate: this id stands at {where} already."
                )
        self._scratch.executemany(
            "INSERT INTO target VALUES (?, ?) ON CONFLICT DO NOTHING",
            {target for candidate in candidates for target in candidate.targets},
        )

    def close(self, store: Store) -> None:
        """Refuse candidates with dangling references, then those that refer to refused ones."""
        missing = set(self._targets_outside_load())
        missing -= set(_find_in_store(store, missing))
        while missing:
            missing = set(self._refuse_referring_to(missing))

    def _targets_outside_load(self) -> Iterator[Identity]:
        yield from self._scratch.execute("SELECT * FROM target EXCEPT SELECT type, id FROM place")

    def _refuse_referring_to(self, missing: set[Identity]) -> Iterator[Identity]:
        """Refuse candidates that refer to something missing and yield them: now they are, too."""
        for number, (_, spool) in enumerate(self._units):
            for index, candidate in enumerate(read_candidates(spool)):
                named = candidate.targets & missing
                if not named or index in self._refused.get(number, ()):
                    continue
                self._scratch.execute(
                    "DELETE FROM place WHERE type = ? AND id = ?", (candidate.type, candidate.id)
                )
                text = f"A dangling reference: it refers to a {min(named)[0]} that is neither"
                text += " in the set (or was refused) nor in the store."
                self._refuse(number, index, candidate, text)
                yield candidate.type, candidate.id

    def _location_of(self, candidate: LoadCandidate) -> str:
        query = "SELECT unit, line FROM place WHERE type = ? AND id = ?"
        unit, line = self._scratch.execute(query, (candidate.type, candidate.id)).fetchone()
        return f"{self._units[unit][0]}:{line}"

    def _refuse(self, number: int, index: int, candidate: LoadCandidate, reason: str) -> None:
        self._refused.setdefault(number, set()).add(index)
        file = self._units[number][0]
        self.rejects.append(LoadReject(file, candidate.line, candidate.type, candidate.id, reason))


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
