"""Publishing a dataset as a decision on record: proposed, approved by two others, withdrawn.

What is approved is a declaration: its refreshes leave by the rule of its policy from then on.
Another text is another decision.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ehr_analytics.open_data.declaration import Declaration, parse_declaration
from ehr_analytics.open_data.figures import FIGURES, Figures
from ehr_analytics.register import Register
from ehr_fhir.errors import Conflict, Forbidden, NotFound, Unprocessable

__all__ = [
    "APPROVALS_NEEDED",
    "OpenDataset",
    "PublishedPeriod",
    "approve",
    "find_figures",
    "get_dataset",
    "list_datasets",
    "list_periods",
    "propose",
    "withdraw",
]

APPROVALS_NEEDED = 2


@dataclass(frozen=True)
class OpenDataset:
    """A dataset: its declaration, its state, who proposed it and who approved just this text."""

    declaration: Declaration
    state: str
    proposed_by: str
    approved_by: tuple[str, ...]


@dataclass(frozen=True)
class PublishedPeriod:
    """What was published of a period: rows with labels and shown numbers, and when."""

    period: str
    rows: tuple[Mapping[str, object], ...]
    control: Mapping[str, object]
    at: str


def find_figures(declaration: Declaration) -> Figures:
    """Return how the numbers of a dataset are made; Unprocessable where its columns do not fit."""
    figures = FIGURES.get(declaration.figures)
    if figures is None:
        raise Unprocessable(f"figures is one of {', '.join(FIGURES)}.")
    if declaration.period in figures.labels:
        raise Unprocessable(f"{declaration.figures} are not made by {declaration.period}.")
    made = {declaration.period, *figures.labels, *figures.numbers, *figures.derived}
    declared = {column.name for column in declaration.columns}
    names = {"hospital_name_en", "hospital_name_zh"} if "hospital" in figures.labels else set()
    if declared != made | names:
        raise Unprocessable(
            f"The figures {declaration.figures} have the columns {', '.join(sorted(made | names))}."
        )
    return figures


def propose(register: Register, declaration: Declaration, login: str) -> OpenDataset:
    """Propose a dataset for publication, or another text of one's own proposal."""
    find_figures(declaration)
    with register.transaction() as connection:
        row = _read_row(connection, declaration.id)
        if row is not None and row["state"] == "published":
            # A proposal alone takes nothing from readers.
            raise Conflict(f"{declaration.id} is published: withdraw it before another proposal.")
        if row is not None and row["state"] == "proposed":
            if row["proposed_by"] != login:
                raise Conflict(
                    f"{declaration.id} is proposed by somebody else: withdraw that first."
                )
            if row["digest"] == declaration.digest:
                raise Conflict(f"{declaration.id} is proposed with this declaration already.")
        connection.execute(
            "INSERT INTO open_dataset VALUES (?, ?, ?, 'proposed', ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET declaration = excluded.declaration, digest = excluded.digest, state = 'proposed',"
            " proposed_by = excluded.proposed_by, at = excluded.at",
            (
                declaration.id, declaration.text, declaration.digest, login, register.timestamp()
            ),
        )  # fmt: skip
        # Whoever approved the same text before a withdrawal decides again.
        connection.execute("DELETE FROM open_approval WHERE dataset = ?", (declaration.id,))
        _append_event(
            register, connection, declaration.id, login, "propose-dataset",
            row["state"] if row else None, "proposed", {"declaration": declaration.digest},
        )  # fmt: skip
    return get_dataset(register, declaration.id)


def approve(
    register: Register,
    dataset: str,
    login: str,
    reason: str,
    *,
    digest: str | None = None,
    other_names: Collection[str] = (),
) -> OpenDataset:
    """Approve a proposed dataset; the second approval publishes it.

    `digest` begins the SHA-256 of the declaration that was read: a text that took its place
    meanwhile is refused. `other_names` are names of further accounts of the same person.
    """
    names = {login, *other_names}
    if not reason.strip():
        raise Unprocessable("Say why: the reason stays with the decision.")
    with register.transaction() as connection:
        row = _require_row(connection, dataset)
        if row["state"] != "proposed":
            raise Conflict(f"{dataset} is {row['state']}; only what is proposed is approved.")
        if digest is not None and not row["digest"].startswith(digest):
            raise Conflict(f"{dataset} has another declaration than the one you read: read it.")
        if row["proposed_by"] in names:
            raise Forbidden("Nobody approves a dataset that they proposed.")
        approvers = _read_approvers(connection, dataset, row["digest"])
        if names & set(approvers):
            raise Forbidden("You approved it: a different person gives the second approval.")
        connection.execute(
            "INSERT INTO open_approval VALUES (?, ?, ?, ?, ?)",
            (dataset, row["digest"], login, reason, register.timestamp()),
        )
        after = "published" if len(approvers) + 1 >= APPROVALS_NEEDED else "proposed"
        connection.execute("UPDATE open_dataset SET state = ? WHERE id = ?", (after, dataset))
        _append_event(
            register, connection, dataset, login, "approve-dataset", row["state"], after,
            {"reason": reason, "declaration": row["digest"]},
        )  # fmt: skip
    return get_dataset(register, dataset)


def withdraw(register: Register, dataset: str, login: str, reason: str) -> OpenDataset:
    """Withdraw a dataset: its files go at the next refresh; what others copied stays with them."""
    if not reason.strip():
        raise Unprocessable("Say why: the reason stays with the decision.")
    with register.transaction() as connection:
        row = _require_row(connection, dataset)
        if row["state"] == "withdrawn":
            raise Conflict(f"{dataset} is withdrawn already.")
        connection.execute("UPDATE open_dataset SET state = 'withdrawn' WHERE id = ?", (dataset,))
        _append_event(
            register, connection, dataset, login, "withdraw-dataset", row["state"], "withdrawn",
            {"reason": reason},
        )  # fmt: skip
    return get_dataset(register, dataset)


def get_dataset(register: Register, dataset: str) -> OpenDataset:
    """Return a dataset; NotFound where none was proposed under this id."""
    with register.transaction() as connection:
        row = _require_row(connection, dataset)
        return _to_dataset(connection, row)


def list_datasets(register: Register) -> list[OpenDataset]:
    """Return all datasets by id."""
    with register.transaction() as connection:
        rows = connection.execute("SELECT * FROM open_dataset ORDER BY id").fetchall()
        return [_to_dataset(connection, row) for row in rows]


def list_periods(register: Register, dataset: str) -> list[PublishedPeriod]:
    """Return what was published of a dataset, period by period."""
    with register.transaction() as connection:
        rows = connection.execute(
            "SELECT month, rows, control, at FROM open_month WHERE dataset = ? ORDER BY month",
            (dataset,),
        ).fetchall()
    return [
        PublishedPeriod(
            row["month"], tuple(json.loads(row["rows"])), json.loads(row["control"]), row["at"]
        )
        for row in rows
    ]


def _to_dataset(connection: sqlite3.Connection, row: sqlite3.Row) -> OpenDataset:
    approvers = _read_approvers(connection, row["id"], row["digest"])
    declaration = parse_declaration(row["declaration"])
    return OpenDataset(declaration, row["state"], row["proposed_by"], approvers)


def _read_row(connection: sqlite3.Connection, dataset: str) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM open_dataset WHERE id = ?", (dataset,)
    ).fetchone()
    return row


def _require_row(connection: sqlite3.Connection, dataset: str) -> sqlite3.Row:
    row = _read_row(connection, dataset)
    if row is None:
        raise NotFound(f"No dataset {dataset} was proposed.")
    return row


def _read_approvers(connection: sqlite3.Connection, dataset: str, digest: str) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT person FROM open_approval WHERE dataset = ? AND digest = ? ORDER BY at, person",
        (dataset, digest),
    ).fetchall()
    return tuple(row["person"] for row in rows)


def _append_event(
    register: Register,
    connection: sqlite3.Connection,
    dataset: str,
    login: str,
    action: str,
    before: str | None,
    after: str,
    detail: Mapping[str, object],
) -> None:
    register.append_event(
        connection, f"open-data/{dataset}", login, action, before=before, after=after, detail=detail
    )
