"""Who belongs to an organisation by account: taken whole from the gateway in each run.

PractitionerRoles, which say so too, are versions of the feed (docs/explanation/consent.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import orjson

from ehr_etl.change_feed.ndjson import split_lines
from ehr_fhir.errors import Fault
from ehr_privacy.consent import RuleRow

__all__ = ["MembershipSource", "pull_memberships"]


@runtime_checkable
class MembershipSource(Protocol):
    """A feed that knows accounts, such as the gateway's."""

    def membership_pages(self) -> Iterator[bytes]:
        """Yield pages of NDJSON, a person and an organisation in each line."""
        ...


def pull_memberships(feed: object) -> list[RuleRow]:
    """Return the rule rows that accounts make; none of a feed without them."""
    if not isinstance(feed, MembershipSource):
        return []
    return [_parse_line(line) for page in feed.membership_pages() for line in split_lines(page)]


def _parse_line(line: bytes) -> RuleRow:
    try:
        row = orjson.loads(line)
        person, organization = str(row["practitioner"]), str(row["organization"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        # Without it a record could be open here that is closed there.
        raise Fault("A membership of the gateway cannot be read: the run has stopped.") from error
    return RuleRow(
        "consent_membership",
        {
            "consent": "account",
            "practitioner": person,
            "organization": organization,
            "since": 0,
            "until": None,
        },
    )
