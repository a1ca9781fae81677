"""The portal over the real gateway of a house, both in this process, and who is logged in to it."""

from __future__ import annotations

import re

import anyio
import httpx
from fastapi.testclient import TestClient

from ehr_portal import PortalSettings, create_portal
from ehr_portal.web.sessions import User
from tests.lib.gateway import BASE, House
from tests.lib.portal_routes import Values

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
        # What the gateway answered, in order.
        self.answers: list[bytes] = []

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
        self.answers.append(answer.content)
        headers = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() not in ("content-encoding", "content-length")
        }
        return httpx.Response(answer.status_code, headers=headers, content=answer.content)


class Reader:
    """Somebody logged in to the portal of a house."""

    def __init__(self, house: House, login: str) -> None:
        self.transport = GatewayTransport(house)
        gateway = httpx.AsyncClient(transport=self.transport, base_url=BASE)
        settings = PortalSettings(base_url=BASE, clock=lambda: house.clock() / 1000)
        self.app = create_portal(gateway, settings)
        user = READERS[login]
        known = {**vars(user), "token": house.token(login), "login": login}
        self._sessions = self.app.state.portal.sessions
        self.session = self._sessions.start(User(**known))
        self._browser = TestClient(self.app, base_url=BASE, follow_redirects=False)
        self._browser.cookies.set("session", self.session.id)

    def open(self, method: str, path: str, *, language: str = "en") -> httpx.Response:
        """Return the answer of a route, to a form that was sent from a page of it."""
        self._browser.cookies.set("language", language)
        data = {"csrf": self.session.csrf_token(path)} if method == "POST" else None
        answer: httpx.Response = self._browser.request(method, path, data=data)
        return answer

    def call(self, method: str, path: str, ids: dict[str, str]) -> tuple[int, str]:
        """Return status and text of a route with ids, without the ids and marks of forms."""
        address = path.format_map(Values(ids))
        data = {"csrf": self.session.csrf_token(address), "reason": "A reason that says enough"}
        answer = self._browser.request(method, address, data=data if method == "POST" else None)
        text = answer.text + answer.headers.get("location", "")
        for identity in ids.values():
            text = text.replace(identity, "ID")
        return answer.status_code, re.sub(r'value="\w{40,}"', "", text)
