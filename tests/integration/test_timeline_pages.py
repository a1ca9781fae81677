"""The timeline over a real gateway: each record stands on one page, in order, and none is lost."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest

from ehr_portal.gateway.client import GatewayClient
from ehr_portal.i18n import fhir_timestamp
from ehr_portal.record import timeline
from ehr_portal.record.timeline import TimelineFilter, TimelinePage, fetch_timeline
from tests.lib.gateway import House, database, furnished, houses, move_in
from tests.lib.loops import run

__all__ = ["database", "furnished", "houses", "move_in"]

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ABOUT = {"subject": {"reference": "Patient/pat-1"}}


def random_date(chance: random.Random) -> str:
    """Return a FHIR date of any precision, in one of few months, so that days are shared."""
    day = date(2019, 1, 1) + timedelta(days=chance.randrange(400))
    return chance.choice(
        [str(day), str(day), f"{day}T{chance.randrange(24):02}:30:00+08:00",
         f"{day}T23:59:00Z", str(day)[:7], str(day)[:4]]
    )  # fmt: skip


def random_period(chance: random.Random) -> dict[str, str]:
    """Return a period: of a day, of months, open at one end."""
    first = date(2019, 1, 1) + timedelta(days=chance.randrange(400))
    end = first + timedelta(days=chance.choice([0, 0, 3, 200]))
    whole = {"start": str(first), "end": str(end)}
    return chance.choice([whole, whole, {"start": str(first)}, {"end": str(end)}])


def random_records(chance: random.Random) -> list[dict[str, Any]]:
    """Return records of several types, some without any date."""
    coded = {"code": {"text": "Something"}}
    records: list[dict[str, Any]] = []
    for _ in range(40):
        effective: dict[str, Any] = chance.choice(
            [{"effectiveDateTime": random_date(chance)}, {"effectivePeriod": random_period(chance)},
             {}]
        )  # fmt: skip
        onset: dict[str, Any] = chance.choice(
            [{"onsetDateTime": random_date(chance)}, {"onsetString": "as a child"},
             {"onsetString": "long ago", "recordedDate": random_date(chance)}]
        )  # fmt: skip
        records += [
            {"resourceType": "Observation", "status": "final", **coded, **effective},
            {"resourceType": "Condition", **coded, **onset},
            {"resourceType": "Procedure", "status": "completed", **coded,
             "performedPeriod": random_period(chance)},
            {"resourceType": "CarePlan", "status": "active", "intent": "plan",
             "period": random_period(chance)},
        ]  # fmt: skip
    return [{**record, **ABOUT, "id": f"r-{n}"} for n, record in enumerate(records)]


def all_pages(client: GatewayClient, wanted: TimelineFilter) -> list[TimelinePage]:
    """Return every page from the newest to the oldest."""

    async def fetch() -> list[TimelinePage]:
        pages = [await fetch_timeline(client, "pat-1", "en", NOW, wanted)]
        while pages[-1].older_than:
            older = pages[-1].older_than
            pages.append(await fetch_timeline(client, "pat-1", "en", NOW, wanted, older))
            assert len(pages) < 500
        return pages

    return run(fetch())


def gateway_client(house: House) -> GatewayClient:
    """Return the portal's client of a gateway with the patient's token."""
    transport = httpx.ASGITransport(app=house.app)
    client = httpx.AsyncClient(transport=transport, base_url="http://testserver")
    return GatewayClient(client, house.token("p.pat-1"))


@pytest.mark.parametrize("seed", range(3))
def test_each_record_stands_on_one_page_in_order(
    furnished: House, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(timeline, "FIRST_COUNT", 3)
    monkeypatch.setattr(timeline, "SECOND_COUNT", 8)
    hospital = furnished.system("hospital-a")
    records = random_records(random.Random(seed))
    for record in records:
        hospital.store(record)

    pages = all_pages(gateway_client(furnished), TimelineFilter())

    days = [day for page in pages for day in page.days]
    stamps = [fhir_timestamp(day.date) for day in days]
    assert stamps == sorted(stamps, reverse=True)
    assert len({day.date for day in days}) == len(days)
    shown = [row.id for day in days for group in day.groups for row in group.rows]
    undated = [row.id for page in pages for row in page.undated]
    ours = {record["id"] for record in records}
    told = [name for name in shown + undated if name in ours]
    assert sorted(told) == sorted(ours)
    dated = ("DateTime", "Date", "Period", "period")
    without = {r["id"] for r in records if not any(key.endswith(dated) for key in r)}
    assert {name for name in undated if name in ours} == without
    assert len(pages) > 3


def test_a_year_and_an_author_leave_out_the_others(furnished: House) -> None:
    furnished.share("hospital-b")
    for name, organization, day in (
        ("a-2019", "hospital-a", "2019-12-31T23:30:00+08:00"),
        ("a-2020", "hospital-a", "2020-01-01"),
        ("b-2020", "hospital-b", "2020-05"),
    ):
        furnished.system(organization).store(
            {"resourceType": "Procedure", "id": name, "status": "completed", **ABOUT,
             "code": {"text": name}, "performedDateTime": day,
             "meta": {"source": f"https://ehr-commons.hk/organization/{organization}"}}
        )  # fmt: skip
    client = gateway_client(furnished)

    def shown(**wanted: str) -> set[str]:
        pages = all_pages(client, TimelineFilter(kind="procedures", **wanted))
        return {row.id for page in pages for day in page.days for g in day.groups for row in g.rows}

    assert shown() == {"a-2019", "a-2020", "b-2020"}
    assert shown(year="2019") == {"a-2019"}
    assert shown(year="2020") == {"a-2020", "b-2020"}
    assert shown(organization="hospital-b") == {"b-2020"}
    assert shown(organization="hospital-b", year="2019") == set()
