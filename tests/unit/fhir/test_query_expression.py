"""Understanding `_filter`."""

from __future__ import annotations

import pytest

from ehr_fhir.errors import Invalid, TooCostly
from ehr_fhir.search.filter_expression import parse_expression
from ehr_fhir.search.filters import AnyOf, Chain, Clause, Not


def test_and_and_or_bind_alike_from_left_to_right() -> None:
    found = parse_expression("Patient", "gender eq male or gender eq other and active eq true")

    assert isinstance(found, AnyOf)
    ((either, active),) = found.groups
    assert isinstance(either, AnyOf) and [len(group) for group in either.groups] == [1, 1]
    assert isinstance(active, Clause) and active.parameter.code == "active"


def test_parentheses_and_not_are_heeded() -> None:
    found = parse_expression("Patient", 'not (name sw "a b(" or (name eq "c\\"d"))')

    assert isinstance(found, Not) and isinstance(found.filter, AnyOf)
    texts = [
        (part.modifier, part.values[0].code)
        for (part,) in found.filter.groups
        if isinstance(part, Clause)
    ]
    assert texts == [(None, "a b("), ("equals", 'c"d')]


def test_a_path_leads_through_references() -> None:
    found = parse_expression("Observation", "encounter.service-provider.name co har")

    assert isinstance(found, Chain) and isinstance(found.targets[0][1], Chain)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gender", "an operator is missing at character 7"),
        ("gender eq", "a value is missing at character 10"),
        ("gender is male", "an operator such as `eq` is missing at character 8"),
        ("gender eq male gender eq female", "`and`, `or` or the end is missing at character 16"),
        ("(gender eq male", r"`\)` is missing at character 16"),
        ("not gender eq male", r"`\(` is missing at character 5"),
        ('name eq "a', "begins at character 9 has no end"),
        ("gander eq male", "character 1: .*nearest name is `gender`"),
        ("active eq true and birthdate co 1", "character 20: `co` is not served .* type date"),
        ("birthdate gt x", "character 1: A date"),
        ("gender pr yes", "`pr` takes"),
        ("name gt a", "`gt` is not served"),
        ("name:exact eq a", "an operator says how"),
        ("organization[name eq x].name eq a", "brackets"),
        ("name.given eq a", "needs a reference"),
        ("_id ni x", "not compared"),
        ("", "a parameter is missing at character 1"),
    ],
)
def test_a_fault_is_named_with_its_place(text: str, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        parse_expression("Patient", text)


@pytest.mark.parametrize(
    "text", ["(" * 8 + "gender eq male" + ")" * 8, " or ".join(["gender eq male"] * 33)]
)
def test_what_is_too_deep_or_long_is_refused(text: str) -> None:
    with pytest.raises(TooCostly):
        parse_expression("Patient", text)
