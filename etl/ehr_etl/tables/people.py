"""People: what the Patients of some records say of the person, across a merge of accounts.

A merged Patient (`Patient.link`, replaced-by) is the person of another, under one pseudonym. That
what one of the accounts closed is closed for all, the gateway's rule rows say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ehr_etl.lake import BUCKET, Lake
from ehr_etl.tables.bucketed import Layout, cut_buckets
from ehr_fhir.references import local_target
from ehr_privacy.deid import People, Person, find_survivor

__all__ = ["NO_PEOPLE", "Account", "KnownPeople", "read_account", "read_people"]

_MERGES = ("replaced-by", "replaces")
_COLUMNS = ["id", "deleted", "resource"]


@dataclass(frozen=True)
class Account:
    """What matters of a Patient: the birth date, who took its place, whom it is linked with."""

    birth_date: str | None = None
    survivor: str | None = None
    linked: frozenset[str] = frozenset()


@dataclass(frozen=True)
class KnownPeople:
    """The people of some records, and which records change with theirs."""

    people: People = field(default_factory=People)
    # Patient -> every other account of the same person.
    linked: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def with_linked(self, patients: Collection[str]) -> set[str]:
        """Return some patients and every other account of theirs."""
        return {*patients}.union(*(self.linked.get(patient, ()) for patient in patients))


NO_PEOPLE = KnownPeople()


def read_account(row: Mapping[str, Any] | None) -> Account:
    """Return what matters of a row of silver of a Patient; nothing of one that is gone."""
    if row is None or row["deleted"] or not row["resource"]:
        return Account()
    patient = orjson.loads(row["resource"])
    birth_date, links = patient.get("birthDate"), patient.get("link")
    named = {
        target.id
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, dict)
        and link.get("type") in _MERGES
        and isinstance(link.get("other"), dict)
        and (target := local_target(str(link["other"].get("reference", "")))) is not None
        and target.type == "Patient"
    }
    return Account(
        birth_date if isinstance(birth_date, str) else None,
        find_survivor(patient) or None,
        frozenset(named),
    )


def read_people(
    lake: Lake,
    layout: Layout,
    patients: Collection[str],
    rows: Iterable[Mapping[str, Any]] = (),
) -> KnownPeople:
    """Return the people of some patients; `rows` of silver that are at hand are not read again."""
    accounts = {row["id"]: read_account(row) for row in rows if row["type"] == "Patient"}
    while missing := _list_named(patients, accounts) - accounts.keys():
        accounts |= dict.fromkeys(missing, Account()) | _read_accounts(lake, layout, missing)
    beside = _link_both_ways(accounts)
    linked = {patient: _find_linked(patient, beside) for patient in patients if patient in beside}
    return KnownPeople(
        People(
            {
                patient: Person(_follow(patient, accounts), accounts[patient].birth_date)
                for patient in accounts
            }
        ),
        linked,
    )


def _list_named(patients: Collection[str], accounts: Mapping[str, Account]) -> set[str]:
    """Return some patients, and every account that a known one is linked with."""
    return {*patients}.union(*(account.linked for account in accounts.values()))


def _read_accounts(lake: Lake, layout: Layout, patients: Collection[str]) -> dict[str, Account]:
    buckets = {layout.place(f"Patient/{patient}") for patient in patients}
    found: dict[str, Account] = {}
    table = lake.open_table("silver").to_pyarrow_dataset()
    for chosen in cut_buckets(buckets):
        condition = (
            pc.field(BUCKET).isin(pa.array(chosen, pa.int32()))
            & (pc.field("type") == "Patient")
            & pc.field("id").isin(pa.array(sorted(patients), pa.string()))
        )
        rows = table.to_table(columns=_COLUMNS, filter=condition).to_pylist()
        found |= {row["id"]: read_account(row) for row in rows}
    return found


def _follow(patient: str, accounts: Mapping[str, Account]) -> str:
    """Return the account that stands for a patient, along merges of merges."""
    seen = {patient}
    while (survivor := accounts[patient].survivor) in accounts and survivor not in seen:
        assert survivor is not None  # noqa: S101 - no account has no name
        seen.add(survivor)
        patient = survivor
    return patient


def _link_both_ways(accounts: Mapping[str, Account]) -> dict[str, set[str]]:
    """Return the accounts beside each one, whichever of the two has the link."""
    beside: defaultdict[str, set[str]] = defaultdict(set)
    for name, account in accounts.items():
        for other in account.linked - {name}:
            beside[name].add(other)
            beside[other].add(name)
    return beside


def _find_linked(patient: str, beside: Mapping[str, set[str]]) -> frozenset[str]:
    """Return the other accounts of the same person."""
    found, new = {patient}, {patient}
    while new:
        new = {other for name in new for other in beside.get(name, ())} - found
        found |= new
    return frozenset(found - {patient})
