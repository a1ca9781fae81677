"""Merged accounts: a rule that closes one account of a person closes the others too.

`decide` follows the links when it is asked. For the SQL, rows are carried over when something is
written, so that no query pays for it. What opens is never carried: whoever can write a link could
open records by it.
"""

from __future__ import annotations

from collections.abc import Iterable

from ehr_privacy.consent.model import RuleRow, merge_accounts

# An exception has no patient: it goes wherever its restriction goes.
CLOSING_TABLES = ("consent_restriction", "consent_hold", "consent_research")


def is_closing(row: RuleRow) -> bool:
    """Say whether a rule row closes records, so that it holds for every account of the person."""
    return row.table in CLOSING_TABLES and not row.values.get("permit")


def extend_to_merged_accounts(rows: Iterable[RuleRow]) -> list[RuleRow]:
    """Return the rule rows, and copies of the closing ones for each merged account."""
    rows = list(rows)
    links = (row.values for row in rows if row.table == "consent_link")
    accounts = merge_accounts((str(link["patient"]), str(link["other"])) for link in links)
    carried = [
        RuleRow(row.table, {**row.values, "patient": other})
        for row in rows
        if is_closing(row)
        for other in sorted(accounts.get(str(row.values["patient"]), frozenset()))
        if other != row.values["patient"]
    ]
    return rows + carried
