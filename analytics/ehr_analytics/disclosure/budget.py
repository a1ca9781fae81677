"""Privacy budget of differential privacy: what each project may still spend on each data set.

A data set has a budget for all projects together, and one for each project. A query takes its cost
from both in one transaction before any noise is drawn, so that requests at the same time cannot
spend the same budget twice, and a query that fails afterwards has been paid for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    select,
    update,
)

from ehr_fhir.errors import Conflict, Invalid, NotFound

__all__ = ["BudgetLedger", "Charge"]

# Whole millionths: sums of floats could come out above a budget that they just fill.
_UNITS = 1_000_000
# The name under which the budget of all projects together is kept; no project's id is empty.
_ALL_PROJECTS = ""

_METADATA = MetaData()
_BUDGET = Table(
    "privacy_budget",
    _METADATA,
    Column("dataset", String, primary_key=True),
    Column("project", String, primary_key=True),
    Column("total", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False),
    # Even a fault of this program cannot overspend.
    CheckConstraint("spent >= 0 AND spent <= total", name="budget_is_never_overspent"),
)
_CHARGE = Table(
    "privacy_charge",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", String, nullable=False),
    Column("dataset", String, nullable=False),
    Column("project", String, nullable=False),
    Column("login", String, nullable=False),
    Column("query", String, nullable=False),
    Column("cost", BigInteger, nullable=False),
)


@dataclass(frozen=True)
class Charge:
    """What one query cost: epsilon, who asked what of which data set."""

    dataset: str
    project: str
    login: str
    query: str
    epsilon: float


class BudgetLedger:
    """The budgets of a database, SQLite or PostgreSQL."""

    def __init__(
        self, engine: Engine, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.engine = engine
        self.clock = clock
        _METADATA.create_all(engine)

    def grant(self, dataset: str, project: str, epsilon: float) -> None:
        """Set the budget of a project; of all projects together where `project` is empty.

        Conflict where more is spent already. `grant_budget` asks two people first.
        """
        with self.engine.begin() as connection:
            self.set_total(connection, dataset, project, epsilon)

    def set_total(self, connection: Connection, dataset: str, project: str, epsilon: float) -> None:
        """Set a budget as `grant` does, in a transaction of the caller."""
        total = _to_units(epsilon)
        where = (_BUDGET.c.dataset == dataset) & (_BUDGET.c.project == project)
        row = connection.execute(select(_BUDGET.c.spent).where(where)).first()
        if row is None:
            connection.execute(
                _BUDGET.insert().values(dataset=dataset, project=project, total=total, spent=0)
            )
            return
        changed = connection.execute(
            update(_BUDGET).where(where, _BUDGET.c.spent <= total).values(total=total)
        )
        if not changed.rowcount:
            raise Conflict("More than that is spent already.")

    def require_epsilon(self, epsilon: float) -> None:
        """Raise Invalid for an epsilon that is no number above zero."""
        _to_units(epsilon)

    def timestamp(self) -> str:
        """Return the current instant as ISO 8601 text in UTC, to the microsecond."""
        return self.clock().astimezone(UTC).isoformat(timespec="microseconds")

    def list_budgets(self, dataset: str) -> list[tuple[str, float, float]]:
        """Return each project with a budget of a data set, its total and what is spent of it."""
        columns = (_BUDGET.c.project, _BUDGET.c.total, _BUDGET.c.spent)
        with self.engine.connect() as connection:
            rows = connection.execute(
                select(*columns).where(_BUDGET.c.dataset == dataset).order_by(_BUDGET.c.project)
            ).all()
        return [(row[0], row[1] / _UNITS, row[2] / _UNITS) for row in rows]

    def spend(self, charge: Charge) -> None:
        """Deduct the cost of a query from both budgets, or refuse it and deduct nothing."""
        cost = _to_units(charge.epsilon)
        with self.engine.begin() as connection:
            # The data set first, always: two requests wait for each other in one order.
            for project in (_ALL_PROJECTS, charge.project):
                _deduct(connection, charge.dataset, project, cost)
            connection.execute(
                _CHARGE.insert().values(
                    at=self.clock().astimezone(UTC).isoformat(timespec="seconds"),
                    dataset=charge.dataset,
                    project=charge.project,
                    login=charge.login,
                    query=charge.query,
                    cost=cost,
                )
            )

    def read_remaining_epsilon(self, dataset: str, project: str) -> float:
        """Return the epsilon that a project may still spend on a data set; 0 without a budget."""
        projects = {_ALL_PROJECTS, project}
        with self.engine.connect() as connection:
            rows = connection.execute(
                select(_BUDGET.c.total - _BUDGET.c.spent).where(
                    _BUDGET.c.dataset == dataset, _BUDGET.c.project.in_(projects)
                )
            ).all()
        return min(row[0] for row in rows) / _UNITS if len(rows) == len(projects) else 0.0

    def list_charges(self, dataset: str) -> list[Charge]:
        """Return what was spent on a data set, oldest first."""
        columns = (_CHARGE.c.dataset, _CHARGE.c.project, _CHARGE.c.login, _CHARGE.c.query)
        with self.engine.connect() as connection:
            rows = connection.execute(
                select(*columns, _CHARGE.c.cost)
                .where(_CHARGE.c.dataset == dataset)
                .order_by(_CHARGE.c.number)
            ).all()
        return [Charge(*row[:4], epsilon=row[4] / _UNITS) for row in rows]


def _deduct(connection: Connection, dataset: str, project: str, cost: int) -> None:
    """Deduct a cost from one budget; NotFound without a budget, Conflict where it is too small."""
    where = (_BUDGET.c.dataset == dataset) & (_BUDGET.c.project == project)
    # One statement reads and deducts: the database keeps others out of the row until the commit.
    deducted = connection.execute(
        update(_BUDGET)
        .where(where, _BUDGET.c.spent + cost <= _BUDGET.c.total)
        .values(spent=_BUDGET.c.spent + cost)
    )
    if deducted.rowcount:
        return
    row = connection.execute(select(_BUDGET.c.total, _BUDGET.c.spent).where(where)).first()
    whose = f"project {project}" if project else "the data set"
    if row is None:
        raise NotFound(f"There is no privacy budget of {whose} for {dataset}.")
    left = (row[0] - row[1]) / _UNITS
    raise Conflict(
        f"The privacy budget of {whose} does not suffice: the query costs {cost / _UNITS:g}, and "
        f"{left:g} of {row[0] / _UNITS:g} is left."
    )


def _to_units(epsilon: float) -> int:
    """Return epsilon in millionths, rounded up: a cost too small to count is still one."""
    if not math.isfinite(epsilon) or epsilon <= 0:
        raise Invalid("Epsilon is a number above zero.")
    return math.ceil(epsilon * _UNITS - 1e-6)
