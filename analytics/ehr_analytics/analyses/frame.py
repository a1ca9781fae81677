"""A cohort's columns as arrays, its people as sets, and its strata by labels of a closed domain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_analytics.analyses.estimation import Bools, Floats
from ehr_analytics.cohorts.labels import YES_NO
from ehr_analytics.cohorts.result import PERSON, CohortResult
from ehr_analytics.disclosure.cells import Amounts, Cell, PersonIndex
from ehr_analytics.trusted_rows import TrustedRows
from ehr_fhir.errors import Unprocessable

__all__ = ["CohortFrame", "Stratum"]

# Chosen: a table that people can read, and few places to hide a row in.
_MAX_STRATA = 1_000


@dataclass(frozen=True)
class Stratum:
    """The people of one combination of labels, as a mask over the cohort."""

    labels: tuple[tuple[str, str], ...]
    mask: Bools


@dataclass(frozen=True)
class CohortFrame:
    """A cohort as analyses read it; cells made by it name its persons."""

    result: CohortResult
    # What de-identified records do not have, where the project was granted it.
    trusted: TrustedRows | None = None

    @cached_property
    def index(self) -> PersonIndex:
        """Return the cohort's persons, in the order of its rows."""
        return PersonIndex(self.result.table.column(PERSON).to_pylist())

    @property
    def everybody(self) -> Bools:
        """Return the mask of all people of the cohort."""
        return np.ones(self.result.table.num_rows, dtype=bool)

    def strata(self, by: Sequence[str]) -> Iterator[Stratum]:
        """Yield every combination of the columns' labels, those of nobody too.

        Unprocessable where a column has no closed domain of labels, or there are too many.
        """
        domains = [self.domain(column) for column in by]
        if np.prod([len(domain) for domain in domains], initial=1) > _MAX_STRATA:
            raise Unprocessable(f"The table has more than {_MAX_STRATA} combinations of labels.")
        places = [self._label_places(column) for column in by]
        for chosen in product(*(range(len(domain)) for domain in domains)):
            mask = self.everybody
            for place, column_places in zip(chosen, places, strict=True):
                mask &= column_places == place
            labels = [domain[place] for place, domain in zip(chosen, domains, strict=True)]
            yield Stratum(tuple(zip(by, labels, strict=True)), mask)

    def domain(self, column: str) -> tuple[str, ...]:
        """Return the labels that a column may have."""
        if column not in self.result.domains:
            raise Unprocessable(f"{column} is no label: show it in bands, or as yes or no.")
        return self.result.domains[column]

    def numbers(self, column: str) -> Floats:
        """Return a number column; NaN where it is not recorded."""
        values = self._column(column)
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            raise Unprocessable(f"{column} is no number.")
        return np.asarray(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False), dtype=float)

    def flags(self, column: str) -> Bools:
        """Return a column of yes and no as true and false."""
        if self.domain(column) != YES_NO:
            raise Unprocessable(f"{column} is not yes or no.")
        return np.asarray(pc.equal(self._column(column), "yes").to_numpy(zero_copy_only=False))

    def cell(
        self,
        table: str,
        labels: Sequence[tuple[str, str]],
        statistic: str,
        value: float | None,
        unit: str,
        mask: Bools,
        amounts: Floats | None = None,
    ) -> Cell:
        """Return a cell about the people of a mask, with the amount of each where there is one."""
        persons = self.index.select(mask)
        given = None if amounts is None else Amounts(persons, amounts[persons.numbers])
        figure = float(value) if value is not None and np.isfinite(value) else None
        return Cell(table, tuple(labels), statistic, figure, unit, persons, given)

    def count(self, table: str, labels: Sequence[tuple[str, str]], mask: Bools) -> Cell:
        """Return the number of people of a mask."""
        return self.cell(table, labels, "frequency", int(mask.sum()), "persons", mask)

    def _label_places(self, column: str) -> NDArray[np.int64]:
        places = pc.index_in(self._column(column), pa.array(self.domain(column), pa.string()))
        return np.asarray(pc.fill_null(places, -1).to_numpy(zero_copy_only=False))

    def _column(self, column: str) -> Any:  # Any: an Arrow column
        if column not in self.result.table.column_names:
            raise Unprocessable(f"The cohort has no column {column}.")
        return self.result.table.column(column)
