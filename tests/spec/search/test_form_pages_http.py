"""Pages of a search by POST: what was kept out of the first address stands in no later one."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.lib.gateway import House, must, patient


@pytest.fixture
def town(furnished: House) -> House:
    """Return a house with five people of one name."""
    for number in range(3, 6):
        furnished.system("ehr-commons").store(patient(f"pat-{number}", f"ZE{number}"))
    return furnished


def next_link(bundle: dict[str, Any]) -> str:
    return next((link["url"] for link in bundle["link"] if link["relation"] == "next"), "")


@pytest.mark.parametrize("address", ["Patient/_search", "_search"])
def test_the_link_to_the_next_page_holds_no_value_and_leads_through_all(
    town: House, address: str
) -> None:
    platform = town.system("ehr-commons")
    form = {"name": "Chan", "_count": "2", "_sort": "_id"}
    if address == "_search":
        form = {"_type": "Patient", "_content": "Chan", "_count": "2"}
    pages = [must(platform.request("POST", address, data=form)).json()]

    while link := next_link(pages[-1]):
        assert "Chan" not in link
        assert {name for name, _ in parse_qsl(urlsplit(link).query)} == {"_form", "_cursor"}
        pages.append(must(platform.get(link.removeprefix("http://testserver"))).json())

    found = [entry["resource"]["id"] for page in pages for entry in page["entry"]]
    assert sorted(found) == [f"pat-{number}" for number in range(1, 6)]
    assert len(pages) == 3


def test_a_page_that_was_not_made_here_is_refused(town: House) -> None:
    platform = town.system("ehr-commons")
    form = {"name": "Chan", "_count": "2"}
    link = next_link(must(platform.request("POST", "Patient/_search", data=form)).json())
    query = dict(parse_qsl(urlsplit(link).query))

    for address in (
        f"Patient?_form={query['_form'][:-3]}AAA",
        f"Observation?_form={query['_form']}",
        f"Patient?_form={query['_form']}&_cursor=AAAA",
    ):
        assert platform.get(address).status_code == 400, address


def test_the_log_tells_what_a_later_page_asked_by(town: House) -> None:
    platform = town.system("ehr-commons")
    link = next_link(
        must(
            platform.request("POST", "Patient/_search", data={"name": "Chan", "_count": "2"})
        ).json()
    )
    must(platform.get(link.removeprefix("http://testserver")))
    town.gateway.audit_batcher.flush()

    with town.gateway.store.read_transaction() as connection:
        row = connection.execute("SELECT query FROM audit ORDER BY seq DESC LIMIT 1").fetchone()

    assert row["query"].startswith("Patient?name&_count")
