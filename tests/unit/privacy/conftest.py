"""What the privacy tests share."""

from __future__ import annotations

import pytest

from ehr_privacy.deid import Deidentifier, load_rules


@pytest.fixture(scope="session")
def deidentifier() -> Deidentifier:
    """Return the shipped allow-list under a key for tests."""
    return Deidentifier(load_rules(), b"k" * 32)
