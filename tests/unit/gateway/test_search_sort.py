"""`_sort` by any indexed parameter: order, missing values, pages that stay right."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_gateway.search.page import search
from ehr_gateway.store.store import Store
from tests.lib.store import NOW, doctor, found, platform, put


def paged(store: Store, kind: str, sort: str, count: int = 1) -> list[str]:
    seen: list[str] = []
    cursor = None
    while True:
        pairs = [("_sort", sort), ("_count", str(count))]
        page = search(store, platform(), kind, pairs + ([("_cursor", cursor)] if cursor else []))
        seen += [one.id for one in page.matches]
        cursor = page.next_cursor
        if cursor is None:
            return seen


def patient(identity: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": identity, **more}


@pytest.fixture
def cohort(store: Store) -> Store:
    put(store, {"resourceType": "Organization", "id": "o1", "name": "x"})
    put(store, {"resourceType": "Organization", "id": "o2", "name": "y"})
    organization = {"managingOrganization": {"reference": "Organization/o1"}}
    put(store, patient("a", name=[{"family": "Lee"}], gender="male", birthDate="1970-01-02"))
    names = [{"family": "Chan"}, {"family": "Müller"}]
    put(store, patient("b", name=names, gender="female", birthDate="1970-01-02", **organization))
    put(store, patient("c", gender="male", birthDate="1971"))
    put(store, patient("d", name=[{"family": "chan"}], managingOrganization={
        "reference": "Organization/o2"}, meta={"source": "http://x/1"}))  # fmt: skip
    for name, value in (("q1", 5.5), ("q2", 10), ("q3", None), ("q4", -1)):
        observation: dict[str, Any] = {
            "resourceType": "Observation",
            "id": name,
            "status": "final",
            "code": {"text": "x"},
        }
        put(store, observation | ({"valueQuantity": {"value": value}} if value else {}))
    return store


@pytest.mark.parametrize(
    ("kind", "sort", "ids"),
    [
        ("Patient", "family", "b d a c"),
        ("Patient", "-family", "b a d c"),
        ("Patient", "birthdate", "a b c d"),
        ("Patient", "-birthdate", "c a b d"),
        ("Patient", "gender,-birthdate", "b c a d"),
        ("Patient", "-gender,family", "a c b d"),
        ("Patient", "birthdate,-_id", "b a c d"),
        ("Patient", "organization", "b d a c"),
        ("Patient", "-organization", "d b a c"),
        ("Patient", "_source,gender", "b a c d"),
        ("Patient", "-_lastUpdated,_id", "a b c d"),
        ("Patient", "_id,family", "a b c d"),
        ("Patient", "", "a b c d"),
        ("Observation", "value-quantity", "q4 q1 q2 q3"),
        ("Observation", "-value-quantity", "q2 q1 q4 q3"),
    ],
)
def test_the_order_is_the_same_in_one_page_and_in_many(
    cohort: Store, kind: str, sort: str, ids: str
) -> None:
    assert found(cohort, kind, f"_sort={sort}") == ids.split()
    assert paged(cohort, kind, sort) == ids.split()
    assert paged(cohort, kind, sort, 3) == ids.split()


def test_pages_stay_right_while_data_changes(cohort: Store) -> None:
    seen: list[str] = []
    cursor = None
    for number in range(20):
        pairs = [("_sort", "-gender,family"), ("_count", "1")]
        page = search(
            cohort, platform(), "Patient", pairs + ([("_cursor", cursor)] if cursor else [])
        )
        seen += [one.id for one in page.matches]
        cursor = page.next_cursor
        if cursor is None:
            break
        # The last one seen goes to the front, and new ones come before it.
        put(cohort, patient(seen[-1], gender="unknown"), platform(NOW + number))
        put(cohort, patient(f"new-{number}", gender="unknown", name=[{"family": "A"}]))

    assert seen == ["a", "c", "b", "d"]


def test_a_page_link_shows_nothing_of_the_record(cohort: Store) -> None:
    page = search(cohort, platform(), "Patient", [("_sort", "family"), ("_count", "1")])

    assert page.next_cursor is not None
    sealed = base64.urlsafe_b64decode(page.next_cursor + "==")
    assert b"chan" not in sealed
    again = search(cohort, platform(), "Patient", [("_sort", "family"), ("_count", "1")])
    assert again.next_cursor == page.next_cursor


def test_a_hidden_record_has_no_place_in_the_order(shared_record: Store) -> None:
    shown = found(shared_record, "Observation", "_sort=code,-date", doctor("st-gabriel"))
    hidden = search(
        shared_record, doctor("kwun-fong"), "Observation", [("_sort", "code"), ("_count", "1")]
    )

    assert len(shown) == 2
    assert (hidden.matches, hidden.next_cursor) == ((), None)


def test_a_sort_goes_with_a_chain(cohort: Store) -> None:
    query = "organization.name=x,y&_sort=-family&_count=1"

    assert found(cohort, "Patient", query) == ["b"]


PEOPLE = st.lists(
    st.tuples(
        st.sampled_from([None, "male", "female"]),
        st.sampled_from([None, "1970", "1970-05-01", "1971-01-01"]),
    ),
    min_size=1,
    max_size=6,
)
KEYS = st.lists(
    st.tuples(st.sampled_from(["gender", "birthdate", "_id"]), st.booleans()), max_size=3
)


@settings(max_examples=15)
@given(people=PEOPLE, keys=KEYS, count=st.integers(1, 3))
def test_sorting_agrees_with_a_plain_sort(
    store: Store, people: list[Any], keys: list[tuple[str, bool]], count: int
) -> None:
    for number in range(6):
        gender, born = people[number] if number < len(people) else (None, None)
        more = {"gender": gender, "birthDate": born}
        put(store, patient(f"p{number}", **{name: one for name, one in more.items() if one}))
    # First and last days a date may mean; only their order counts.
    first = {"1970": 0, "1970-05-01": 1, "1971-01-01": 3}
    last = {"1970": 2, "1970-05-01": 1, "1971-01-01": 3}

    def value(name: str, key: str, down: bool) -> Any:
        number = int(name[1:])
        gender, born = people[number] if number < len(people) else (None, None)
        if key == "birthdate":
            return born and (last if down else first)[born]
        return gender if key == "gender" else name

    expected = [f"p{number}" for number in range(6)]
    for key, down in reversed(keys):
        known = [one for one in expected if value(one, key, down) is not None]
        absent = [one for one in expected if value(one, key, down) is None]
        ranks = sorted({value(one, key, down) for one in known}, reverse=down)
        known.sort(key=lambda one: ranks.index(value(one, key, down)))
        expected = known + absent

    sort = ",".join(("-" if down else "") + key for key, down in keys)
    assert paged(store, "Patient", sort, count) == expected
