"""A served platform for the stories of each file, and one real browser for all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from ehr_cli.sample.overlay import SamplePatient
from tests.lib.server import Platform, prepare_platform, serve_platform

# Nothing of the browser itself may go out: every request seen is then one of our pages'.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


# A busy machine is slow, not wrong.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SamplePatient]:
    """Return a data folder with the patient of the story: what each file's platform begins with."""
    data = tmp_path_factory.mktemp("prepared") / "data"
    return data, prepare_platform(data, patients=1)


@pytest.fixture(scope="module")
def served(
    prepared: tuple[Path, SamplePatient], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """Serve gateway and portal; what the stories of a file leave behind, no other file meets."""
    template, patient = prepared
    data = tmp_path_factory.mktemp("platform") / "data"
    shutil.copytree(template, data)
    with serve_platform(data, patient) as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Start Chromium."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.fail("Chromium is not installed; `make test` installs it.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()
