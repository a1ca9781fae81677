"""The judgement over the whole set: duplicates, and references that nothing answers.

A resource that refers to a refused one is refused too, and so on until nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from ehr_gateway.loading.files import LoadReject
from ehr_gateway.loading.preparing import Judged
from ehr_gateway.store import Store

__all__ = ["Whole"]

Identity = tuple[str, str]
_BATCH = 250


class Whole:
    """What is known of a load once every unit has been judged for itself."""

    def __init__(self) -> None:
        self.rejects: list[LoadReject] = []
        # In each unit: which of its judged resources are not to be loaded.
        self.refused: list[set[int]] = []
        self._units: list[tuple[str, Sequence[Judged]]] = []
        self._places: dict[Identity, tuple[int, int]] = {}

    @property
    def accepted(self) -> int:
        """Return how many resources are to be loaded."""
        return len(self._places)

    def add(self, file: str, judged: Sequence[Judged]) -> None:
        """Take in one unit; the first of several resources of one id counts."""
        number = len(self._units)
        refused: set[int] = set()
        self._units.append((file, judged))
        self.refused.append(refused)
        for index, one in enumerate(judged):
            first = self._places.setdefault((one.type, one.id), (number, index))
            if first != (number, index):
                refused.add(index)
                where = f"{self._units[first[0]][0]}:{self._units[first[0]][1][first[1]].line}"
                self._reject(file, one, f"A duplicate: this id stands at {where} already.")

    def close(self, store: Store) -> None:
        """Refuse what refers to nothing, then what refers to that."""
        outside = set(_stored(store, self._outside()))
        while True:
            dangling = [
                (place, target)
                for place in self._places.values()
                if (target := self._missing(place, outside)) is not None
            ]
            if not dangling:
                return
            for (number, index), (kind, _) in dangling:
                file, judged = self._units[number]
                one = judged[index]
                self.refused[number].add(index)
                del self._places[one.type, one.id]
                text = f"A dangling reference: it refers to a {kind} that is neither in the set"
                self._reject(file, one, f"{text} (or was refused) nor in the store.")

    def _outside(self) -> set[Identity]:
        places = self._places
        return {
            target
            for number, index in places.values()
            for target in self._units[number][1][index].targets
            if target not in places
        }

    def _missing(self, place: tuple[int, int], outside: set[Identity]) -> Identity | None:
        for target in sorted(self._units[place[0]][1][place[1]].targets):
            if target not in self._places and target not in outside:
                return target
        return None

    def _reject(self, file: str, one: Judged, reason: str) -> None:
        self.rejects.append(LoadReject(file, one.line, one.type, one.id, reason))


def _stored(store: Store, targets: Iterable[Identity]) -> Iterable[Identity]:
    remaining = iter(targets)
    with store.reading() as connection:
        while batch := list(islice(remaining, _BATCH)):
            marks = ", ".join(["(?, ?)"] * len(batch))
            rows = connection.execute(
                "SELECT type, id FROM resource WHERE current = 1 AND deleted = 0"  # noqa: S608
                f" AND (type, id) IN (VALUES {marks})",
                [value for target in batch for value in target],
            )
            yield from [(row["type"], row["id"]) for row in rows]
