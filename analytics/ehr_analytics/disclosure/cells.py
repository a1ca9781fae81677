"""Cells of a release: one statistic each, with the set of persons that it was computed from.

Disclosure control is computed from these sets, never from the file that leaves: a study cannot make
one person look like several, because it neither names nor counts persons.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_fhir.errors import Invalid

__all__ = ["Amounts", "Cell", "EarlierCell", "PersonIndex", "PersonSet", "list_persons"]

_TABLE_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,63}")


class PersonIndex:
    """The distinct persons of a cohort, numbered, so that sets of them are arrays of numbers."""

    def __init__(self, persons: Iterable[str]) -> None:
        self.persons = tuple(dict.fromkeys(persons))
        self._numbers = {person: number for number, person in enumerate(self.persons)}

    def __len__(self) -> int:
        return len(self.persons)

    def select(self, rows: NDArray[np.bool_]) -> PersonSet:
        """Return the persons at which a mask, one flag per person of the index, is true."""
        return PersonSet(self, np.flatnonzero(rows).astype(np.uint32))

    def pick(self, persons: Iterable[str]) -> PersonSet:
        """Return a set of named persons; KeyError where one is not in the index."""
        numbers = np.fromiter((self._numbers[person] for person in persons), np.uint32)
        return PersonSet(self, np.unique(numbers))

    def find_number(self, person: object) -> int | None:
        """Return the number of a person; None where it is not in the index."""
        return self._numbers.get(person) if isinstance(person, str) else None


class PersonSet(Set[str]):
    """Persons of an index as a sorted array: a set of a million of them costs four megabytes.

    >>> index = PersonIndex(["a", "b", "c"])
    >>> sorted(index.pick("ab") & index.pick("bc"))
    ['b']
    """

    __slots__ = ("index", "numbers")

    def __init__(self, index: PersonIndex, numbers: NDArray[np.uint32]) -> None:
        self.index = index
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[str]:
        return (self.index.persons[number] for number in self.numbers)

    def __contains__(self, person: object) -> bool:
        number = self.index.find_number(person)
        if number is None or not len(self.numbers):
            return False
        place = min(int(np.searchsorted(self.numbers, number)), len(self.numbers) - 1)
        return int(self.numbers[place]) == number

    def __hash__(self) -> int:
        return self._hash()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PersonSet) and other.index is self.index:
            return np.array_equal(self.numbers, other.numbers)
        return super().__eq__(other)

    @classmethod
    def _from_iterable(cls, persons: Iterable[Any]) -> Any:
        # What `Set` makes of two sets by &, | and -, which may be of two indexes.
        return frozenset(persons)


class Amounts(Mapping[str, float]):
    """What each person of a set gives, as an array in the order of the set.

    >>> amounts = Amounts(PersonIndex(["a", "b"]).pick("ab"), np.array([1.0, 2.0]))
    >>> amounts["b"], list(amounts)
    (2.0, ['a', 'b'])
    """

    __slots__ = ("persons", "values_in_order")

    def __init__(self, persons: PersonSet, values_in_order: NDArray[np.float64]) -> None:
        self.persons = persons
        self.values_in_order = values_in_order

    def __len__(self) -> int:
        return len(self.persons)

    def __iter__(self) -> Iterator[str]:
        return iter(self.persons)

    def __getitem__(self, person: str) -> float:
        number = self.persons.index.find_number(person)
        if number is None or person not in self.persons:
            raise KeyError(person)
        return float(self.values_in_order[int(np.searchsorted(self.persons.numbers, number))])


@dataclass(frozen=True)
class Cell:
    """One number of a release, and whom it is about.

    `labels` say where it stands: pairs of a dimension and a category, both from the cohort's
    declared domain. `statistic` is a class of the SACRO guide, see `classes.py`. `persons` are all
    whose data the number was computed from. `contributions` tells for a sum each person's amount; a
    count of persons has none.

    >>> Cell("by-sex", (("sex", "female"),), "frequency", 2, "persons", frozenset({"a", "b"}))
    Cell(table='by-sex', labels=(('sex', 'female'),), statistic='frequency', value=2, ...)
    """

    table: str
    labels: tuple[tuple[str, str], ...]
    statistic: str
    # None where the statistic does not exist, a median of nobody.
    value: float | None
    unit: str
    persons: Set[str]
    contributions: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not _TABLE_NAME.fullmatch(self.table):
            # It becomes the name of a file.
            raise Invalid("A table's name is small letters, digits, hyphens and underscores.")
        if self.value is not None and not math.isfinite(self.value):
            raise Invalid(f"A cell of table {self.table} holds a value that is no number.")
        names = [name for name, _ in self.labels]
        if len(set(names)) < len(names):
            raise Invalid(f"A cell of table {self.table} names a dimension twice.")
        if not self._gives_amounts_in_order() and self.contributions is not None:
            if not self.contributions.keys() <= self.persons:
                raise Invalid(f"A cell of table {self.table} has an amount of somebody else.")
        if self.contributions is None and self.unit == "persons" and self.statistic == "frequency":
            if self.value != len(self.persons):
                raise Invalid(f"A cell of table {self.table} counts others than it names.")

    @property
    def amounts(self) -> NDArray[np.float64] | None:
        """Return what each person gives, in the order of `persons`; 0 where nothing is said."""
        if self.contributions is None:
            return None
        if isinstance(self.contributions, Amounts) and self._gives_amounts_in_order():
            return self.contributions.values_in_order
        given = self.contributions
        return np.array([given.get(person, 0.0) for person in self.persons], np.float64)

    def _gives_amounts_in_order(self) -> bool:
        given = self.contributions
        return isinstance(given, Amounts) and given.persons is self.persons

    def __repr__(self) -> str:
        # Without the persons: what is printed may reach a log.
        return (
            f"Cell(table={self.table!r}, labels={self.labels!r}, statistic={self.statistic!r}, "
            f"value={self.value!r}, ...)"
        )


@dataclass(frozen=True)
class EarlierCell:
    """A cell of an earlier release: whom it was about, and what was shown.

    `persons` are numbers of the platform's own. `erased` persons were taken out of it since.
    `policy` is the one by which it was shown; empty where that is not known.
    """

    release: str
    statistic: str
    unit: str
    persons: NDArray[np.uint32]
    amounts: NDArray[np.float64] | None
    shown: float | None
    erased: int = 0
    policy: str = ""


def list_persons(cells: Sequence[Cell]) -> list[str]:
    """Return all persons of some cells, sorted."""
    indexes: dict[int, tuple[PersonIndex, NDArray[np.bool_]]] = {}
    others: set[str] = set()
    for cell in cells:
        if not isinstance(cell.persons, PersonSet):
            others |= cell.persons
            continue
        index = cell.persons.index
        _, is_in = indexes.setdefault(id(index), (index, np.zeros(len(index), bool)))
        is_in[cell.persons.numbers] = True
    for index, is_in in indexes.values():
        others |= {index.persons[number] for number in np.flatnonzero(is_in)}
    return sorted(others)
