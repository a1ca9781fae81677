"""Budgets of differential privacy are granted by two people: one proposes, another confirms.

The budget is set when a second person confirms the same data set, project and epsilon. All accounts
of a person are one, and nobody of the project decides about its budget.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Column, Float, MetaData, String, Table, select
from sqlalchemy.exc import IntegrityError

from ehr_analytics.disclosure.budget import BudgetLedger
from ehr_analytics.register import Register
from ehr_fhir.errors import Conflict, Forbidden

__all__ = ["Grant", "grant_budget", "list_grants", "record_grants"]

_METADATA = MetaData()
_GRANT = Table(
    "privacy_grant",
    _METADATA,
    # One that is open for each budget; confirmed ones keep their time as part of the key.
    Column("dataset", String, primary_key=True),
    Column("project", String, primary_key=True),
    Column("confirmed_at", String, primary_key=True),
    Column("epsilon", Float, nullable=False),
    Column("proposed_by", String, nullable=False),
    Column("confirmed_by", String, nullable=False),
)
_OPEN = ""


@dataclass(frozen=True)
class Grant:
    """A budget that was proposed, and confirmed where `confirmed_by` names somebody."""

    dataset: str
    project: str
    epsilon: float
    proposed_by: str
    confirmed_by: str
    confirmed_at: str


def grant_budget(
    ledger: BudgetLedger,
    dataset: str,
    project: str,
    epsilon: float,
    who: str,
    *,
    names: Collection[str],
    members: Collection[str] = (),
) -> Grant:
    """Propose a budget, or confirm it if somebody else has proposed just this one.

    `names` are those of all accounts of the person, `members` the project's people. A proposal of
    another epsilon takes the place of the open one. Forbidden for the project's people, Conflict
    for who proposed it.
    """
    own = {who, *names}
    if own & set(members):
        raise Forbidden("Nobody of a project decides about its privacy budget.")
    ledger.require_epsilon(epsilon)
    _METADATA.create_all(ledger.engine)
    where = (
        (_GRANT.c.dataset == dataset)
        & (_GRANT.c.project == project)
        & (_GRANT.c.confirmed_at == _OPEN)
    )
    with ledger.engine.begin() as connection:
        row = connection.execute(select(_GRANT).where(where)).first()
        if row is not None and row.epsilon == epsilon:
            if row.proposed_by in own:
                raise Conflict("Another person confirms a privacy budget than who proposed it.")
            # Of those who confirm at once one takes the proposal that all have read. The others
            # find none, or one that somebody else has made since, which they have not read.
            read = where & (_GRANT.c.proposed_by == row.proposed_by)
            read &= _GRANT.c.epsilon == row.epsilon
            if not connection.execute(_GRANT.delete().where(read)).rowcount:
                raise Conflict("The budget was confirmed just now.")
            ledger.set_total(connection, dataset, project, epsilon)
            grant = Grant(dataset, project, epsilon, row.proposed_by, who, ledger.timestamp())
        else:
            connection.execute(_GRANT.delete().where(where))
            grant = Grant(dataset, project, epsilon, who, "", _OPEN)
        try:
            connection.execute(_GRANT.insert().values(**vars(grant)))
        except IntegrityError as error:
            raise Conflict("Somebody else proposed a budget just now.") from error
    return grant


def list_grants(ledger: BudgetLedger, dataset: str) -> list[Grant]:
    """Return the grants of a data set, proposals first."""
    _METADATA.create_all(ledger.engine)
    query = select(_GRANT).where(_GRANT.c.dataset == dataset)
    query = query.order_by(_GRANT.c.confirmed_at, _GRANT.c.project)
    with ledger.engine.connect() as connection:
        return [Grant(**row._mapping) for row in connection.execute(query)]


def record_grants(register: Register, ledger: BudgetLedger, dataset: str) -> None:
    """Append each grant and proposal of a data set that is not yet in the log of research.

    The ledger may be in another database than the register: a grant that a kill kept from the log
    is appended by the next call.
    """
    with register.transaction() as connection:
        rows = connection.execute(
            "SELECT detail FROM event WHERE action IN ('propose-budget', 'grant-budget')"
        ).fetchall()
        recorded = [json.loads(row["detail"])["budget"] for row in rows]
        for grant in list_grants(ledger, dataset):
            budget = vars(grant)
            if budget in recorded:
                continue
            register.append_event(
                connection,
                grant.project,
                grant.confirmed_by or grant.proposed_by,
                "grant-budget" if grant.confirmed_by else "propose-budget",
                detail={"budget": budget},
            )
