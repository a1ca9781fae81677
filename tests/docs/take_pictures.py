"""Take the pictures of the screens in docs/images/screens: `make pictures` after a change.

Names of screens take these alone: `python -m tests.docs.take_pictures overview`.

The screens are of the sample, in the languages and sizes in which people use them. Pictures have
few colours, so that they stay small in the repository.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from ehr_cli.sample.sample_accounts import PIN
from tests.lib.released_research import make_released_research
from tests.lib.server import Platform, platform

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images" / "screens"
SIZES = {"phone": (390, 844), "desk": (1280, 900)}
# As many as text and a handful of fills need.
COLOURS = 64


@dataclass(frozen=True)
class Screen:
    """One picture: which page, for whom, and how they see it."""

    name: str
    # The log-in name, "patient" for the first of the sample, empty for nobody.
    who: str
    # `{id}` is the patient's, `{waiting}` that of a run whose release waits for its checkers.
    path: str
    size: str
    language: str
    choices: dict[str, str] = field(default_factory=dict)


SCREENS = (
    Screen("front", "", "/", "desk", "en"),
    Screen("log-in", "", "/oauth/account", "phone", "zh-Hant-HK", {"text-size": "large"}),
    Screen("home", "patient", "/home", "phone", "zh-Hant-HK"),
    Screen("record", "patient", "/record", "phone", "zh-Hant-HK"),
    Screen("record-desk", "patient", "/record", "desk", "en"),
    Screen("results", "patient", "/record/results", "phone", "en", {"theme": "dark"}),
    Screen("medicines", "patient", "/record/medicines", "phone", "zh-Hans"),
    Screen("sharing", "patient", "/sharing", "phone", "zh-Hans"),
    Screen("account", "patient", "/oauth/account", "desk", "zh-Hant-HK", {"theme": "contrast"}),
    Screen("chart", "dr.wong", "/patients/{id}", "desk", "en"),
    Screen("chart-results", "dr.wong", "/patients/{id}/results", "desk", "en", {"theme": "dark"}),
    Screen("my-patients", "dr.wong", "/my-patients?list=recent", "desk", "en"),
    # After the doctor, so that somebody looked.
    Screen("who-looked", "patient", "/who-looked", "desk", "zh-Hant-HK"),
    Screen("overview", "steward.ng", "/overview", "desk", "en"),
    Screen("audit-log", "steward.ng", "/audit", "desk", "en"),
    Screen("study-data", "researcher.lau", "/projects/catalogue", "phone", "zh-Hant-HK"),
    Screen("study-project", "researcher.lau", "/projects/stays", "desk", "en"),
    Screen("study-run", "researcher.lau", "/projects/stays/runs/{waiting}", "desk", "en"),
    Screen("study-release", "steward.ng", "/releases/{waiting}", "desk", "en"),
)


def take_pictures(
    browser: Browser, served: Platform, folder: Path, names: Collection[str] = ()
) -> None:
    """Take every picture anew, or those of some names."""
    folder.mkdir(parents=True, exist_ok=True)
    _, waiting = make_released_research(served.data)
    ids = {"id": served.patient.id, "waiting": waiting}
    for screen in SCREENS:
        if names and screen.name not in names:
            continue
        with _logged_in(browser, served, screen) as page:
            page.goto(f"{served.address}{screen.path.format(**ids)}")
            file = folder / f"{screen.name}.png"
            page.screenshot(path=file)
        with Image.open(file) as picture:
            picture.convert("RGB").quantize(COLOURS).save(file, optimize=True)


@contextmanager
def _logged_in(browser: Browser, served: Platform, screen: Screen) -> Iterator[Page]:
    width, height = SIZES[screen.size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, locale=screen.language
    )
    context.add_cookies(
        [
            {"name": name, "value": value, "url": served.address}
            for name, value in {"language": screen.language, **screen.choices}.items()
        ]
    )
    page = context.new_page()
    if screen.who:
        page.goto(f"{served.address}/login")
        if screen.who == "patient":
            page.locator("#eid").click()
            page.fill("[name=hkid]", served.patient.hkid)
            page.fill("[name=pin]", PIN)
            page.press("[name=pin]", "Enter")
        else:
            page.fill("[name=login]", screen.who)
            page.fill("[name=password]", f"demo-{screen.who}")
            page.press("[name=password]", "Enter")
        page.wait_for_url(re.compile(r"/(home|my-patients|patients|overview|people|projects)$"))
    yield page
    context.close()


def main(folder: Path, names: Collection[str]) -> None:
    """Serve the sample and take the pictures."""
    with tempfile.TemporaryDirectory() as data, platform(Path(data), patients=1) as served:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            take_pictures(browser, served, folder, names)
            browser.close()


if __name__ == "__main__":
    main(FOLDER, sys.argv[1:])
