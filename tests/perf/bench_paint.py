"""What a first visit costs a phone: `make bench-paint`.

Serves the sample, opens each page in a Chromium whose processor is slowed down four times and whose
cache is empty, and prints the kilobytes on the wire (compressed, with headers) and the largest
contentful paint (W3C Largest Contentful Paint) in milliseconds: median and longest of the rounds.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from ehr_cli.sample import sample_accounts
from ehr_cli.sample.overlay import sample_resources
from tests.lib.people import Person
from tests.lib.server import Platform
from tests.perf.bench_people import CLINICIANS, PATIENT_PAGES
from tests.perf.gateway.pages import publish
from tests.perf.gateway.servers import demonstration

ROUNDS = 5
SLOWDOWN = 4
_PAINT = """() => new Promise(resolve => {
  new PerformanceObserver(list => resolve(list.getEntries().at(-1).startTime))
    .observe({type: 'largest-contentful-paint', buffered: true})
})"""


def main() -> None:
    """Print a row for each page."""
    patient = sample_accounts.featured_patients()[0]
    rows = [f"{'page':24}{'kB on the wire':>16}{'paint':>10}{'longest':>10}  ms"]
    with (
        tempfile.TemporaryDirectory() as folder,
        demonstration(Path(folder), sample_resources(), workers=2) as server,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        platform = Platform(server.base, Path(folder), patient)
        person = Person(chromium, platform, size="phone", language="zh-HK")
        person.log_in_by_eid(patient.hkid)
        doctor = Person(chromium, platform)
        doctor.log_in_by_password(CLINICIANS[0])
        visits = [(person, name, path) for name, path in PATIENT_PAGES.items()]
        visits.append((doctor, "clinician's screen", f"/patients/{patient.id}"))
        for visitor, name, path in visits:
            measured = [_open(chromium, visitor, path) for _ in range(ROUNDS)]
            paints = [paint for _, paint in measured]
            rows.append(
                f"{name:24}{max(size for size, _ in measured) / 1000:16.1f}"
                f"{statistics.median(paints):10.0f}{max(paints):10.0f}"
            )
        chromium.close()
    sys.stdout.write("\n".join(rows) + "\n")
    publish("bench-paint", "\n".join(rows))


def _open(chromium: Browser, visitor: Person, path: str) -> tuple[float, float]:
    """Open a page with an empty cache; return bytes on the wire and milliseconds to the paint."""
    context = chromium.new_context(
        viewport=visitor.page.viewport_size, storage_state=visitor.context.storage_state()
    )
    page = context.new_page()
    tools = context.new_cdp_session(page)
    tools.send("Network.enable")
    tools.send("Emulation.setCPUThrottlingRate", {"rate": SLOWDOWN})
    sizes: list[float] = []
    tools.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(f"{visitor.platform.address}{path}", wait_until="load")
    paint = float(page.evaluate(_PAINT))
    context.close()
    return sum(sizes), paint


if __name__ == "__main__":
    main()
