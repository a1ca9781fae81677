"""The registry of prediction tasks: whatever folder of `ehr_models.tasks` declares a TASK."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from ehr_fhir.errors import Fault, NotFound, Unprocessable
from ehr_models import tasks
from ehr_models.task import Task


def list_tasks() -> tuple[Task, ...]:
    """Return every task, by name."""
    names = [module.name for module in pkgutil.iter_modules(tasks.__path__)]
    declared = [_load_task(f"{tasks.__name__}.{name}") for name in names]
    return tuple(sorted(declared, key=lambda task: task.name))


def get_task(name: str | None = None) -> Task:
    """Return the task of a name; without a name the only one there is."""
    by_name = {task.name: task for task in list_tasks()}
    if name is None and len(by_name) == 1:
        return next(iter(by_name.values()))
    choices = ", ".join(by_name)
    if name is None:
        raise Unprocessable(f"There is more than one model: say which by --task ({choices}).")
    if name not in by_name:
        raise NotFound(f"There is no model {name!r}: there are {choices}.")
    return by_name[name]


def _load_task(module: str) -> Task:
    task = getattr(import_module(module), "TASK", None)
    if not isinstance(task, Task):
        raise Fault(f"{module} declares no TASK.")
    return task
