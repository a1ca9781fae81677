"""The portal over a fake gateway, with a small cast: what the page tests start from."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from ehr_portal import PortalSettings, create_portal
from ehr_portal.pages import load_navigation
from ehr_portal.settings import LivePace
from ehr_portal.web.sessions import User
from tests.lib.fake_gateway import FakeGateway, Resource

BASE = "http://testserver"
NOW = 1_795_334_400.0  # 2026-11-22T08:00:00Z
SYSTEM = "https://ehr-commons.hk"
TERMS = "http://terminology.hl7.org/CodeSystem"

PEOPLE: dict[str, dict[str, Any]] = {
    "patient": {"role": "patient", "patient": "pat-1", "display": "CHAN Ka Yan"},
    # Acts for the patient already: the pages of a carer who does not are the acceptance tests'.
    "carer": {"role": "carer", "patient": "pat-1", "display": "HO Mei"},
    "doctor": {"role": "clinician", "organization": "st-b", "display": "Dr WONG"},
    "steward": {"role": "steward", "organization": "ehr-commons", "display": "NG Wing Sum"},
    "auditor": {"role": "auditor", "organization": "ehr-commons", "display": "KO Ming"},
    "administrator": {"role": "administrator", "organization": "ehr-commons", "display": "YIP"},
    "researcher": {"role": "researcher", "organization": "ehr-commons", "display": "LAU"},
}


# Their element for whom they are about.
_TYPES_WITH_PATIENT = ("AllergyIntolerance", "Immunization")


class PortalHouse:
    """The portal, its fake gateway, and a browser without a screen."""

    def __init__(self, base_url: str = BASE, **settings: Any) -> None:
        self.now = NOW
        self.fake = FakeGateway(cast(), PEOPLE)
        # A stream of rows ends at once: the client of a test waits for its end.
        settings.setdefault("live_pace", LivePace(tick=0.001, lifetime=0.02))
        self.settings = PortalSettings(base_url=base_url, clock=lambda: self.now, **settings)
        self.app = create_portal(self.fake.client(), self.settings)
        self.browser = self.new_browser()

    def new_browser(self) -> TestClient:
        """Return another browser."""
        return TestClient(self.app, base_url=self.settings.base_url, follow_redirects=False)

    def log_in(self, who: str, language: str = "en") -> TestClient:
        """Log a member of the cast in and return the browser."""
        self.browser.cookies.set("language", language)
        away = self.browser.get("/login")
        asked = parse_qs(urlsplit(away.headers["location"]).query)
        self.fake.challenges[who] = asked["code_challenge"][0]
        back = self.browser.get(
            "/callback",
            params={
                "code": who,
                "state": asked["state"][0],
                "iss": f"{self.settings.base_url}/oauth",
            },
        )
        assert back.status_code == 303, back.text
        return self.browser

    def send(self, page: str, action: str, **fields: str | list[str]) -> httpx.Response:
        """Fill in the form of a page that goes to `action`, send it, and return the answer.

        A field of boxes has a list of those that are ticked.
        """
        shown = self.browser.get(page).text
        form = re.search(rf'action="{re.escape(action)}".*?name="csrf" value="(\w+)"', shown, re.S)
        assert form, f"{page} has no form to {action}"
        answer: httpx.Response = self.browser.post(action, data={"csrf": form[1], **fields})
        return answer

    def add_record(self, resource_type: str, name: str, **elements: Any) -> None:
        """Put a record of the patient into the gateway."""
        about = "patient" if resource_type in _TYPES_WITH_PATIENT else "subject"
        self.fake.resources[(resource_type, name)] = {
            "resourceType": resource_type,
            "id": name,
            about: {"reference": "Patient/pat-1"},
            **elements,
        }


@pytest.fixture
def portal() -> PortalHouse:
    """Return a portal nobody is logged in to."""
    return PortalHouse()


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> PortalHouse:
    """Return a portal to which a doctor of the directory is logged in."""
    monkeypatch.setitem(PEOPLE["doctor"], "person", "dr-wong")
    house = PortalHouse()
    house.log_in("doctor")
    return house


def navigation_pages() -> list[tuple[str, str]]:
    """Return who of the cast finds which page in the bar: (who, path)."""
    navigation = load_navigation()
    return [
        (who, link.path)
        for who, person in PEOPLE.items()
        for link in navigation.links_for(
            User(person["display"], "", person["role"], None, person.get("patient"), "")
        )
    ]


def cast() -> list[Resource]:
    """Return two hospitals, a clinic, the platform, a patient and her records."""
    written = {"source": f"{SYSTEM}/organization/ha-a", "versionId": "1"}
    about = {"subject": {"reference": "Patient/pat-1"}, "meta": written}
    return [
        _organization("ha-a", "Harbour Hospital", "海港醫院", deemed=True),
        _organization("st-b", "St B's Hospital", "聖乙醫院"),
        _organization("clinic-c", "Clinic C", "丙診所"),
        _organization("ehr-commons", "eHR Commons", "平台", kind="other"),
        {
            "resourceType": "Patient",
            "id": "pat-1",
            "identifier": [{"system": f"{SYSTEM}/identifier/hkid", "value": "ZQ123456(7)"}],
            "name": [{"text": "CHAN Ka Yan"}, {"text": "陳家欣"}],
            "gender": "female",
            "birthDate": "1981-03-14",
        },
        {
            "resourceType": "AllergyIntolerance",
            "id": "al-1",
            "meta": written,
            "patient": {"reference": "Patient/pat-1"},
            "clinicalStatus": {"coding": [{"code": "active"}]},
            "criticality": "high",
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": "111088007"}]},
            "recordedDate": "2019-05-01",
        },
        {
            "resourceType": "Condition",
            "id": "con-1",
            **about,
            "clinicalStatus": {"coding": [{"code": "active"}]},
            "code": {"text": "Rare <b>thing</b> (disorder)"},
            "onsetDateTime": "2020-02-03T10:00:00+08:00",
        },
        {
            "resourceType": "MedicationRequest",
            "id": "med-1",
            **about,
            "status": "active",
            "medicationReference": {"reference": "Medication/m-1"},
            "authoredOn": "2026-01-02",
        },
        {"resourceType": "Medication", "id": "m-1", "code": {"text": "Lisinopril 10 mg"}},
        *(
            {
                "resourceType": "Observation",
                "id": f"lab-{year}",
                **about,
                "status": "final",
                "category": [{"coding": [{"code": "laboratory"}]}],
                "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
                "effectiveDateTime": f"{year}-06-01T09:00:00+08:00",
                "valueQuantity": {"value": value, "unit": "g/dL"},
            }
            for year, value in ((2023, 12.1), (2024, 13.0), (2025, 13.456))
        ),
        _sharing("st-b", "active"),
        _consent("joining-1", "joining", {"type": "permit"}),
    ]


def _organization(
    name: str, latin: str, han: str, *, deemed: bool = False, kind: str = "prov"
) -> Resource:
    url = f"{SYSTEM}/fhir/StructureDefinition/deemed-sharing"
    found: Resource = {
        "resourceType": "Organization",
        "id": name,
        "name": latin,
        "alias": [han],
        "type": [{"coding": [{"system": f"{TERMS}/organization-type", "code": kind}]}],
    }
    if deemed:
        found["extension"] = [{"url": url, "valuePeriod": {"start": "2016-03-13"}}]
    return found


def _sharing(organization: str, status: str) -> Resource:
    actor = {"reference": {"reference": f"Organization/{organization}"}}
    shared = _consent(f"share-{organization}", "sharing", {"type": "permit", "actor": [actor]})
    return {**shared, "status": status}


def _consent(name: str, category: str, provision: Resource) -> Resource:
    system = f"{SYSTEM}/fhir/CodeSystem/consent-category"
    return {
        "resourceType": "Consent",
        "id": name,
        "meta": {"versionId": "1"},
        "status": "active",
        "category": [{"coding": [{"system": system, "code": category}]}],
        "patient": {"reference": "Patient/pat-1"},
        "provision": provision,
    }
