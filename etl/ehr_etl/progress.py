"""Progress of the writer: up to which line of the feed every table is brought, and how it is cut.

It is written last, whole and flushed, so after a crash the lines after it are done again. Doing
them again changes nothing: each table is made of its inputs, not of what was there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import orjson

from ehr_etl.atomic_files import replace_file
from ehr_etl.lake import Lake

__all__ = ["Progress", "load_progress", "save_progress"]


@dataclass(frozen=True)
class Progress:
    """`sequence`: the last line applied. `buckets`: in how many each table is cut."""

    sequence: int = 0
    buckets: int = 0
    # By which rules, keys and views each table was made.
    digests: dict[str, str] = field(default_factory=dict)
    # The version that each table had after its last upkeep.
    maintained: dict[str, int] = field(default_factory=dict)


def load_progress(lake: Lake) -> Progress:
    """Return the progress of a lake, that of an empty one before the first run."""
    if not lake.progress_file.exists():
        return Progress()
    return Progress(**orjson.loads(lake.progress_file.read_bytes()))


def save_progress(lake: Lake, progress: Progress) -> None:
    """Keep the progress on disk, whole or not at all, if it is another than the one there."""
    content = orjson.dumps(asdict(progress), option=orjson.OPT_SORT_KEYS)
    if lake.progress_file.exists() and lake.progress_file.read_bytes() == content:
        return
    replace_file(lake.progress_file, content, is_durable=True)
