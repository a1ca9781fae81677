"""A flat table into the data folder, by a mapping, as a frame of a task."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from ehr_fhir.errors import Unprocessable
from ehr_models.imports.comparators import build_comparator
from ehr_models.imports.flat_table import ImportedFrame, build_frame
from ehr_models.imports.import_store import save_import
from ehr_models.imports.mapping import TableMapping
from ehr_models.imports.mapping_file import parse_mapping, read_mapping_text
from ehr_models.imports.source_table import SourceTable, read_source_table
from ehr_models.task import PATIENT, Task

TABLE = "table"
_SAMPLES = "samples"


def find_sample(name: str) -> Path | None:
    """Return the file of a table that comes with the platform; None if there is none."""
    path = Path(str(files(__package__))) / _SAMPLES / f"{name}.parquet"
    return path if re.fullmatch(r"[a-z0-9-]+", name) and path.is_file() else None


def import_table(
    path: Path,
    mapping_name: str,
    task: Task,
    name: str,
    data: Path,
    now: datetime,
    *,
    apply_exclusions: bool = True,
    one_in: int = 1,
    replace: bool = False,
) -> Mapping[str, Any]:  # Any: values of JSON
    """Import a flat file for a task and return what is written about it.

    `mapping_name` is a file, or a mapping that comes with the platform. Of the persons, in the
    order of the file, every `one_in`th is taken with all rows. Nothing is written where anything is
    wrong.
    """
    text = read_mapping_text(mapping_name)
    mapping = parse_mapping(text)
    _check_task(mapping, task)
    source = read_source_table(path, mapping.columns(), mapping.missing)
    columns = _take_people(source.columns, mapping.person, one_in)
    imported = build_frame(columns, mapping, task.target, apply_exclusions=apply_exclusions)
    about = {
        **_describe(mapping, source, imported, task),
        "people_taken": f"1 in {one_in}",
        "mapping": text,
        "mapping_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "imported_at": now.isoformat(timespec="seconds"),
    }
    save_import(data, name, about, {"frame": imported.frame.rows}, replace=replace)
    return about


def _take_people(columns: pd.DataFrame, person: str, one_in: int) -> pd.DataFrame:
    if one_in == 1:
        return columns
    # The rows keep the numbers of the file, by which a fault is named.
    taken: pd.DataFrame = columns.loc[pd.factorize(columns[person])[0] % one_in == 0]
    return taken


def _check_task(mapping: TableMapping, task: Task) -> None:
    if mapping.task != task.name:
        raise Unprocessable(f"The mapping is for the task {mapping.task}, not for {task.name}.")
    if unknown := [one.name for one in mapping.features if one.name not in task.feature_names]:
        raise Unprocessable(
            f"features: {', '.join(unknown)} is no feature of {task.name} (it has "
            f"{', '.join(task.feature_names)}); give what is not the task's under further."
        )


def _describe(
    mapping: TableMapping, source: SourceTable, imported: ImportedFrame, task: Task
) -> dict[str, Any]:  # Any: values of JSON
    frame = imported.frame
    mapped = {one.name for one in mapping.features}
    return {
        "kind": TABLE,
        "task": task.name,
        "title": mapping.title,
        "source": mapping.source,
        "licence": mapping.licence,
        "file": source.name,
        "file_sha256": source.sha256,
        "rows": len(frame.rows),
        "people": int(frame.rows[PATIENT].nunique()),
        "outcomes": int(frame.rows[frame.target].sum()),
        "window_days": mapping.outcome.days,
        "has_dates": mapping.ended is not None,
        "excluded": [
            {"name": one.name, "reason": one.reason, "rows": imported.excluded[one.name]}
            for one in mapping.exclusions
            if one.name in imported.excluded
        ],
        "without_outcome": imported.without_outcome,
        "features": [asdict(feature) for feature in frame.features],
        # What the task knows of its own patients, and this table does not tell.
        "task_features_absent": [name for name in task.feature_names if name not in mapped],
        "comparators": [build_comparator(one).title for one in mapping.comparators],
        "notes": list(mapping.notes),
    }
