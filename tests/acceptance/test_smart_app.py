"""An app that nobody here wrote the client of: SMART's JavaScript library, in a browser."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from ehr_cli.sample.sample_accounts import PIN
from ehr_gateway.database import open_database
from ehr_gateway.oauth.offline_tokens import issue_local_token
from ehr_gateway.oauth.registration import mint_initial_access_token
from tests.lib.barriers import barriers
from tests.lib.people import Person
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

CLIENTS = Path(__file__).resolve().parents[1] / "clients"
LIBRARY = CLIENTS / "node_modules" / "fhirclient" / "build" / "fhir-client.js"
QUESTIONS = {
    "English": "Do you allow Growth chart?",
    "繁體": "你是否允許Growth chart？",
    "简体": "你是否允许Growth chart？",
}
SCOPE = "openid fhirUser launch launch/patient offline_access patient/*.rs"


@dataclass
class Served:
    """A folder of pages on an origin of its own."""

    folder: Path
    origin: str

    def settings(self, **values: str) -> None:
        """Tell the app's pages who they are."""
        script = f"const settings = {json.dumps(values)};"
        (self.folder / "settings.js").write_text(script, "utf-8")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Served]:
    """Serve the app."""
    if not LIBRARY.is_file():
        pytest.skip("fhirclient is not installed: make clients")
    folder = copytree(CLIENTS / "smart-app", tmp_path / "app")
    (folder / "fhir-client.js").write_bytes(LIBRARY.read_bytes())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Served(folder, f"http://127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    thread.join(5)
    server.server_close()


def registered(platform: Platform, origin: str) -> str:
    """Register the app as its developer does, with the administrator's token."""
    database = open_database(platform.data / "ehr.db")
    now = time.time_ns() // 1_000_000
    token = mint_initial_access_token(database, scope=SCOPE, organization=None, now_ms=now)
    database.close()
    answer = httpx.post(
        f"{platform.address}/oauth/register",
        headers={"Authorization": f"Bearer {token}"},
        json={
            "client_name": "Growth chart",
            "redirect_uris": [f"{origin}/app.html"],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "scope": SCOPE,
        },
    )
    assert answer.status_code == 201, answer.text
    return str(answer.json()["client_id"])


def found(page: Page) -> dict[str, Any]:
    """Return what the app read."""
    page.wait_for_function("document.querySelector('#found')?.textContent")
    return dict(json.loads(page.locator("#found").inner_text()))


def test_the_smart_client_stands_alone_and_reads_what_the_patient_allows(
    chromium: Browser, served: Platform, pages: Served, tmp_path: Path
) -> None:
    client = registered(served, pages.origin)
    scope = SCOPE.replace("launch ", "", 1)
    pages.settings(clientId=client, scope=scope, iss=f"{served.address}/fhir")
    patient = Person(chromium, served, size="phone")
    page = patient.page

    page.goto(f"{pages.origin}/launch.html")
    page.locator("#eid").click()
    page.fill("[name=hkid]", served.patient.hkid)
    page.fill("[name=pin]", PIN)
    page.press("[name=pin]", "Enter")
    page.get_by_role("button", name="Allow", exact=True).wait_for()
    for language, question in QUESTIONS.items():
        if language != "English":
            patient.click(page.get_by_role("link", name=language))
        assert patient.heading() == question
        assert (patient.sideways(), barriers(patient)) == (0, [])
    patient.click(page.get_by_role("link", name="English"))
    assert "Read: everything in the record that you may see" in page.locator("main").inner_text()
    patient.picture(tmp_path, "allow")
    page.get_by_role("button", name="Allow", exact=True).click()
    read = found(page)

    identity = served.patient.id
    assert read == {
        "patient": identity,
        "observations": ["Observation"] * 3,
        "subjects": [f"Patient/{identity}"] * 3,
        "user": f"Patient/{identity}",
        "person": identity,
        "scope": scope,
        "banner": None,
        "refreshed": True,
        "again": identity,
    }
    patient.leave()


def test_the_smart_client_is_launched_from_the_record_that_is_open(
    chromium: Browser, served: Platform, pages: Served
) -> None:
    client = registered(served, pages.origin)
    scope = "openid fhirUser launch patient/*.rs"
    pages.settings(clientId=client, scope=scope)
    token = issue_local_token(served.data, user="dr.wong")
    launch = httpx.post(
        f"{served.address}/oauth/launch",
        headers={"Authorization": f"Bearer {token}"},
        json={"patient": served.patient.id, "client_id": client},
    ).json()
    doctor = Person(chromium, served)
    page = doctor.page

    page.goto(f"{pages.origin}/launch.html?iss={launch['iss']}&launch={launch['launch']}")
    page.fill("[name=login]", "dr.wong")
    page.fill("[name=password]", "demo-dr.wong")
    page.press("[name=password]", "Enter")
    page.get_by_role("button", name="Allow", exact=True).click()
    read = found(page)

    assert read["patient"] == served.patient.id
    assert set(read["subjects"]) == {f"Patient/{served.patient.id}"}
    assert (read["scope"], read["banner"]) == (scope, True)
    assert (read["user"], read["person"]) == ("Practitioner/dr-wong", "dr-wong")
    doctor.leave()
