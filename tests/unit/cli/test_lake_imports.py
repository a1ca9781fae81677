"""`ehr lake view` of a small table takes under a second of processor time: it imports little."""

from __future__ import annotations

import subprocess
import sys

# Each is a tenth of a second and more; a view over tables needs none of them.
SLOW = ("ehr_gateway", "ehr_privacy", "fhir", "httpx", "pandas", "pyspark", "rich.markup")
PROGRAM = """
import sys
from ehr_cli.commands import lake
from ehr_etl.gold import delta_views
print(*(name for name in sys.argv[1:] if name in sys.modules))
"""


def test_a_view_over_the_lake_imports_nothing_slow() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, *SLOW], capture_output=True, text=True, check=True
    )

    assert found.stdout.split() == []
