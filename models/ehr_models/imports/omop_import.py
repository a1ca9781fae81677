"""A folder of OMOP tables into the data folder, as the views that a task reads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ehr_fhir.errors import Unprocessable
from ehr_models.imports.import_store import save_import
from ehr_models.imports.omop_folder import read_omop_folder
from ehr_models.task import PEOPLE_VIEW, Task

OMOP = "omop"


def import_omop(
    folder: Path, task: Task, name: str, data: Path, now: datetime, *, replace: bool = False
) -> Mapping[str, Any]:  # Any: values of JSON
    """Import a folder of CDM 5.4 tables for a task and return what is written about it.

    Nothing is written where anything is wrong.
    """
    read = read_omop_folder(folder)
    if absent := sorted(set(task.views) - set(read.views)):
        raise Unprocessable(
            f"{task.name} reads {', '.join(absent)}, which are not made from OMOP tables yet."
        )
    about = {
        "kind": OMOP,
        "task": task.name,
        "title": f"OMOP tables of {folder.name}",
        "people": len(read.views[PEOPLE_VIEW]),
        "rows_by_view": {view: len(rows) for view, rows in read.views.items()},
        "not_read": dict(read.not_read),
        "has_dates": True,
        "imported_at": now.isoformat(timespec="seconds"),
    }
    save_import(data, name, about, read.views, replace=replace)
    return about
