"""What may go into the research copy, line by line of `decide_research`."""

from __future__ import annotations

import pytest

from ehr_privacy.consent import Record, RuleRow, Rules, decide_research

NOW = 1_781_496_000_000
Values = dict[str, str | int | None]
ANY: Values = dict.fromkeys(
    "domain label author author_person episode record_type record_id period_from period_to".split()
)
TERM: Values = {"since": 0, "until": None}
OVER: Values = {"since": 0, "until": NOW - 1}
TO_COME: Values = {"since": NOW + 1, "until": None}
EVERYONE: Values = {"actor_kind": "everyone", "actor_value": None}
CLINIC: Values = {"actor_kind": "organization", "actor_value": "clinic"}

LAB = Record("Observation", "1", frozenset({"ann"}), "laboratory", frozenset({"HIV"}), "hospital")
BOTH = Record("Procedure", "2", frozenset({"ann", "bob"}), "procedure", author="hospital")


def joining(patient: str, **term: str | int | None) -> RuleRow:
    """Return that a patient joined."""
    return RuleRow(
        "consent_joining", {"consent": f"j-{patient}", "patient": patient, **TERM, **term}
    )


def research(patient: str, permit: int, **term: str | int | None) -> RuleRow:
    """Return what a patient says about research."""
    values: Values = {"consent": "r", "patient": patient, "permit": permit, **TERM, **term}
    return RuleRow("consent_research", values)


def restriction(**values: str | int | None) -> RuleRow:
    """Return a restriction of ann's."""
    base: Values = {"consent": "x", "rule": "0", "patient": "ann", "sealed": 0}
    return RuleRow("consent_restriction", {**base, **ANY, **TERM, **EVERYONE, **values})


JOINED = (joining("ann"), joining("bob"))


@pytest.mark.parametrize(
    ("record", "rows", "reason"),
    [
        (LAB, JOINED, "research"),
        (BOTH, JOINED, "research"),
        (LAB, (), "not-joined"),
        (LAB, (joining("bob"),), "not-joined"),
        (LAB, (joining("ann", **OVER),), "not-joined"),
        (LAB, (joining("ann", **TO_COME),), "not-joined"),
        (BOTH, (joining("ann"),), "not-joined"),
        (LAB, (*JOINED, research("ann", 0)), "opted-out"),
        (LAB, (*JOINED, research("ann", 1), research("ann", 0)), "opted-out"),
        (BOTH, (*JOINED, research("bob", 0)), "opted-out"),
        (LAB, (*JOINED, research("bob", 0)), "research"),
        (LAB, (*JOINED, research("ann", 1)), "research"),
        (LAB, (*JOINED, research("ann", 0, **OVER)), "research"),
        (LAB, (*JOINED, restriction()), "restricted"),
        (BOTH, (*JOINED, restriction()), "restricted"),
        (LAB, (*JOINED, restriction(label="HIV")), "restricted"),
        (LAB, (*JOINED, restriction(domain="laboratory")), "restricted"),
        (LAB, (*JOINED, restriction(episode="stay")), "research"),
        (LAB, (*JOINED, restriction(label="PSY")), "research"),
        (LAB, (*JOINED, restriction(**CLINIC)), "research"),
        (LAB, (*JOINED, restriction(**OVER)), "research"),
        # Exceptions are for readers of whom one knows who they are.
        (
            LAB,
            (
                *JOINED,
                restriction(),
                RuleRow("consent_exception", {"consent": "x", "rule": "0", **ANY, **CLINIC}),
            ),
            "restricted",
        ),
        (Record("Condition", "3", frozenset(), "diagnosis"), JOINED, "no-patient"),
        (Record("Organization", "4", directory=True), (), "directory"),
        (Record("Consent", "5", frozenset({"ann"}), "other"), JOINED, "role"),
    ],
)
def test_each_line_decides(record: Record, rows: tuple[RuleRow, ...], reason: str) -> None:
    decision = decide_research(Rules(list(rows)), record, NOW)

    assert decision.reason == reason
    assert decision.permit is (reason in ("research", "directory"))
