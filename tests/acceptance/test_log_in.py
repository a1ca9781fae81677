"""The log-in in a real browser: passkeys, every page in three languages, keyboard, no scripts."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import uvicorn

# The package ships no types.
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from ehr_gateway.accounts import accounts, totp
from ehr_gateway.accounts.accounts import Account
from tests.lib.gateway import HKID, PASSWORD, PIN, House
from tests.lib.people import Person
from tests.lib.ports import free_port
from tests.lib.server import Platform

pytestmark = pytest.mark.browser

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
SIZES = {"phone": (360, 740), "desktop": (1280, 900)}
LANGUAGES = ("en", "zh-Hant-HK", "zh-Hans")
LOOKED_AT = {("phone", "en"), ("desktop", "zh-Hant-HK")}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Serve a gateway by the name under which browsers allow passkeys without HTTPS."""
    port = free_port()
    house = House(tmp_path_factory.mktemp("gateway"), address=f"http://localhost:{port}")
    house.invite()
    config = uvicorn.Config(house.app, host="127.0.0.1", port=port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 120
    while not server.started and time.monotonic() < end:
        time.sleep(0.05)
    assert httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=60).status_code == 200
    yield house
    server.should_exit = True
    thread.join(20)
    house.gateway.store.close()


class Walker:
    """A person of two accounts, at one browser."""

    def __init__(
        self, browser: Browser, house: House, name: str, language: str = "en", *,
        size: str = "desktop", scripts: bool = True, axe: bool = False,
    ) -> None:  # fmt: skip
        width, height = SIZES[size]
        self.house = house
        self.context: BrowserContext = browser.new_context(
            viewport={"width": width, "height": height},
            locale=language,
            java_script_enabled=scripts,
            # For axe alone, which has to run inside the page.
            bypass_csp=axe,
        )
        self.context.set_default_timeout(90_000)
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.name = name
        clinician = Account(name, "clinician", "Dr Lee", "hospital-a", "doctor", person=name)
        administrator = Account(f"admin-{name}", "administrator", "Lee", "ehr-commons", person=name)
        for account in (clinician, administrator):
            accounts.add_account(house.gateway.store.database, account, PASSWORD)

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error" and "401" not in text and "400" not in text:
            self.problems.append(text)

    def go(self, path: str) -> None:
        self.page.goto(f"{self.house.settings.base_url}{path}")

    def click(self, target: str | Locator) -> None:
        """Click what leads to a page, and wait until it has loaded."""
        with self.page.expect_navigation():
            (self.page.locator(target) if isinstance(target, str) else target).click()

    def send(self, **fields: str) -> None:
        """Fill in fields by their ids, press Enter in the last, and wait for the answer."""
        for field, value in fields.items():
            self.page.fill(f"#{field}", value)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def password(self, password: str = PASSWORD) -> None:
        self.send(login=self.name, password=password)

    def code(self) -> str:
        """Return the code of the secret that the page shows."""
        secret = self.page.locator("#secret").inner_text().replace(" ", "")
        return totp.compute_code(secret, self.house.clock() // totp.TIME_STEP_MS)

    def choose(self, number: int) -> None:
        self.click(self.page.locator("main form button").nth(number))

    def authenticator(self) -> None:
        """Give the browser an authenticator that knows its owner."""
        tools = self.context.new_cdp_session(self.page)
        tools.send("WebAuthn.enable")
        tools.send(
            "WebAuthn.addVirtualAuthenticator",
            {
                "options": {
                    "protocol": "ctap2",
                    "transport": "internal",
                    "hasResidentKey": True,
                    "hasUserVerification": True,
                    "isUserVerified": True,
                    "automaticPresenceSimulation": True,
                }
            },
        )


def test_a_passkey_is_made_and_then_logs_in_under_the_strict_policy(
    chromium: Browser, gateway: House
) -> None:
    walker = Walker(chromium, gateway, "passkey.owner")
    account = replace(
        accounts.find_account(gateway.gateway.store, walker.name), person=None, exempt=True
    )
    accounts.add_account(gateway.gateway.store.database, account, PASSWORD)
    walker.authenticator()
    page = walker.page
    walker.go("/oauth/account")
    walker.password()

    page.fill("#name", "my laptop")
    page.locator("#passkey").click()
    expect(page.locator("[role=status]")).to_contain_text("The passkey was added")
    expect(page.locator(".rows").first).to_contain_text("my laptop")
    walker.click("#logout")
    walker.go("/oauth/account")
    page.locator("#passkey").click()

    expect(page.locator("dd").first).to_have_text("passkey.owner")
    page.get_by_role("button", name="Remove my laptop").click()
    expect(page.locator("[role=status]")).to_contain_text("The passkey was removed")
    walker.click("#logout")
    walker.go("/oauth/account")
    page.locator("#passkey").click()
    expect(page.locator(".errors")).to_contain_text("The passkey was not accepted")
    assert walker.problems == []
    walker.context.close()


def test_without_scripts_everything_but_passkeys_works_by_keyboard(
    chromium: Browser, gateway: House
) -> None:
    walker = Walker(chromium, gateway, "keyboard", scripts=False)
    keyboard, page = walker.page.keyboard, walker.page
    walker.go("/oauth/account")

    def tab_to(selector: str) -> None:
        for _ in range(30):
            keyboard.press("Tab")
            if page.locator(f"{selector}:focus").count():
                return
        raise AssertionError(f"Tab never came to {selector}")

    def enter() -> None:
        # On a slow machine the page before would take the next keys.
        with page.expect_navigation():
            keyboard.press("Enter")

    tab_to("#login")
    keyboard.type("keyboard")
    tab_to("#password")
    keyboard.type(PASSWORD)
    enter()
    tab_to("#code")
    keyboard.type(walker.code())
    enter()
    tab_to("main button")
    enter()
    tab_to("main button")
    enter()

    expect(page.locator("dd").first).to_have_text("keyboard")
    tab_to("#logout")
    keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("You are logged out")
    walker.context.close()


@pytest.mark.parametrize(
    ("size", "language"),
    [
        # The structure is the same in every language: each size is looked at by axe in one.
        pytest.param(size, tag, marks=[] if (size, tag) in LOOKED_AT else [pytest.mark.slow])
        for size in SIZES
        for tag in LANGUAGES
    ],
)
def test_no_page_of_the_log_in_has_a_barrier_or_scrolls_sideways(
    chromium: Browser, gateway: House, tmp_path: Path, size: str, language: str
) -> None:
    looked = (size, language) in LOOKED_AT
    name = f"w.{size}.{language}".lower()
    walker = Walker(chromium, gateway, name, language, size=size, axe=looked)
    walker.authenticator()
    page = walker.page

    def look(what: str) -> None:
        page.screenshot(path=tmp_path / f"{what}-{size}-{language}.png", full_page=True)
        assert page.locator("html").get_attribute("lang") == language, what
        sideways = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert sideways <= 0, what
        small = page.evaluate(
            """[...document.querySelectorAll('button, select, input:not([type=hidden]), header a')]
               .filter(it => it.checkVisibility() && it.getBoundingClientRect().height < 47.5)
               .map(it => it.outerHTML)"""
        )
        assert small == [], what
        if looked:
            found = Axe().run(page, options=RULES).response["violations"]
            assert [f"{one['id']}: {one['nodes'][0]['html'][:160]}" for one in found] == [], what

    walker.go("/oauth/account")
    look("login")
    walker.password("wrong")
    look("login-wrong")
    walker.click("#eid")
    look("eid")
    walker.send(hkid=HKID, pin="000000")
    look("eid-wrong")
    walker.click(page.locator("main p a").last)
    look("eid-refused")
    with gateway.gateway.store.write_transaction() as connection:
        accounts.require_password_change(connection, name)
    walker.password()
    look("password")
    walker.send(new="twelve quiet ferries")
    look("enrol")
    walker.send(code="000000")
    look("enrol-wrong")
    walker.send(code=walker.code())
    look("recovery")
    walker.click("main form button")
    look("choose")
    walker.choose(0)
    page.fill("#name", "phone")
    walker.click("#passkey")
    expect(page.locator("[role=status]")).to_be_visible()
    look("account")
    walker.go("/oauth/logout")
    look("logout")
    walker.click("main form button")
    look("logged-out")
    walker.go("/oauth/account")
    walker.password("twelve quiet ferries")
    look("code")
    walker.send(code="000000")
    look("code-wrong")
    walker.click("#passkey")
    walker.choose(1)
    walker.go("/oauth/accounts")
    walker.send(find="doctor")
    look("accounts")
    page.locator("main summary").first.click()
    walker.click(page.locator("form[action*='/change/disable'] button").first)
    look("account-change")
    walker.click("main form button")
    look("account-change-wrong")
    walker.go("/oauth/login?request=stale")
    look("stopped")
    gateway.clock.forward(seconds=700)
    walker.go("/oauth/account")
    look("account-again")
    assert re.search(r"<strong>.*Chrom", page.content())
    walker.context.close()


def test_a_patient_logs_in_by_the_simulated_identity_in_the_browser(
    chromium: Browser, gateway: House
) -> None:
    walker = Walker(chromium, gateway, "patient.browser", scripts=False)
    page = walker.page
    walker.go("/oauth/account")
    page.locator("#eid").click()
    expect(page.locator(".ehr-notice")).to_contain_text("simulator")
    page.fill("[name=hkid]", HKID)
    page.fill("[name=pin]", PIN)
    page.press("[name=pin]", "Enter")

    expect(page.locator("dd").first).to_have_text("p.pat-1")
    walker.context.close()


def test_after_log_out_of_the_portal_the_next_person_is_asked_who_they_are(
    chromium: Browser, served: Platform
) -> None:
    person = Person(chromium, served)
    person.log_in_by_password("dr.wong")
    person.go("/login")
    person.page.wait_for_url(re.compile(r"/my-patients$"))

    person.page.locator("form[action='/logout'] button").click()

    expect(person.page.locator("h1")).to_have_text("You are logged out")
    person.go("/login")
    expect(person.page.locator("#password")).to_be_visible()
    person.leave()
