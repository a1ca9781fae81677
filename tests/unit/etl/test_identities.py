"""People who may be one: by an identifier, or name, birth date and sex, unless they are linked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ehr_etl.tables.bucketed import Layout
from ehr_etl.tables.identities import build_identity_rows, find_duplicate_people
from tests.lib.quality_faults import PLANTED, person

LAYOUT = Layout(7, b"0123456789abcdef0123456789abcdef")
HKID = [{"system": "https://www.immd.gov.hk/hkid", "value": "A123456(3)"}]
NAME = [{"family": "CHAN", "given": ["Tai Man"]}]


def rows_of(*people: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        row
        for one in people
        for row in build_identity_rows(
            LAYOUT, {"id": one["id"], "deleted": False, "resource": json.dumps(one)}
        )
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"identifier": HKID}, {"identifier": [{**HKID[0], "value": "a1234563"}]}),
        ({"name": NAME}, {"name": [{"text": "Chan Tai-Man"}]}),
    ],
    ids=["identifier", "name"],
)
def test_two_accounts_of_one_person_are_found(first: Any, second: Any) -> None:
    rows = rows_of({**person("p1"), **first}, {**person("p2"), **second})

    assert find_duplicate_people(rows) == {"p2": "p1"}


def test_the_planted_person_is_found() -> None:
    people = [{**one, "name": NAME} for one in PLANTED["the same person twice"].records]

    assert find_duplicate_people(rows_of(*people)) == {"p2": "p1"}


def test_linked_accounts_and_other_people_are_none() -> None:
    link = [{"type": "replaces", "other": {"reference": "Patient/p1"}}]
    for other in (
        person("p2", name=NAME, link=link),
        person("p2", name=NAME, birthDate="1956-03-05"),
        person("p2", name=[{"family": "CHAN", "given": ["Siu Ming"]}]),
    ):
        assert find_duplicate_people(rows_of(person("p1", name=NAME), other)) == {}


def test_no_name_or_number_is_in_the_index() -> None:
    text = json.dumps(rows_of({**person("p1", name=NAME), "identifier": HKID}))

    assert not [word for word in ("CHAN", "chan", "A123456", "1956") if word in text]
