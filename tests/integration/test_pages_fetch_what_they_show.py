"""No page fetches what it does not show: from the portal's route table, over a real gateway.

A record is read twice, the second time with more of the past. What a page fetches more then, it
shows: it does not grow with the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from ehr_gateway.access import Access
from ehr_gateway.transaction.prepared_resource import prepare_draft
from ehr_gateway.transaction.transaction import open_transaction
from ehr_portal.record.sections import SECTION_BY_KEY
from tests.lib.gateway import House, database, furnished, houses, move_in
from tests.lib.portal_reader import Reader
from tests.lib.portal_routes import routes
from tests.unit.portal.test_route_table import OPEN

__all__ = ["database", "furnished", "houses", "move_in"]

# Records of each type before and after. More than any page reads of what it shows a part of.
SHORT, LONG = 70, 110
OURS = re.compile(rb"old-[a-z]+-\d+")
IDS = {
    "patient": "pat-1", "resource_type": "Observation", "resource_id": "lab-1",
    "observation_id": "lab-1", "organization": "hospital-a",
}  # fmt: skip
# A list of carers, corrections, steps: of no record of these types. A document is sent as it is.
WITHOUT_PAGE = ("attachment", "events", "/static")
# What has to be known whole for what the page says, with the reason. Of a Flag no search parameter
# of R4 tells the status, so that past alerts are read with those of now.
REVIEWED = {
    # What an IPS document holds is shown whole, in its own words and without ids.
    "/take-away/summary": "one document",
    "/take-away/summary.pdf": "one document",
    # Names of the tests that can be compared: no search of R4 lists the codes of a record.
    "/patients/{patient}/compare": "the tests to choose from",
}


def past_records(numbers: range) -> Iterator[dict[str, Any]]:
    """Yield records of many types that are over, the higher the number the older."""
    text = {"text": "Something"}
    term = "http://terminology.hl7.org/CodeSystem"
    over = {"coding": [{"system": f"{term}/condition-clinical", "code": "resolved"}]}
    for number in numbers:
        day = str(date(2024, 1, 1) - timedelta(days=number))
        period = {"start": day, "end": day}
        for category in ("laboratory", "vital-signs", "social-history"):
            kind = {"coding": [{"system": f"{term}/observation-category", "code": category}]}
            yield {"resourceType": "Observation", "status": "final", "category": [kind],
                   "code": text, "effectiveDateTime": day, "id": f"old-{category[:4]}-{number}",
                   "valueString": "as usual"}  # fmt: skip
        yield from (
            {**body, "id": f"old-{str(body['resourceType']).lower()}-{number}"}
            for body in (
                {"resourceType": "Condition", "clinicalStatus": over, "code": text,
                 "onsetDateTime": day, "abatementDateTime": day},
                {"resourceType": "MedicationRequest", "status": "completed", "intent": "order",
                 "medicationCodeableConcept": text, "authoredOn": day},
                {"resourceType": "Procedure", "status": "completed", "code": text,
                 "performedDateTime": day},
                {"resourceType": "Encounter", "status": "finished", "period": period,
                 "class": {"system": f"{term}/v3-ActCode", "code": "AMB"}},
                {"resourceType": "DiagnosticReport", "status": "final", "code": text,
                 "effectiveDateTime": day},
                {"resourceType": "DocumentReference", "status": "current",
                 "date": f"{day}T00:00:00Z",
                 "content": [{"attachment": {"contentType": "text/plain", "data": "eA=="}}]},
                {"resourceType": "Immunization", "status": "completed", "vaccineCode": text,
                 "occurrenceDateTime": day},
                {"resourceType": "CarePlan", "status": "completed", "intent": "plan",
                 "title": f"old-careplan-{number}", "period": period},
            )
        )  # fmt: skip


def store_all(house: House, records: Iterator[dict[str, Any]]) -> None:
    """Store records of the first patient in one transaction."""
    gateway = house.gateway
    session = house.system("hospital-a")
    caller = gateway.verifier.authenticate(session.headers["Authorization"][7:], gateway.clock())
    access = Access(caller.requester, gateway.clock(), "furnishing")
    about = {"reference": "Patient/pat-1"}
    drafts = [
        prepare_draft(
            {**record, "patient" if record["resourceType"] == "Immunization" else "subject": about},
            record["id"],
            access,
            record["resourceType"],
        )
        for record in records
    ]
    with open_transaction(gateway.store, access) as writing:
        for draft in drafts:
            writing.create(draft)


def pages(base: str) -> list[tuple[str, dict[str, str]]]:
    """Return the pages of a reader, each with the ids in its address."""
    found = []
    for method, path in routes():
        is_clinicians = path.startswith("/patients/{patient}")
        if method != "GET" or is_clinicians != (base == "/patients/{patient}"):
            continue
        if path in OPEN or any(part in path for part in WITHOUT_PAGE):
            continue
        keys = SECTION_BY_KEY if "{key}" in path else ["none"]
        found += [(path, IDS | {"key": key}) for key in keys]
    return found


def read_all(house: House, login: str, base: str) -> dict[str, tuple[int, int]]:
    """Return for each page that answers how many of our records it fetches and shows."""
    reader = Reader(house, login)
    read = {}
    for path, ids in pages(base):
        reader.transport.answers.clear()
        status, text = reader.call("GET", path, ids)
        if status == 200:
            fetched = {name for body in reader.transport.answers for name in OURS.findall(body)}
            shown = set(OURS.findall(text.encode()))
            read[path.replace("{key}", ids["key"])] = (len(fetched), len(shown))
    return read


@pytest.mark.parametrize(
    ("login", "base", "least"), [("p.pat-1", "", 30), ("doctor.b", "/patients/{patient}", 30)]
)
def test_what_a_page_fetches_grows_no_more_than_what_it_shows(
    furnished: House, login: str, base: str, least: int
) -> None:
    furnished.share("hospital-b")
    store_all(furnished, past_records(range(SHORT)))
    short = read_all(furnished, login, base)
    store_all(furnished, past_records(range(SHORT, LONG)))
    long = read_all(furnished, login, base)

    assert len(long) >= least
    greedy = {
        path: (short[path], long[path])
        for path in long
        if long[path][0] - short[path][0] > long[path][1] - short[path][1] and path not in REVIEWED
    }
    assert greedy == {}
    # The test sees what pages fetch and show.
    assert max(shown for _, shown in long.values()) >= LONG
