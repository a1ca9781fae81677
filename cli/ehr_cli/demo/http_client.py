"""The demo's FHIR client: over HTTP with a token, as any other client."""

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
        gateway = gateway_settings(settings)
        self.token = issue_local_token(
            settings.data,
            user=user,
            client=client,
            database_url=gateway.database_url,
            base_url=gateway.base_url,
        )
        headers = {"Authorization": f"Bearer {self.token}", "Accept": FHIR}
        self.http = httpx.Client(base_url=settings.base_url, headers=headers, timeout=60)

    def read(self, path: str) -> dict[str, Any]:
        """Return a resource."""
        return self._json(self.http.get(f"/fhir/{path}"))

    def post(self, resource: dict[str, Any]) -> dict[str, Any]:
        """Write a new resource; the server gives it an id."""
        path = f"/fhir/{resource['resourceType']}"
        return self._json(self.http.post(path, json=resource, headers=WRITES))

    def put(self, resource: dict[str, Any]) -> dict[str, Any]:
        """Write a resource under its id."""
        path = f"/fhir/{resource['resourceType']}/{resource['id']}"
        return self._json(self.http.put(path, json=resource, headers=WRITES))

    def invoke(self, operation: str, **values: str | int) -> dict[str, Any]:
        """Invoke an operation by POST; return its Parameters."""
        parameters = [
            {"name": name, "valueInteger" if isinstance(value, int) else "valueString": value}
            for name, value in values.items()
        ]
        body = {"resourceType": "Parameters", "parameter": parameters}
        return self._json(self.http.post(f"/fhir/{operation}", json=body, headers=WRITES))

    def count(self, resource_type: str, **params: str) -> int:
        """Return how many resources a search finds."""
        query = {**params, "_count": "1", "_total": "accurate"}
        bundle = self._json(self.http.get(f"/fhir/{resource_type}", params=query))
        return int(bundle["total"])

    def first_id(self, resource_type: str, **params: str) -> str:
        """Return the id of the first resource a search finds."""
        bundle = self._json(
            self.http.get(f"/fhir/{resource_type}", params={**params, "_count": "1"})
        )
        return str(bundle["entry"][0]["resource"]["id"])

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        if response.status_code >= 400:
            path = response.request.url.path
            status = response.status_code
            raise Fault(f"{response.request.method} {path} was answered with {status}.")
        resource: dict[str, Any] = response.json()
        return resource
