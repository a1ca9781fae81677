"""What is built and committed: no other origin, no licensed font, no registry address."""

from __future__ import annotations

import json
import re
from pathlib import Path

import ehr_portal

PORTAL = Path(ehr_portal.__file__).parents[1]
STATIC = PORTAL / "ehr_portal" / "static"


def test_the_style_sheet_fetches_nothing_and_names_no_licensed_font() -> None:
    sheet = (STATIC / "portal.css").read_text()

    assert not re.search(r"https?://|@import|@font-face", sheet)
    assert "frutiger" not in sheet.lower()


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
