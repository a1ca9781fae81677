"""Where the privacy budgets of a platform are kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ehr_analytics.disclosure.budget import BudgetLedger

__all__ = ["open_ledger"]


@contextmanager
def open_ledger(data: Path, database: Path | str) -> Iterator[BudgetLedger]:
    """Yield the ledger: in the platform's database on PostgreSQL, beside the register otherwise."""
    from ehr_analytics.disclosure.budget import BudgetLedger
    from ehr_analytics.register import Register
    from ehr_gateway.migrations.engine import create_migration_engine

    is_on_server = isinstance(database, str)
    location = database if is_on_server else Register(data).folder / "privacy-budget.db"
    engine = create_migration_engine(location)
    try:
        yield BudgetLedger(engine)
    finally:
        engine.dispose()
