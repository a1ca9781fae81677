"""The consent tables of the lake: rows of every resource, carried over between merged accounts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ehr_etl.change_feed.memberships import pull_memberships
from ehr_etl.tables.consent_tables import build_consent_tables
from ehr_fhir.errors import Fault
from ehr_privacy.consent import TABLES
from tests.lib.feed_lines import consent


def account(name: str, *others: str) -> dict[str, Any]:
    links = [{"type": "replaces", "other": {"reference": f"Patient/{one}"}} for one in others]
    return {"resourceType": "Patient", "id": name, "link": links}


def patients(made: Any, table: str) -> list[str]:
    return [row["patient"] for row in made[table].to_pylist()]


def test_a_refusal_of_research_and_a_restriction_hold_for_every_account_of_the_person() -> None:
    made = build_consent_tables(
        [
            consent("old", "research", permit=False),
            consent("new", "restriction", permit=False),
            consent("new", "joining"),
            consent("other", "research", permit=False),
            account("new", "older"),
            account("older", "old"),
            account("other"),
        ]
    )

    assert set(made) == set(TABLES)
    assert patients(made, "consent_research") == ["new", "old", "older", "other"]
    assert patients(made, "consent_restriction") == ["new", "old", "older"]
    assert patients(made, "consent_joining") == ["new"]


def test_an_agreement_to_research_is_the_own_accounts_alone() -> None:
    made = build_consent_tables([consent("old", "research"), account("new", "old")])

    assert patients(made, "consent_research") == ["old"]


class AccountPages:
    """A feed that knows accounts."""

    def __init__(self, page: bytes) -> None:
        self.page = page

    def membership_pages(self) -> Iterator[bytes]:
        yield self.page


def test_accounts_say_who_belongs_to_an_organisation() -> None:
    page = b'{"practitioner": "yu", "organization": "hospital-a"}\n'
    role = {
        "resourceType": "PractitionerRole",
        "id": "r",
        "practitioner": {"reference": "Practitioner/wu"},
        "organization": {"reference": "Organization/hospital-b"},
    }

    made = build_consent_tables([role], pull_memberships(AccountPages(page)))

    rows = made["consent_membership"].to_pylist()
    assert [(row["practitioner"], row["organization"], row["until"]) for row in rows] == [
        ("yu", "hospital-a", None),
        ("wu", "hospital-b", None),
    ]
    assert pull_memberships(object()) == []
    with pytest.raises(Fault):
        pull_memberships(AccountPages(b'{"practitioner": "yu"}\n'))
