"""What is built and committed: no other origin, no licensed font, no registry address."""

from __future__ import annotations

import json
import re
from pathlib import Path

import ehr_design
from tests.lib.portal_house import PortalHouse

PORTAL = Path(ehr_design.__file__).parents[1]
STATIC = PORTAL / "ehr_design" / "static"


def test_the_style_sheet_fetches_nothing_and_names_no_licensed_font() -> None:
    sheet = (STATIC / "ehr.css").read_text()

    assert not re.search(r"https?://|@import|@font-face", sheet)
    assert "frutiger" not in sheet.lower()


def test_the_style_sheet_is_compressed_for_browsers_that_take_it() -> None:
    browser = PortalHouse().browser
    plain = browser.get("/static/ehr.css", headers={"Accept-Encoding": "identity"})
    packed = browser.get("/static/ehr.css", headers={"Accept-Encoding": "br, gzip"})

    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    assert int(packed.headers["content-length"]) < len(plain.content) / 4
    assert packed.headers["etag"] != plain.headers["etag"]
    for answer in (plain, packed):
        assert answer.headers["vary"] == "Accept-Encoding"
        assert answer.headers["cache-control"] == "public, max-age=3600"
        again = {
            "If-None-Match": answer.headers["etag"],
            "Accept-Encoding": "gzip" if answer is packed else "identity",
        }
        kept = browser.get("/static/ehr.css", headers=again)
        assert kept.status_code == 304
        assert kept.headers["cache-control"] == "public, max-age=3600"
    assert "content-encoding" not in browser.get("/static/icon.svg").headers


def test_a_file_is_kept_for_good_at_the_address_of_its_content_alone() -> None:
    house = PortalHouse()
    page = house.log_in("doctor").get("/patients").text
    addresses = set(re.findall(r'(?:href|src)="(/static/[^"#]+)', page))

    assert len(addresses) >= 4
    for address in addresses:
        kept = house.browser.get(address).headers["cache-control"]
        assert kept == "public, max-age=31536000, immutable", address
        for other in (address.partition("?")[0], address[:-1], f"{address[:-1]}0x"):
            assert house.browser.get(other).headers["cache-control"] == "public, max-age=3600"
    assert house.browser.get("/static/none.css?v=1").headers["cache-control"] == "no-store"


def test_no_page_is_compressed() -> None:
    """Pages hold a secret beside what was typed, which their length would tell (BREACH)."""
    for path in ("/record", "/sharing", "/sharing/close", "/who-looked"):
        answer = PortalHouse().log_in("patient").get(path, headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in answer.headers, path


def test_the_licence_of_the_style_sheet_stands_beside_it() -> None:
    text = (STATIC / "LICENSE-nhsuk-frontend.txt").read_text()

    version = json.loads((PORTAL / "package.json").read_text())["devDependencies"]["nhsuk-frontend"]
    assert "MIT License" in text
    assert version in text


def test_the_lock_has_hashes_and_no_registry_address() -> None:
    lock = json.loads((PORTAL / "package-lock.json").read_text())["packages"]

    packages = {name: package for name, package in lock.items() if name}
    assert packages
    assert all("integrity" in package for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
