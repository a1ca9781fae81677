"""The pages of sections over a real gateway: each record on one page, and counts that hold."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ehr_portal.record import section_pages
from ehr_portal.record.special_codes import list_social_codes
from tests.lib.gateway import House, database, furnished, houses, move_in, restriction
from tests.lib.portal_reader import Reader

__all__ = ["database", "furnished", "houses", "move_in"]

TERMS = "http://terminology.hl7.org/CodeSystem"
SOCIAL_SYSTEM, _, SOCIAL_CODE = list_social_codes()[0].partition("|")
PERIODS = ("2010-01-01", "2010-01-03")


def concept(code: str, system: str = "http://example.test") -> dict[str, Any]:
    """Return a CodeableConcept of one code."""
    return {"coding": [{"system": system, "code": code, "display": code}]}


def clinical(code: str) -> dict[str, Any]:
    """Return a clinicalStatus."""
    return concept(code, f"{TERMS}/condition-clinical")


def dated(number: int) -> str:
    """Return a day, the higher the number the older."""
    return f"{2024 - number}-03-04"


def record(resource_type: str, number: int, **elements: Any) -> dict[str, Any]:
    """Return a record of the first patient."""
    about = "patient" if resource_type == "Immunization" else "subject"
    return {
        "resourceType": resource_type,
        "id": f"our-{resource_type.lower()}-{number}",
        about: {"reference": "Patient/pat-1"},
        **elements,
    }


def section_records() -> dict[str, list[dict[str, Any]]]:
    """Return records by section; of each some that hold now, the oldest among them."""
    order = {"intent": "order", "medicationCodeableConcept": concept("Warfarin")}
    return {
        "problems": [
            record("Condition", 1, code=concept("A")),
            record("Condition", 2, code=concept("B"), clinicalStatus=clinical("resolved"),
                   onsetDateTime=dated(2), abatementDateTime=dated(1)),
            *(record("Condition", n, code=concept("C"), clinicalStatus=clinical("inactive"),
                     recordedDate=dated(n)) for n in range(3, 12)),
            record("Condition", 12, code=concept("D"), clinicalStatus=clinical("active"),
                   onsetDateTime=dated(30)),
            record("Condition", 13, code=concept("E"), clinicalStatus=clinical("active"),
                   onsetDateTime=dated(20), abatementDateTime=dated(19)),
        ],
        "social": [
            record("Condition", n, code=concept(SOCIAL_CODE, SOCIAL_SYSTEM),
                   clinicalStatus=clinical("active" if n > 106 else "resolved"),
                   onsetDateTime=dated(n - 100)) for n in range(101, 108)
        ] + [
            record("Condition", 120, code=concept("X"), clinicalStatus=clinical("active"),
                   category=[concept("sdoh")]),
        ],
        "medicines": [
            record("MedicationRequest", n, status="active" if n > 7 else "completed",
                   authoredOn=dated(n), **order) for n in range(10)
        ] + [
            record("MedicationStatement", n, status="active" if n > 5 else "completed",
                   effectiveDateTime=dated(n),
                   medicationCodeableConcept=concept("Aspirin")) for n in range(7)
        ],
        "visits": [
            record("Encounter", n, status="in-progress" if n == 9 else "finished",
                   period={"start": dated(n), **({} if n == 9 else {"end": dated(n)})},
                   **{"class": {"system": f"{TERMS}/v3-ActCode", "code": "AMB"}})
            for n in range(10)
        ],
        "procedures": [
            record("Procedure", n, status="completed", code=concept("P"),
                   **({"performedDateTime": dated(n)} if n else {})) for n in range(9)
        ],
        "results": [
            record("Observation", n, status="final", code=concept(f"T{n % 2}"),
                   category=[concept("laboratory", f"{TERMS}/observation-category")],
                   effectiveDateTime=dated(n), valueString="as usual") for n in range(11)
        ],
        "plans": [
            record("CarePlan", n, status="completed", intent="plan", title="Plan",
                   period={"start": dated(n), "end": dated(n)}) for n in range(6)
        ] + [
            record("Goal", n, lifecycleStatus="completed", description=concept("Walk"),
                   startDate=dated(n)) for n in range(6)
        ],
        "devices": [
            record("DeviceUseStatement", n, status="active",
                   device={"display": "A stick"}) for n in range(7)
        ],
    }  # fmt: skip


@pytest.fixture
def reader(furnished: House, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Return the first patient, logged in; a page of a section has few rows."""
    monkeypatch.setattr(section_pages, "ROWS_PER_PAGE", 4)
    monkeypatch.setattr(section_pages, "RESULTS_PER_PAGE", 4)
    hospital = furnished.system("hospital-a")
    for records in section_records().values():
        for resource in records:
            hospital.store(resource)
    return Reader(furnished, "p.pat-1")


def ids_on(text: str) -> list[str]:
    """Return the ids of our records that a page links to, in order."""
    return list(dict.fromkeys(re.findall(r"/item/\w+/(our-[a-z]+-\d+)", text)))


def pages_of(reader: Reader, key: str) -> list[str]:
    """Return every page of a section."""
    pages, address = [], f"/record/{key}"
    while address:
        status, text = reader.call("GET", address, {})
        assert status == 200
        pages.append(text)
        older = re.search(r'href="(/record/\w+\?older=[\w-]+)" rel="next"', text)
        address = older[1] if older else ""
        assert len(pages) < 50
    return pages


@pytest.mark.parametrize("key", sorted(section_records()))
def test_each_record_of_a_section_stands_on_one_of_its_pages(reader: Reader, key: str) -> None:
    pages = [ids_on(page) for page in pages_of(reader, key)]

    shown = [name for page in pages for name in page]
    assert sorted(shown) == sorted(resource["id"] for resource in section_records()[key])
    assert len(pages) > 1
    # Each page but the last holds what is newer than the next one's, so far as types go alone.
    assert all(pages[:-1])


@pytest.mark.parametrize(
    ("key", "current"),
    [
        ("problems", ["our-condition-1", "our-condition-12"]),
        ("medicines", ["our-medicationrequest-8", "our-medicationrequest-9",
                       "our-medicationstatement-6"]),
    ],
)  # fmt: skip
def test_what_holds_now_stands_on_the_first_page_however_old_it_is(
    reader: Reader, key: str, current: list[str]
) -> None:
    first, *others = pages_of(reader, key)

    now = first.partition("Earlier")[0]
    assert sorted(ids_on(now)) == sorted(current)
    assert others and all(">Now</h2>" not in page for page in others)
    assert all((">Earlier</h2>" in page) != ("Nothing older." in page) for page in others)


def test_the_first_page_counts_what_it_did_not_fetch(reader: Reader) -> None:
    shown = reader.call("GET", "/record", {})[1]

    # Of two problems and five results of the house itself, too.
    own = {"problems": 1, "visits": 1, "results": 2}
    for key, records in section_records().items():
        if key == "devices":
            continue
        number = len(records) + own.get(key, 0)
        assert f'<a href="/record/{key}">See all {number}<' in shown, (key, number)


def test_a_handle_leads_to_the_older_records_of_its_own_section_alone(reader: Reader) -> None:
    first = pages_of(reader, "procedures")[0]
    older = re.search(r"\?older=([\w-]+)", first)
    assert older is not None

    other = reader.call("GET", f"/record/visits?older={older[1]}", {})[1]

    assert ids_on(other) == ids_on(reader.call("GET", "/record/visits", {})[1])


def test_what_is_withheld_is_not_counted(furnished: House, reader: Reader) -> None:
    furnished.share("hospital-b")
    doctor = Reader(furnished, "doctor.b")

    def count_visits() -> str:
        shown = doctor.call("GET", "/patients/pat-1", {})[1]
        found = re.search(r'/visits">([^<]+)<', shown)
        return found[1] if found else ""

    assert count_visits() == "6 of 11"
    # The reader is the patient.
    furnished.login("p.pat-1").store(restriction("closed", record="Encounter/our-encounter-3"))
    assert count_visits() == "6 of 10"
