"""Apps as the gateway tells of them: what each asks for, and what was allowed to which."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from ehr_portal.gateway.client import Resource
from ehr_portal.gateway.operations import parse_multi_parts

__all__ = ["App", "ConnectedApp", "parse_apps", "parse_connected_apps"]


@dataclass(frozen=True)
class App:
    """One registered app; who decided is known to a steward alone."""

    client: str
    name: str
    # waiting, approved or refused.
    approval: str
    scope: str
    # Sentences in the reader's language.
    asks: tuple[str, ...]
    roles: tuple[str, ...]
    launch_uri: str = ""
    registered: str = ""
    decided: str = ""
    by: str = ""
    reason: str = ""

    @property
    def origin(self) -> str:
        """Return the origin of its pages, empty without an address."""
        parts = urlsplit(self.launch_uri)
        return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""

    def launch_address(self, issuer: str, launch: str = "") -> str:
        """Return where the app begins, with the launch if there is one (SMART App Launch)."""
        query = {"iss": issuer, **({"launch": launch} if launch else {})}
        sign = "&" if "?" in self.launch_uri else "?"
        return f"{self.launch_uri}{sign}{urlencode(query)}"


@dataclass(frozen=True)
class ConnectedApp:
    """What the reader allowed an app, and until when."""

    id: str
    name: str
    since: str
    until: str
    may: tuple[str, ...]


def parse_apps(answer: Resource) -> list[App]:
    """Parse the response of `$apps`."""
    return [
        App(
            client=app.client,
            name=app.name,
            approval=app.approval,
            scope=app.scope,
            asks=tuple(app.values.get("asks", ())),
            roles=tuple(app.values.get("role", ())),
            launch_uri=app.launch_uri,
            registered=app.registered,
            decided=app.decided,
            by=app.by,
            reason=app.reason,
        )
        for app in parse_multi_parts(answer, "app")
    ]


def parse_connected_apps(answer: Resource) -> list[ConnectedApp]:
    """Parse the response of `$connected-apps`."""
    return [
        ConnectedApp(app.id, app.name, app.since, app.until, tuple(app.values.get("may", ())))
        for app in parse_multi_parts(answer, "app")
    ]
