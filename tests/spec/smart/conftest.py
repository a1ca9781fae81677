"""Apps against a gateway; the log-in pages themselves are tested elsewhere."""

from __future__ import annotations

import pytest

from tests.lib.gateway import House
from tests.lib.smart import App, at_once


@pytest.fixture(autouse=True)
def logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test say who logs in."""
    at_once(monkeypatch)


@pytest.fixture
def app(furnished: House) -> App:
    """Return a registered public app of a house with records."""
    return App(furnished).register()
