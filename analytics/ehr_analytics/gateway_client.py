"""The gateway's operations on research, for commands: over HTTP with the token of a person."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import httpx
import typer

from ehr_fhir.errors import (
    Conflict,
    EhrError,
    Fault,
    Forbidden,
    Invalid,
    NotFound,
    TooMany,
    Unauthorized,
    Unavailable,
    Unprocessable,
)

__all__ = [
    "GatewayAddress",
    "Parts",
    "ResearchGateway",
    "TokenFile",
    "find_gateway",
    "open_gateway",
]

GatewayAddress = Annotated[
    str,
    typer.Option(
        "--gateway", envvar="EHR_GATEWAY", help="Address of the platform: steps go through it."
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(envvar="EHR_TOKEN_FILE", help="File of your access token for the gateway."),
]

# The values of each part of a parameter, by name; a part that has parts is such a mapping itself.
Parts: TypeAlias = dict[str, list[Any]]

_ERRORS: dict[int, type[EhrError]] = {
    error.status: error
    for error in (
        Invalid, Unauthorized, Forbidden, NotFound, Conflict, Unprocessable, TooMany, Unavailable,
    )
}  # fmt: skip
_SECONDS = 60
_VALUES = {bool: "valueBoolean", int: "valueInteger", float: "valueDecimal"}


@dataclass(frozen=True)
class ResearchGateway:
    """A gateway, asked as the person of a token: who that is, the gateway decides."""

    client: httpx.Client

    def ask(self, operation: str, **query: str) -> list[Parts]:
        """Return the parameters that an operation answers which changes nothing."""
        return _parse(self._request("GET", operation, params=query))

    def invoke(self, operation: str, **values: Any) -> list[Parts]:
        """Invoke an operation; of a list each value is a parameter. Return what it answers."""
        parameters = [
            {"name": name, _VALUES.get(type(one), "valueString"): one}
            for name, value in values.items()
            for one in (value if isinstance(value, list | tuple) else [value])
            if one not in ("", None)
        ]
        body = {"resourceType": "Parameters", "parameter": parameters}
        return _parse(self._request("POST", operation, json=body))

    def fetch(self, operation: str, **query: str) -> bytes:
        """Return the file that an operation answers, byte for byte."""
        return self._request("GET", operation, params=query).content

    def _request(self, method: str, operation: str, **sent: Any) -> httpx.Response:
        try:
            response = self.client.request(method, f"fhir/{operation}", **sent)
        except httpx.TransportError as error:
            raise Unavailable(f"The gateway {self.client.base_url} does not answer.") from error
        if response.status_code < 400:
            return response
        try:
            text = str(response.json()["issue"][0]["diagnostics"])
        except (ValueError, LookupError):
            text = f"The gateway answered with status {response.status_code}."
        raise _ERRORS.get(response.status_code, Fault)(text)


def open_gateway(address: str, token_file: Path | None) -> ResearchGateway:
    """Return the gateway at an address; the token is read from a file, never from a command."""
    url = httpx.URL(address)
    if url.scheme != "https" and url.host not in ("127.0.0.1", "::1", "localhost"):
        raise Unprocessable("A token goes to another machine by https alone.")
    if token_file is None:
        raise Unprocessable("The gateway needs your access token: --token-file FILE.")
    try:
        token = token_file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"The token file {token_file} cannot be read.") from error
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/fhir+json",
        "Content-Type": "application/fhir+json",
    }
    return ResearchGateway(httpx.Client(base_url=address, headers=headers, timeout=_SECONDS))


def find_gateway(context: typer.Context, login: str = "") -> ResearchGateway | None:
    """Return the gateway that the command was given, if any: its token says who takes a step."""
    if not isinstance(context.obj, ResearchGateway):
        return None
    if login:
        raise Unprocessable("The token says who takes the step: leave out --as.")
    return context.obj


def _parse(response: httpx.Response) -> list[Parts]:
    listed = response.json().get("parameter", [])
    return [_parse_parts(parameter.get("part", [parameter])) for parameter in listed]


def _parse_parts(parts: list[dict[str, Any]]) -> Parts:
    parsed: Parts = {}
    for part in parts:
        value = next((part[key] for key in part if key.startswith("value")), None)
        parsed.setdefault(part["name"], []).append(
            _parse_parts(part["part"]) if "part" in part else value
        )
    return parsed
