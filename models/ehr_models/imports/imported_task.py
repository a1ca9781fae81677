"""A task over an import: the same outcome and gates, with the import's rows and its own card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from string import Template
from typing import Any

from ehr_fhir.errors import Unprocessable
from ehr_models.imports.comparators import build_comparator
from ehr_models.imports.import_store import StoredImport
from ehr_models.imports.mapping_file import parse_mapping
from ehr_models.imports.table_import import TABLE
from ehr_models.task import Feature, Frame, Task, Views


@dataclass(frozen=True)
class ImportedTask:
    """A task, the tables that its frame is built from, and the version of each."""

    task: Task
    views: Views
    versions: Mapping[str, str]


def name_imported_task(task: Task, name: str) -> str:
    """Return the name of a task over an import of a name."""
    return f"{task.name}-{name}"


def apply_import(task: Task, stored: StoredImport) -> ImportedTask:
    """Return the task over an import.

    Its name is the task's with the import's: what was learnt from another source never becomes a
    version of the model that scores the platform's patients.
    """
    about = stored.about
    if about["task"] != task.name:
        raise Unprocessable(
            f"The import {stored.name} is for the task {about['task']}, not for {task.name}."
        )
    title = f"{task.title} ({about['title']})"
    own = replace(
        task,
        name=name_imported_task(task, stored.name),
        title=title,
        card_text=_fill_card(task, title, about),
    )
    if about["kind"] == TABLE:
        features = tuple(Feature(**feature) for feature in about["features"])
        frame = Frame(stored.tables["frame"], features, task.target)
        own = replace(
            own,
            views=(),
            comparators=tuple(
                build_comparator(one) for one in parse_mapping(about["mapping"]).comparators
            ),
            build_frame=lambda views, codes=None: frame,
            build_recent_frame=None,
        )
    return ImportedTask(own, stored.tables, {f"import {stored.name}": stored.digest})


def _fill_card(
    task: Task,
    title: str,
    about: Mapping[str, Any],  # Any: values of JSON
) -> str:
    """Return the words of the card with what the import says."""
    left_out = [f"{one['rows']:,} rows ({one['reason']})" for one in about.get("excluded", [])]
    if about.get("without_outcome"):
        left_out.append(f"{about['without_outcome']:,} rows without an outcome")
    left_out += [f"{rows:,} {words}" for words, rows in about.get("not_read", {}).items()]
    facts = {
        "title": title,
        "source": about.get("source", about["title"]),
        "licence": about.get("licence", "that of its source"),
        "notes": " ".join(about.get("notes", [])),
        "window": str(about.get("window_days", task.outcome.horizon.days)),
        "left_out": "; ".join(left_out) or "nothing",
    }
    template = Template(files(__package__).joinpath("card.md").read_text("utf-8"))
    return template.substitute(facts)
