"""`ehr export`: a bulk export of a gateway that serves, into files of newline-delimited JSON.

A client like any other: it asks over HTTP, and gets what its organisation may see.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ehr_fhir.errors import Conflict, Fault, Forbidden, Invalid, NotFound, Unauthorized, Unavailable

__all__ = ["ExportedFiles", "Selection", "export_files", "export_with_progress"]

# A status is asked for again after so many seconds unless the server says another number.
_SECONDS_TO_WAIT = 1.0
# Chosen: a minute without a byte is a server that is gone.
_TIMEOUT_SECONDS = 60.0
_ERRORS = {400: Invalid, 401: Unauthorized, 403: Forbidden, 404: NotFound, 503: Unavailable}
# Makes a token that is good for an hour.
TokenSource = Callable[[], str]
_SECONDS_OF_TOKEN = 600.0


@dataclass(frozen=True)
class Selection:
    """What to export: all, all of patients, or of the members of a Group."""

    patients: bool = False
    group: str | None = None
    types: Sequence[str] = ()
    since: str | None = None

    @property
    def address(self) -> str:
        """Return the address of the kick-off below the base.

        >>> Selection(group="cohort", types=("Condition", "Observation")).address
        'Group/cohort/$export?_type=Condition%2CObservation'
        """
        place = f"Group/{self.group}/" if self.group else "Patient/" if self.patients else ""
        asked = {"_type": ",".join(self.types), "_since": self.since}
        query = urlencode({name: value for name, value in asked.items() if value})
        return f"{place}$export?{query}" if query else f"{place}$export"


@dataclass(frozen=True)
class ExportedFiles:
    """What an export wrote."""

    files: int
    resources: int
    # What the next export takes as `--since`.
    transaction_time: str


class _KeptToken:
    """A token that is made anew long before it expires."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._token = ""
        self._until = 0.0

    def __call__(self) -> str:
        if time.monotonic() >= self._until:
            self._token, self._until = self._source(), time.monotonic() + _SECONDS_OF_TOKEN
        return self._token


def export_with_progress(
    base: str, token: TokenSource, folder: Path, selection: Selection
) -> ExportedFiles:
    """Export and show how far it is."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with (
        httpx.Client(timeout=_TIMEOUT_SECONDS) as client,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        task = progress.add_task("asking", total=None)

        def show(done: int, files: int, resources: int) -> None:
            text = f"{resources:,} resources in {done} of {files} files"
            progress.update(task, description=text, completed=done, total=files)

        return export_files(client, base, token, folder, selection, show)


def export_files(
    client: httpx.Client,
    base: str,
    token: TokenSource,
    folder: Path,
    selection: Selection,
    on_progress: Callable[[int, int, int], None] = lambda done, files, resources: None,
) -> ExportedFiles:
    """Export into a folder that is empty or not there; a file has its name once it is whole."""
    if folder.exists() and any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty: choose another folder.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    headers = {"Prefer": "respond-async", "Accept": "application/fhir+json"}
    token = _KeptToken(token)
    try:
        begun = _ask(client, "GET", f"{base}/{selection.address}", token, headers)
        status = begun.headers["content-location"]
        manifest = _wait(client, status, token)
        found = [
            (section, file["url"])
            for section in ("output", "deleted", "error")
            for file in manifest[section]
        ]
        resources = 0
        for done, (section, url) in enumerate(found):
            on_progress(done, len(found), resources)
            name = url.rpartition("/")[2]
            target = folder / (name if section == "output" else f"{section}.{name}")
            lines = _fetch(client, url, token, target)
            resources += lines if section == "output" else 0
        on_progress(len(found), len(found), resources)
        _ask(client, "DELETE", status, token, {})
    except httpx.HTTPError:
        raise Unavailable(f"The gateway at {base} does not answer: is `ehr up` running?") from None
    return ExportedFiles(len(found), resources, str(manifest["transactionTime"]))


def _ask(
    client: httpx.Client, method: str, url: str, token: TokenSource, headers: dict[str, str]
) -> httpx.Response:
    headers = {**headers, "Authorization": f"Bearer {token()}"}
    answer = client.request(method, url, headers=headers)
    _check(answer)
    return answer


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    try:
        text = str(answer.json()["issue"][0]["diagnostics"])
    except (ValueError, LookupError, TypeError):
        text = f"The gateway answered {answer.status_code}."
    raise _ERRORS.get(answer.status_code, Fault)(text)


def _wait(client: httpx.Client, status: str, token: TokenSource) -> dict[str, list[dict[str, str]]]:
    while (answer := _ask(client, "GET", status, token, {})).status_code == 202:
        time.sleep(float(answer.headers.get("retry-after", _SECONDS_TO_WAIT)))
    manifest: dict[str, list[dict[str, str]]] = answer.json()
    return manifest


def _fetch(client: httpx.Client, url: str, token: TokenSource, target: Path) -> int:
    """Write a file's lines; return their number."""
    headers = {"Authorization": f"Bearer {token()}", "Accept-Encoding": "gzip"}
    part, lines = target.with_name(f"{target.name}.part"), 0
    with client.stream("GET", url, headers=headers) as answer:
        if not answer.is_success:
            answer.read()
            _check(answer)
        with part.open("wb") as file:
            part.chmod(0o600)
            for content in answer.iter_bytes():
                lines += content.count(b"\n")
                file.write(content)
    part.rename(target)
    return lines
