"""Every route of the portal with ids of another person's record, over a real gateway.

Whoever may see nothing of a patient gets the answer of ids that nobody has, on every page and from
every form, and nothing is written.
"""

from __future__ import annotations

import re
from typing import Any

import anyio
import httpx
import pytest
from fastapi.testclient import TestClient

from ehr_portal import PortalSettings, create_portal
from ehr_portal.web.sessions import User
from tests.lib.gateway import BASE, House
from tests.unit.portal.test_odd_addresses import Values, routes

_WITH_IDS = [(method, path) for method, path in routes() if "{" in path and "{tag}" not in path]
SECRETS = ("Ka Ming", "asthma", "13.5", "ZA123456", "Feb 1980")
REAL = {
    "patient": "pat-1", "resource_type": "Observation", "resource_id": "lab-1",
    "observation_id": "lab-1", "organization": "hospital-a",
}  # fmt: skip
ABSENT = {
    "patient": "pat-0", "resource_type": "Observation", "resource_id": "lab-0",
    "observation_id": "lab-0", "organization": "hospital-a",
}  # fmt: skip
READERS = {
    "p.pat-1": User("Patient One", "", "patient", None, "pat-1", ""),
    "p.pat-2": User("Patient Two", "", "patient", None, "pat-2", ""),
    "doctor.b": User("Dr B", "", "clinician", "hospital-b", None, ""),
    "steward": User("St", "", "steward", "ehr-commons", None, ""),
    "auditor": User("Au", "", "auditor", "ehr-commons", None, ""),
    "admin": User("Ad", "", "administrator", "ehr-commons", None, ""),
}


class GatewayTransport(httpx.AsyncBaseTransport):
    """Asks the gateway of a house, in a thread of its own."""

    def __init__(self, house: House) -> None:
        self._client = house.client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of the portal."""
        content = await request.aread()

        def ask() -> httpx.Response:
            answer: httpx.Response = self._client.request(
                request.method,
                request.url.raw_path.decode(),
                headers=dict(request.headers),
                content=content,
            )
            return answer

        answer = await anyio.to_thread.run_sync(ask)
        headers = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() not in ("content-encoding", "content-length")
        }
        return httpx.Response(answer.status_code, headers=headers, content=answer.content)


class Reader:
    """Somebody logged in to the portal of a house."""

    def __init__(self, house: House, login: str) -> None:
        gateway = httpx.AsyncClient(transport=GatewayTransport(house), base_url=BASE)
        settings = PortalSettings(base_url=BASE, clock=lambda: house.clock() / 1000)
        self.app = create_portal(gateway, settings)
        user = READERS[login]
        known = {**vars(user), "token": house.token(login), "login": login}
        self._sessions = self.app.state.portal.sessions
        self.session = self._sessions.start(User(**known))
        self._browser = TestClient(self.app, base_url=BASE, follow_redirects=False)
        self._browser.cookies.set("session", self.session.id)

    def call(self, method: str, path: str, ids: dict[str, str]) -> tuple[int, str]:
        """Return status and text of a route with ids, without the ids and marks of forms."""
        address = path.format_map(Values(ids))
        data = {"csrf": self.session.csrf_token(address), "reason": "A reason that says enough"}
        answer = self._browser.request(method, address, data=data if method == "POST" else None)
        text = answer.text + answer.headers.get("location", "")
        for identity in ids.values():
            text = text.replace(identity, "ID")
        return answer.status_code, re.sub(r'value="\w{40,}"', "", text)


def versions(house: House) -> list[Any]:
    """Return how many versions there are of each resource of the first patient."""
    with house.gateway.store.read_transaction() as connection:
        rows = connection.execute(
            "SELECT r.type, r.id, count(*) FROM resource r JOIN record_patient p ON p.pk = r.pk"
            " WHERE p.patient = 'pat-1' GROUP BY r.type, r.id"
        )
        return sorted(tuple(row) for row in rows)


def test_the_owner_sees_by_the_same_call_what_the_others_must_not(furnished: House) -> None:
    shown = Reader(furnished, "p.pat-1").call(
        "GET", "/record/item/{resource_type}/{resource_id}", REAL
    )

    assert shown[0] == 200
    assert "13.5" in shown[1]


@pytest.mark.parametrize("login", sorted(set(READERS) - {"p.pat-1"}))
def test_ids_of_a_record_one_may_not_see_answer_as_ids_that_nobody_has(
    furnished: House, login: str
) -> None:
    reader = Reader(furnished, login)
    before = versions(furnished)
    for method, path in _WITH_IDS:
        if "emergency" in path or "events" in path or (method == "POST" and "/ask" in path):
            # An emergency is declared for whoever it is, and a request asked of a known patient
            # says so: both are steps of access with tests of their own.
            continue
        real = reader.call(method, path, REAL)
        absent = reader.call(method, path, ABSENT)
        assert real == absent, (method, path)
        assert not any(secret in real[1] for secret in SECRETS), (method, path)
    assert versions(furnished) == before
