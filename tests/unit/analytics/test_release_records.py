"""What checkers read of a request for release."""

from __future__ import annotations

from ehr_analytics.disclosure.primary import Reason
from ehr_analytics.release_records import MEANINGS


def test_every_rule_that_hides_a_cell_has_a_meaning() -> None:
    assert MEANINGS.keys() >= {reason.value for reason in Reason}
