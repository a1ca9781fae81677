"""Fixtures of every kind of test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.spark import spark

__all__ = ["ROOT", "shared_data", "spark"]

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of published test data beside the checkout, or skip with the reason."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the published test data is not beside this checkout")
    return folder
