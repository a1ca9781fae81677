"""Many people at the portal at once: `make bench-people PEOPLE=200`.

Serves the sample with `ehr up` on two workers (or WORKERS), logs people in as a browser does (every
fourth a clinician with an account of their own, the others the sample's patients in turn) and lets
k6 open their pages, each after one to three seconds of reading. Prints for each page the median and
the 95th percentile of the time to its last byte, in milliseconds, and how often each answered
something else, by status.
"""

from __future__ import annotations

import html
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx

from ehr_cli.sample import sample_accounts
from ehr_cli.sample.overlay import sample_patients, sample_resources
from ehr_gateway.accounts.accounts import Account
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
PASSWORD = "correct horse battery"


def main() -> None:
    """Print a row for each page."""
    people, seconds, *more = sys.argv[1:]
    number_of_people, workers = int(people), int(more[0]) if more else 2
    clinicians = [_clinician(number) for number in range(0, number_of_people, 4)]
    with (
        tempfile.TemporaryDirectory() as folder,
        demonstration(
            Path(folder), sample_resources(), workers, accounts=clinicians, password=PASSWORD
        ) as server,
    ):
        began = time.monotonic()
        visits = [_visit(server, number, clinicians) for number in range(number_of_people)]
        logging_in = time.monotonic() - began
        figures = k6.play(server, "people", visits, float(seconds), number_of_people)
        memory = server.memory()
    rows = [
        f"{people} people for {seconds} s on {workers} workers, load average"
        f" {os.getloadavg()[0]:.0f}, logged in one after the other in {logging_in:.0f} s",
        f"{figures['requests']} pages, {figures['errors']} errors,"
        f" largest process {memory[0]:.0f} MiB",
        f"{'page':24}{'median':>10}{'p95':>10}{'most':>10}  ms",
        *(
            f"{name:24}{took['median']:10.0f}{took['p95']:10.0f}{took['max']:10.0f}"
            for name, took in figures["pages"].items()
        ),
        *(
            f"{place} answered {status} {number} times"
            for failure, number in figures["failures"].items()
            for place, _, status in [failure.rpartition(" ")]
        ),
    ]
    sys.stdout.write("\n".join(rows) + "\n")
    publish("bench-people", "\n".join(rows))
    if figures["errors"]:
        raise SystemExit(1)


def _clinician(number: int) -> Account:
    """Return an account of a doctor of one of two hospitals, which see the featured patients."""
    members = {member.login: member for member in sample_accounts.sample_staff()}
    like = members[CLINICIANS[number // 4 % len(CLINICIANS)]]
    return Account(
        f"bench.{number}", like.role, f"Dr {number}", like.organization, like.profession,
        exempt=True,
    )  # fmt: skip


def _visit(server: Server, number: int, clinicians: Sequence[Account]) -> dict[str, Any]:
    """Log one person in; return the cookie of their browser and the pages they open."""
    patients = sample_patients()
    patient = patients[number % len(patients)]
    with httpx.Client(base_url=server.base, follow_redirects=True, timeout=60) as browser:
        page = browser.get("/login")
        if number % 4:
            page = browser.get(_attribute(page, r'id="eid" href="([^"]+)"'))
            _submit(browser, page, hkid=patient.hkid, pin=sample_accounts.PIN)
            pages = PATIENT_PAGES
        else:
            featured = sample_accounts.featured_patients()
            login = clinicians[number // 4].login
            _submit(browser, page, login=login, password=PASSWORD)
            # Not each of them shares with each of the hospitals.
            patient = next(p for p in featured if browser.get(f"/patients/{p.id}").is_success)
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
