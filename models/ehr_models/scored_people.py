"""Whom a model may score: people who have joined, each under one account.

The lake's decisions say who has joined. Whoever never did, has left, was deleted, or whose rules
are not understood is not scored, and nothing is written about them. Records of merged accounts
(`Patient.link`, replaced-by) are those of one person, as in the research copy that models learn
from. The decisions are those of the lake's last update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.change_feed.entries import EVERYBODY
from ehr_etl.lake import Lake
from ehr_etl.progress import load_progress
from ehr_etl.tables.bucketed import Layout
from ehr_etl.tables.decisions import PatientDecision
from ehr_etl.tables.people import read_people
from ehr_fhir.errors import Fault, Unavailable
from ehr_models.task import PATIENT, PEOPLE_VIEW, Views, to_arrow
from ehr_privacy.consent import Rules, decide_scoring

__all__ = ["ScoredPeople", "read_scored_people"]


@dataclass(frozen=True)
class ScoredPeople:
    """Account -> the account under which its person is scored, of accounts that have joined."""

    survivors: Mapping[str, str]

    def select_rows(self, views: Views) -> Views:
        """Return the rows of views that scores may be made of, each under its person's account."""
        return {name: self._select(name, to_arrow(table)) for name, table in views.items()}

    def count_left_out(self, views: Views) -> int:
        """Return how many Patients of the views may not be scored."""
        ids = to_arrow(views[PEOPLE_VIEW]).column("id")
        return int(pc.sum(pc.invert(pc.is_in(ids, self._accounts))).as_py() or 0)

    @cached_property
    def _accounts(self) -> pa.Array:
        return pa.array(list(self.survivors), pa.string())

    def _select(self, name: str, table: pa.Table) -> pa.Table:
        column = "id" if name == PEOPLE_VIEW else PATIENT
        if column not in table.column_names:
            raise Fault(f"The view {name} does not say whose its rows are, so it scores nobody.")
        place, own = table.schema.get_field_index(column), table.column(column)
        survivors = pa.array(list(self.survivors.values()), pa.string())
        account = pc.take(survivors, pc.index_in(own.cast(pa.string()), self._accounts))
        may_score = pc.is_valid(account)
        rows = table.set_column(place, column, account).filter(may_score)
        if name != PEOPLE_VIEW:
            return rows
        # Of a merged account the other's Patient speaks, but for a death that only this one tells.
        dead = rows.filter(pc.fill_null(rows.column("deceased"), fill_value=False)).column("id")
        rows = rows.filter(pc.equal(own.filter(may_score), rows.column("id")))
        is_dead = pc.is_in(rows.column("id"), dead.combine_chunks())
        return rows.set_column(rows.schema.get_field_index("deceased"), "deceased", is_dead)


def read_scored_people(lake: Lake, deid_key: bytes, now_ms: int) -> ScoredPeople:
    """Return whom a model may score by the decisions of the lake's last update."""
    if not lake.has_table("decisions"):
        raise Unavailable("The lake has read no decision of a patient yet: run `ehr lake run`.")
    decisions = _read_all_decisions(lake)
    everybody = decisions.pop(EVERYBODY, PatientDecision())
    if everybody.rules is None:
        return ScoredPeople({})
    joined = {
        patient
        for patient, decision in decisions.items()
        if decision.rules is not None
        and not decision.gone
        and decide_scoring(Rules((*everybody.rows, *decision.rows)), patient, now_ms).permit
    }
    layout = Layout(load_progress(lake).buckets, deid_key)
    people = read_people(lake, layout, joined).people
    survivors = {patient: people.find(patient).account for patient in joined}
    # The score is written about the account that took the place, so that one has to have joined.
    return ScoredPeople({old: new for old, new in survivors.items() if new in joined})


def _read_all_decisions(lake: Lake) -> dict[str, PatientDecision]:
    columns = ["patient", "rules", "gone"]
    table: pa.Table = lake.open_table("decisions").to_pyarrow_dataset().to_table(columns=columns)
    return {row["patient"]: PatientDecision(row["rules"], row["gone"]) for row in table.to_pylist()}
