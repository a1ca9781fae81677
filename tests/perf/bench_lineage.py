"""What it costs the lake to put a refresh on record: `python -m tests.perf.bench_lineage [ROUNDS]`.

Processor milliseconds of this process for one changed record, with and without the record of it, in
turns in one run; and the bytes of a record. The gateway's part is not in it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from unittest.mock import patch

from ehr_etl import lineage, pipeline
from ehr_etl.lake import Lake
from ehr_etl.lineage import load_refreshes
from ehr_etl.pipeline import LakeWriter
from ehr_privacy.audit import canonical_json
from tests.lib.lake_gateway import FakeStore
from tests.lib.lake_input import KEY, NOW_MS, condition, hospital

ROUNDS = 20


def main() -> None:
    """Print the medians of each round of turns."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    feed = FakeStore()
    for resource in hospital():
        feed.put(resource)
    with tempfile.TemporaryDirectory() as scratch:
        lake = Lake(Path(scratch) / "lake")
        with LakeWriter(lake, KEY) as writer:
            _change(writer, feed, -1)
            size = 0
            costs: dict[bool, list[float]] = {True: [], False: []}
            for number in range(2 * rounds):
                is_recorded = number % 2 == 0
                with patch.object(
                    pipeline, "note_refresh", lineage.note_refresh if is_recorded else _skip
                ):
                    costs[is_recorded].append(_change(writer, feed, number))
                for record in load_refreshes(lake).unsent:
                    size = len(canonical_json(record))
                writer.send_refreshes(lambda records: None)
    with_record, without = median(costs[True]), median(costs[False])
    sys.stdout.write(
        f"with {with_record:.1f} ms, without {without:.1f} ms; a record of {size:,} bytes\n"
    )


def _change(writer: LakeWriter, feed: FakeStore, number: int) -> float:
    feed.put(condition(f"con-{number}", "p-one", "enc-one"))
    started = time.process_time()
    writer.take_in(feed)
    writer.bring_up(NOW_MS)
    return (time.process_time() - started) * 1000


def _skip(*_: object) -> bool:
    return False


if __name__ == "__main__":
    main()
