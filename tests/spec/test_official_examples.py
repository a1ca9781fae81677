"""HL7's own R4 examples go in, come back digit for digit, and are found by what stands in them.

They refer to much that is not among them: its least stands in for it, for references are checked.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.examples import (
    INVALID,
    REFUSED,
    Example,
    digits,
    examples,
    searches,
    surroundings,
    transaction,
)
from tests.lib.gateway import House, Session, must

_JSON = {"Content-Type": "application/fhir+json"}


def _put_all(house: House, files: list[Example]) -> Session:
    """Put all in at once, for they refer to each other in circles."""
    platform = house.system("ehr-commons")
    own = [(one.address, one.body) for one in files]
    bundle = transaction([*surroundings(files), *own])
    must(platform.request("POST", "/fhir", content=bundle, headers=_JSON))
    return platform


def _kept(shared_data: Path) -> list[Example]:
    return [
        one
        for one in examples(shared_data)
        if one.content["resourceType"] not in REFUSED and one.address not in INVALID
    ]


def test_official_examples_come_back_and_are_found(house: House, shared_data: Path) -> None:
    files = _kept(shared_data)
    platform = _put_all(house, files)

    asked: dict[tuple[str, str], tuple[str, str]] = {}
    for one in files:
        assert digits(
            platform.get(one.address, headers={"Accept": "application/fhir+json"}).content
        ) == digits(one.body), one.name
        for parameter, search in searches(one.content):
            # One resource for each parameter; the slow test takes all.
            asked.setdefault(parameter, (one.address, search))
    missed = [
        (address, search)
        for address, search in asked.values()
        if not _found(platform, address, search)
    ]

    assert len(files) > 300
    assert len(asked) > 300
    assert missed == []


@pytest.mark.slow
def test_each_example_is_found_by_each_of_its_values(house: House, shared_data: Path) -> None:
    files = _kept(shared_data)
    platform = _put_all(house, files)

    missed = [
        (one.address, search)
        for one in files
        for search in {search for _, search in searches(one.content)}
        if not _found(platform, one.address, search)
    ]

    assert missed == []


def test_an_example_of_a_type_that_is_not_written_is_refused(
    house: House, shared_data: Path
) -> None:
    refused = [one for one in examples(shared_data) if one.content["resourceType"] in REFUSED]

    answers = {
        one.content["resourceType"]: house.system("ehr-commons")
        .request("PUT", one.address, content=one.body, headers=_JSON)
        .status_code
        for one in refused
    }

    assert answers == {kind: REFUSED[kind] for kind in answers}
    assert answers


def test_an_example_that_breaks_a_rule_of_r4_is_refused_with_the_place(
    house: House, shared_data: Path
) -> None:
    platform = house.system("ehr-commons")
    broken = [one for one in examples(shared_data) if one.address in INVALID]

    answers = [
        platform.request("PUT", one.address, content=one.body, headers=_JSON) for one in broken
    ]

    assert {answer.status_code for answer in answers} == {422}
    assert [answer.json()["issue"][0]["expression"] for answer in answers] == [
        [INVALID[one.address]] for one in broken
    ]


def _found(session: Session, address: str, search: str) -> bool:
    kind, identity = address.split("/")
    return session.ids(f"{kind}?_id={identity}&{search}") == [address]
