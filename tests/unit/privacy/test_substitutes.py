"""Who decides for a child or an incapable adult: the order of precedence, cell by cell."""

from __future__ import annotations

from datetime import date
from importlib.resources import files

import pytest

from ehr_privacy.substitutes import (
    Basis,
    DecisionRight,
    decision_right,
    load_substitutes,
    parse_substitutes,
    substitution_basis,
)

MINOR = ["parent", "guardian", "court-appointed", "family", "provider"]
INCAPABLE = ["guardian", "director-of-social-welfare", "court-appointed", "family", "provider"]


@pytest.mark.parametrize(
    ("basis", "order"), [("minor", MINOR), ("incapable", INCAPABLE)], ids=["minor", "incapable"]
)
def test_each_rank_gives_way_to_every_earlier_and_to_no_later_one(
    basis: Basis, order: list[str]
) -> None:
    for at, relation in enumerate(order):
        for other_at, other in enumerate(order):
            expected = DecisionRight(True) if other_at >= at else DecisionRight(False, (other,))
            assert decision_right(basis, relation, [other]) == expected, (relation, other)


@pytest.mark.parametrize(
    ("basis", "relation", "available", "may", "before"),
    [
        ("minor", "parent", [], True, ()),
        ("minor", "parent", ["parent", "guardian", "court-appointed"], True, ()),
        ("minor", "guardian", ["parent"], False, ("parent",)),
        ("minor", "court-appointed", ["guardian", "parent"], False, ("guardian", "parent")),
        ("minor", "resident", ["family"], True, ()),
        ("minor", "family", ["resident"], True, ()),
        ("minor", "provider", ["resident"], False, ("resident",)),
        ("minor", "provider", [], True, ()),
        # Only the list for adults names the Director of Social Welfare.
        ("minor", "director-of-social-welfare", [], False, ()),
        ("minor", "family", ["director-of-social-welfare"], True, ()),
        ("incapable", "guardian", ["director-of-social-welfare"], True, ()),
        ("incapable", "director-of-social-welfare", ["guardian"], False, ("guardian",)),
        ("incapable", "court-appointed", ["family", "provider"], True, ()),
        # The parent of an adult is family.
        ("incapable", "parent", [], False, ()),
        ("incapable", "family", ["parent"], True, ()),
        ("incapable", "neighbour", [], False, ()),
    ],
)
def test_who_may_decide_while_others_are_there(
    basis: Basis, relation: str, available: list[str], may: bool, before: tuple[str, ...]
) -> None:
    assert decision_right(basis, relation, available) == DecisionRight(may, before)


@pytest.mark.parametrize(
    ("born", "today", "incapable", "basis"),
    [
        ((2010, 11, 23), (2026, 11, 22), False, "minor"),
        ((2010, 11, 22), (2026, 11, 22), False, None),
        ((2010, 11, 22), (2026, 11, 22), True, "incapable"),
        ((2010, 11, 23), (2026, 11, 22), True, "minor"),
        ((2012, 2, 29), (2028, 2, 28), False, "minor"),
        ((2012, 2, 29), (2028, 2, 29), False, None),
        ((2011, 3, 1), (2027, 2, 28), False, "minor"),
        ((1930, 1, 1), (2026, 11, 22), True, "incapable"),
    ],
)
def test_why_somebody_else_decides(
    born: tuple[int, int, int],
    today: tuple[int, int, int],
    incapable: bool,
    basis: Basis | None,
) -> None:
    assert substitution_basis(date(*born), date(*today), incapable=incapable) == basis


def test_every_relation_decides_for_somebody() -> None:
    rules = load_substitutes()

    for relation in rules.relations:
        assert any(relation in rank for ranks in rules.ranks.values() for rank in ranks)


@pytest.mark.parametrize("wrong", ['["neighbour"]', '["provider"], ["family"]'])
def test_a_list_with_an_unknown_or_repeated_relation_is_refused(wrong: str) -> None:
    text = files("ehr_privacy").joinpath("rules/substitutes.toml").read_text("utf-8")
    broken = text.replace('ranks = [["parent"]', f"ranks = [{wrong}")

    with pytest.raises(ValueError, match="minor"):
        parse_substitutes(broken)
