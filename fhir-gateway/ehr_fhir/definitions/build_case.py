"""List the code systems whose codes differ by case, from HL7's R4 definitions; run by hand."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
_FILES = ("valuesets.json.gz", "v3-codesystems.json.gz", "v2-tables.json.gz")


def build(definitions: Path) -> None:
    """Write case-sensitive-systems.json.gz beside this file."""
    systems = {
        resource["url"]
        for name in _FILES
        for entry in json.loads(gzip.decompress((definitions / name).read_bytes()))["entry"]
        if (resource := entry["resource"])["resourceType"] == "CodeSystem"
        and resource.get("caseSensitive") is True
    }
    text = json.dumps(sorted(systems), separators=(",", ":"))
    # A fixed time stamp keeps the file the same from run to run.
    (HERE / "case-sensitive-systems.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    build(Path(sys.argv[1]))
