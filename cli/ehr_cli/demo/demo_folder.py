"""The demo's own data folder: made anew each time, never by deleting anything that is not ours."""

from __future__ import annotations

import shutil
from pathlib import Path

from ehr_fhir.errors import Conflict

MARKER = ".ehr-demo"


def make_demo_folder(folder: Path) -> None:
    """Empty a folder that an earlier demo made, or make a new one; refuse any other."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise Conflict(
                f"{folder} was not made by the demo and is not empty, so it is left alone. "
                "Choose another folder with --data."
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("Made by `ehr demo`, which deletes and remakes it.\n", "utf-8")
