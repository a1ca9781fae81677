"""How fast the portal's pages are for a patient with thousands of records: `make bench-portal`.

The portal, its gateway and the browser's side run in one process, as in `ehr up` with one worker;
the records are those of the sample's first patient over and over, year by year further back. Told
are the median and the 95th percentile of whole answers, after some that warm up, and the time of
the processor for one: on a machine with other work that is the steadier figure.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson

from ehr_cli.data_folder import gateway_settings
from ehr_cli.sample import sample_accounts, synthea_source
from ehr_cli.sample.overlay import sample_resources
from ehr_cli.settings import Settings
from ehr_gateway.tokens.access_tokens import Subject, issue_access_token
from ehr_gateway.tokens.keys import open_signing_keys
from ehr_portal.settings import PortalSettings
from ehr_portal.web.oauth_login import SCOPE
from ehr_portal.web.sessions import SessionStore, User
from tests.lib.server import LEFT_OUT, Platform, platform

# What the documentation promises, in milliseconds at the 95th percentile.
TARGETS = {"/home": 100, "/patients/{id}": 200}
_WARM_UP = 5
_YEAR = re.compile(rb'(?<=")(19|20)(\d\d)(?=-\d\d)')
_DOCTOR = "dr.wong"


def main() -> None:
    """Fill a platform, ask for each page, print the table."""
    wanted = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        more = list(repeated_records(wanted.resources))
        with platform(Path(folder), patients=1, more=more) as served:
            for who, paths in (("patient", wanted.patient), ("doctor", wanted.clinician)):
                with _browser(served, who) as browser:
                    for path in paths.split(","):
                        _measure(browser, path, served.patient.id, wanted.rounds)


def repeated_records(number: int) -> Iterator[dict[str, Any]]:
    """Yield records of the sample's first patient, each time with other ids and a year earlier."""
    patient = sample_accounts.featured_patients()[0].id
    own = [
        orjson.dumps(resource)
        for resource in sample_resources()
        if resource["resourceType"] not in LEFT_OUT | {"Patient", "Consent"}
        and synthea_source.patient_of(resource) == patient
    ]
    made, years = len(own), 0
    while made < number:
        years += 1
        for body in own[: number - made]:
            yield _moved_back(body, years)
            made += 1


def _moved_back(body: bytes, years: int) -> dict[str, Any]:
    def earlier(found: re.Match[bytes]) -> bytes:
        return str(max(1950, int(found[0]) - years)).encode()

    resource: dict[str, Any] = orjson.loads(_YEAR.sub(earlier, body))
    return {**resource, "id": f"{resource['id'][:50]}-{years}"}


def _browser(served: Platform, who: str) -> httpx.Client:
    """Return a client that is logged in, by a session made where the portal keeps them."""
    settings = Settings(data=served.data)
    gateway = gateway_settings(settings)
    subject = _subject(served, who)
    keys = open_signing_keys(gateway.keys)
    scope = SCOPE
    now = int(time.time() * 1000)
    issuer = gateway_settings(Settings(data=served.data, port=int(served.address[-5:])))
    token, claims = issue_access_token(keys, issuer, subject, scope, now)
    user = User(
        latin=subject.display, han="", role=subject.role, organization=subject.organization,
        patient=subject.patient, token=token, login=claims["sub"],
    )  # fmt: skip
    defaults = PortalSettings(served.address)
    sessions = SessionStore(
        served.data / "portal-sessions.db", defaults.idle, defaults.absolute, time.time
    )
    session = sessions.start(user)
    return httpx.Client(
        base_url=served.address,
        cookies={"session": session.id},
        timeout=timedelta(minutes=1).seconds,
    )


def _subject(served: Platform, who: str) -> Subject:
    if who == "patient":
        patient = served.patient.id
        return Subject(f"p.{patient}", "Patient", "patient", "portal", patient=patient)
    return doctor_of_sample()


def doctor_of_sample() -> Subject:
    """Return a doctor who may read the sample's first patient."""
    doctor = next(m for m in sample_accounts.sample_staff() if m.login == _DOCTOR)
    return Subject(
        doctor.login, "Doctor", doctor.role, "portal", doctor.organization, doctor.profession,
        person=doctor.person,
    )  # fmt: skip


def _measure(browser: httpx.Client, path: str, patient: str, rounds: int) -> None:
    address = path.replace("{id}", patient)
    times = []
    processor = time.process_time()
    for number in range(rounds + _WARM_UP + 1):
        began = time.perf_counter()
        answer = browser.get(address)
        if number == _WARM_UP:
            processor = time.process_time()
        if number > _WARM_UP:
            times.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise SystemExit(f"{path} answered {answer.status_code}.")
    processor = (time.process_time() - processor) * 1000 / rounds
    cuts = statistics.quantiles(times, n=20)
    size = len(answer.content) / 1000
    target = f", promised {TARGETS[path]}" if path in TARGETS else ""
    sys.stdout.write(
        f"{path:24} p50 {statistics.median(times):6.0f} ms  p95 {cuts[-1]:6.0f} ms{target}"
        f"  processor {processor:.0f} ms"
        f"  {size:.0f} kB\n"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--patient", default="/home,/timeline,/record/results")
    parser.add_argument("--clinician", default="/patients/{id}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
