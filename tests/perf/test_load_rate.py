"""The stated rate of `ehr load`: 1,500 resources a second on two cores, validation on."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehr_gateway.load import load
from ehr_gateway.store import Store


@pytest.mark.slow
def test_a_bulk_export_loads_at_1500_resources_a_second(tmp_path: Path, shared_data: Path) -> None:
    store = Store(tmp_path / "ehr.db")

    report = load(store, [shared_data / "synthea-r4-bulk-47"])
    store.close()

    assert (report.accepted, report.rejected) == (38_569, 0)
    assert report.accepted / report.seconds >= 1500
