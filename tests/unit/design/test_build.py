"""What is built and committed is what its source gives, and light enough for a slow network."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import ehr_design
import ehr_gateway
import ehr_portal
from ehr_design.static_files import FOLDER, icon_names
from tests.lib.portal_house import PortalHouse

PORTAL = Path(ehr_design.__file__).parents[1]
PACKAGES = [Path(package.__file__).parent for package in (ehr_design, ehr_gateway, ehr_portal)
            if package.__file__]  # fmt: skip
# The limit of a first page with its style sheet, icons and picture, compressed.
MOST_BYTES = 60_000


def test_the_committed_files_are_what_their_sources_give() -> None:
    node = shutil.which("node")
    if node is None or not (PORTAL / "node_modules" / "sass").is_dir():
        pytest.skip("Node or the packages of portal/package.json are not here: `make assets`.")

    checked = subprocess.run(
        [node, "styles/build.mjs", "--check"], cwd=PORTAL, capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stderr


def test_the_first_page_is_light() -> None:
    house = PortalHouse()
    for who, path in (("", "/"), ("patient", "/record")):
        browser = house.log_in(who) if who else house.browser
        page = browser.get(path, headers={"Accept-Encoding": "identity"})
        assert page.status_code == 200
        files = set(re.findall(r'(?:href|src)="(/static/[^"#]+)', page.text))
        assert files

        sizes = {
            file: int(
                browser.get(file, headers={"Accept-Encoding": "gzip"}).headers["content-length"]
            )
            for file in files
        }

        # Pages are never compressed, see the static files.
        assert len(page.content) + sum(sizes.values()) < MOST_BYTES, sizes


def test_every_icon_that_a_template_names_is_in_the_sprite() -> None:
    named = {
        name
        for package in PACKAGES
        for template in package.rglob("*.html")
        for name in re.findall(r'icon\("([\w-]+)"\)', template.read_text("utf-8"))
    }

    assert named
    assert named <= set(icon_names())


def test_the_licences_stand_beside_what_they_are_for() -> None:
    versions = json.loads((PORTAL / "package.json").read_text())["devDependencies"]

    for name, licence in (("nhsuk-frontend", "MIT License"), ("lucide-static", "ISC License")):
        file = FOLDER / f"LICENSE-{name.removesuffix('-static')}.txt"
        text = file.read_text("utf-8")
        assert licence in text
        assert versions[name] in text


def test_the_icons_are_small_and_hold_no_script() -> None:
    sprite = (FOLDER / "icons.svg").read_text("utf-8")

    assert not re.search(r"<script|href=|style=|on\w+=", sprite)
    assert len(gzip.compress(sprite.encode())) < 4_000
