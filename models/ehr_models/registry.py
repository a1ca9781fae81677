"""The registry of prediction tasks: each folder of `ehr_models.tasks` is one."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from ehr_fhir.errors import Conflict, Fault, NotFound, Unprocessable
from ehr_models import tasks
from ehr_models.task import Task
from ehr_models.task_file import load_task


def list_tasks() -> tuple[Task, ...]:
    """Return every task, by name."""
    folders = [
        folder
        for path in tasks.__path__
        for folder in Path(path).iterdir()
        if folder.is_dir() and not folder.name.startswith(("_", "."))
    ]
    return tuple(sorted(map(_load_task, folders), key=lambda task: task.name))


def get_task(name: str | None = None) -> Task:
    """Return the task of a name; without a name the only one scored in batches."""
    by_name = {task.name: task for task in list_tasks()}
    usual = [task for task in by_name.values() if task.is_scored_in_batches]
    if name is None and len(usual) == 1:
        return usual[0]
    choices = ", ".join(by_name)
    if name is None:
        raise Unprocessable(f"There is more than one model: say which by --task ({choices}).")
    if name not in by_name:
        raise NotFound(f"There is no model {name!r}: there are {choices}.")
    return by_name[name]


def refuse_registered(name: str) -> None:
    """Refuse a name for what is learnt from an import that is a registered task's."""
    if name in {task.name for task in list_tasks()}:
        raise Conflict(
            f"{name} is a task of the platform: what is learnt from an import would be a version of"
            " it. Give the import another name."
        )


def _load_task(folder: Path) -> Task:
    """Return the task of a folder: of its file, or the TASK that its code declares."""
    if (folder / "task.toml").is_file():
        return load_task(folder)
    task = getattr(import_module(f"{tasks.__name__}.{folder.name}"), "TASK", None)
    if not isinstance(task, Task):
        raise Fault(f"{folder.name} has no task.toml, and declares no TASK.")
    return task
