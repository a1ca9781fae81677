"""People at their browsers: what a story does, in the words of the story."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Locator, Page
from playwright.sync_api import Error as PlaywrightError

from ehr_cli.sample.sample_accounts import PIN
from tests.lib.server import Platform

# A desk of 1280 by 900 at 400 % has the last one.
SIZES = {"desktop": (1280, 900), "phone": (360, 740), "zoomed": (320, 225)}
Size = Literal["desktop", "phone", "zoomed"]


class Person:
    """One person's browser: its own cookies, its size, its language, and every request it made."""

    def __init__(
        self,
        browser: Browser,
        platform: Platform,
        *,
        size: Size = "desktop",
        language: str = "en",
        scripts: bool = True,
        keeps_policy: bool = False,
    ) -> None:
        width, height = SIZES[size]
        self.platform = platform
        self.context = browser.new_context(
            viewport={"width": width, "height": height},
            locale=language,
            java_script_enabled=scripts,
            # For axe, which has to run inside the page. A test of our own script keeps the policy.
            bypass_csp=scripts and not keeps_policy,
        )
        self.context.set_default_timeout(90_000)
        self.asked: list[str] = []
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.page: Page = self.context.new_page()

    def go(self, path: str) -> None:
        """Open a page by its address."""
        self.page.goto(f"{self.platform.address}{path}")

    def click(self, target: str | Locator) -> None:
        """Click what leads to a page, also to the same one anew, and wait until it has loaded.

        Playwright's own `click` does not wait: on a slow machine what is read next is of the page
        before, and a form whose answer is under way is lost with the next `go`.
        """
        with self.page.expect_navigation():
            (self.page.locator(target) if isinstance(target, str) else target).click()

    def press(self, *keys: str) -> None:
        """Press a key that leads to a page, or several in turn, and wait until it has loaded."""
        if len(keys) > 1:
            # On a slow machine the second key would come too late for the page.
            self.page.clock.set_fixed_time(datetime.now())
        with self.page.expect_navigation():
            for key in keys:
                self.page.keyboard.press(key)

    def choose(self, **choices: str) -> None:
        """Have chosen how pages look, by the names of the cookies."""
        self.context.add_cookies(
            [{"name": name, "value": value, "url": self.platform.address}
             for name, value in choices.items()]
        )  # fmt: skip

    def log_in_by_eid(self, hkid: str, first_page: str = "home") -> None:
        """Log in with the simulated electronic identity; a patient's first page is their home."""
        self.go("/")
        self.page.locator("a[href='/login']").click()
        self.page.locator("#eid").click()
        self.page.fill("[name=hkid]", hkid)
        self.page.fill("[name=pin]", PIN)
        self.page.press("[name=pin]", "Enter")
        self.page.wait_for_url(f"**/{first_page}")

    def log_in_by_password(self, login: str) -> None:
        """Log in as a member of staff."""
        self.go("/login")
        self.page.fill("[name=login]", login)
        self.page.fill("[name=password]", f"demo-{login}")
        self.page.press("[name=password]", "Enter")
        self.page.wait_for_url(re.compile(r"^[^?]*/(?!login|oauth)[a-z-]*$"))

    def find(self, hkid: str) -> None:
        """Search for a patient by identity card number."""
        self.go("/patients")
        self.page.fill("#who", hkid)
        self.click("form[role=search] button")

    def switch(self, organization: str) -> Locator:
        """Return the switch of an organisation on the sharing page."""
        form = self.page.locator(f"form[action='/sharing/organization/{organization}']")
        return form.get_by_role("switch")

    def heading(self) -> str:
        """Return the page's heading."""
        return self.page.locator("h1").inner_text()

    def picture(self, folder: Path, name: str) -> Path:
        """Save the whole page as a picture."""
        file = folder / f"{name}.png"
        try:
            self.page.screenshot(path=file, full_page=True)
        except PlaywrightError:
            # On a loaded machine Chromium may miss the frame; the next one is there.
            self.page.screenshot(path=file, full_page=True)
        return file

    def sideways(self) -> int:
        """Return by how many pixels the page is wider than the screen."""
        wide: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return wide

    def outside(self) -> list[str]:
        """Return every request that left the platform's origin."""
        return [url for url in self.asked if not url.startswith(f"{self.platform.address}/")]

    def leave(self) -> None:
        """Close the browser window."""
        self.context.close()
