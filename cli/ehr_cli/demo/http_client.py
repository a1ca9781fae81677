"""How the demo speaks to the platform: as any client does, over HTTP with a token."""

from __future__ import annotations

from typing import Any

import httpx

from ehr_cli.data_folder import gateway_settings
from ehr_cli.settings import Settings
from ehr_fhir.errors import Fault
from ehr_gateway.oauth.offline_tokens import issue_local_token

FHIR = "application/fhir+json"
WRITES = {"Content-Type": FHIR}


class DemoClient:
    """One person or program with a token of its own."""

    def __init__(
        self, settings: Settings, *, user: str | None = None, client: str | None = None
    ) -> None:
        url = gateway_settings(settings).database_url
        self.token = issue_local_token(settings.data, user=user, client=client, database_url=url)
        headers = {"Authorization": f"Bearer {self.token}", "Accept": FHIR}
        self.client = httpx.Client(base_url=settings.base_url, headers=headers, timeout=60)

    def read(self, path: str) -> dict[str, Any]:
        """Return a resource."""
        return self._json(self.client.get(f"/fhir/{path}"))

    def post(self, resource: dict[str, Any]) -> dict[str, Any]:
        """Write a new resource; the server gives it an id."""
        path = f"/fhir/{resource['resourceType']}"
        return self._json(self.client.post(path, json=resource, headers=WRITES))

    def put(self, resource: dict[str, Any]) -> dict[str, Any]:
        """Write a resource under its id."""
        path = f"/fhir/{resource['resourceType']}/{resource['id']}"
        return self._json(self.client.put(path, json=resource, headers=WRITES))

    def call(self, operation: str, **given: str | int) -> dict[str, Any]:
        """Call an operation with its parameters."""
        listed = [
            {"name": name, "valueInteger" if isinstance(value, int) else "valueString": value}
            for name, value in given.items()
        ]
        body = {"resourceType": "Parameters", "parameter": listed}
        return self._json(self.client.post(f"/fhir/{operation}", json=body, headers=WRITES))

    def count(self, kind: str, **parameters: str) -> int:
        """Return how many resources a search finds."""
        query = {**parameters, "_count": "1", "_total": "accurate"}
        answer = self._json(self.client.get(f"/fhir/{kind}", params=query))
        return int(answer["total"])

    def first(self, kind: str, **parameters: str) -> str:
        """Return the id of the first resource a search finds."""
        answer = self._json(self.client.get(f"/fhir/{kind}", params={**parameters, "_count": "1"}))
        return str(answer["entry"][0]["resource"]["id"])

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.status_code >= 400:
            path = answer.request.url.path
            raise Fault(f"{answer.request.method} {path} was answered with {answer.status_code}.")
        found: dict[str, Any] = answer.json()
        return found
