"""Many people at the portal at once: `make bench-people PEOPLE=200`.

Serves the sample with `ehr up` on two workers, logs people in as a browser does (every fourth a
clinician, the others patients) and lets k6 open their pages, each after one to three seconds of
reading. Prints for each page the median and the 95th percentile of the time to its last byte, in
milliseconds, and every answer that was not the page.
"""

from __future__ import annotations

import html
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx

from ehr_cli.sample import sample_accounts
from ehr_cli.sample.overlay import SamplePatient, sample_resources
from tests.perf.gateway import k6
from tests.perf.gateway.pages import publish
from tests.perf.gateway.servers import Server, demonstration

PATIENT_PAGES = {
    "home": "/home",
    "record": "/record",
    "timeline": "/timeline",
    "results": "/record/results",
    "sharing": "/sharing",
    "who looked": "/who-looked",
}
CLINICIANS = ("dr.chan", "dr.wong")


def main() -> None:
    """Print a row for each page."""
    people, seconds = int(sys.argv[1]), float(sys.argv[2])
    patients = sample_accounts.featured_patients()
    with (
        tempfile.TemporaryDirectory() as folder,
        demonstration(Path(folder), sample_resources(), workers=2) as server,
    ):
        began = time.monotonic()
        visits = [_visit(server, number, patients) for number in range(people)]
        logging_in = time.monotonic() - began
        figures = k6.play(server, "people", visits, seconds, people)
        memory = server.memory()
    rows = [
        f"{people} people for {seconds:.0f} s, logged in one after the other in {logging_in:.0f} s",
        f"{figures['requests']} pages, {figures['errors']} errors,"
        f" largest process {memory[0]:.0f} MiB",
        f"{'page':24}{'median':>10}{'p95':>10}{'most':>10}  ms",
        *(
            f"{name:24}{took['median']:10.0f}{took['p95']:10.0f}{took['max']:10.0f}"
            for name, took in figures["pages"].items()
        ),
    ]
    sys.stdout.write("\n".join(rows) + "\n")
    publish("bench-people", "\n".join(rows))
    if figures["errors"]:
        raise SystemExit(1)


def _visit(server: Server, number: int, patients: tuple[SamplePatient, ...]) -> dict[str, Any]:
    """Log one person in; return the cookie of their browser and the pages they open."""
    patient = patients[number % len(patients)]
    with httpx.Client(base_url=server.base, follow_redirects=True, timeout=60) as browser:
        page = browser.get("/login")
        if number % 4:
            page = browser.get(_attribute(page, r'id="eid" href="([^"]+)"'))
            _submit(browser, page, hkid=patient.hkid, pin=sample_accounts.PIN)
            pages = PATIENT_PAGES
        else:
            login = CLINICIANS[number // 4 % len(CLINICIANS)]
            _submit(browser, page, login=login, password=f"demo-{login}")
            pages = {"clinician's screen": f"/patients/{patient.id}", "find": "/patients"}
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return {
        "cookie": cookie,
        "pages": [{"name": name, "path": path} for name, path in pages.items()],
    }


def _submit(browser: httpx.Client, page: httpx.Response, **fields: str) -> None:
    # The form that has the first of the fields.
    name = next(iter(fields))
    form = re.search(
        rf'<form method="post" action="([^"]+)"(?:(?!</form>).)*?name="{name}"', page.text, re.S
    )
    sealed = _attribute(page, r'name="request" value="([^"]+)"')
    if form is None:
        raise SystemExit(f"{page.url.path} has no form with {name}.")
    action = urljoin(str(page.url), html.unescape(form[1]))
    browser.post(action, data={"request": sealed, **fields}).raise_for_status()


def _attribute(page: httpx.Response, pattern: str) -> str:
    found = re.search(pattern, page.text)
    if found is None:
        raise SystemExit(f"{page.url.path} is not the page of the log-in.")
    return html.unescape(found[1])


if __name__ == "__main__":
    main()
