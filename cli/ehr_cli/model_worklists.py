"""Worklists of models for the gateway: worked out when they are asked for, and kept nowhere.

One is worked out at a time, in a thread of its own. The answer stays in memory while model, day and
decisions of the lake are the same; nothing about anybody is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotReady
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ehr_cli.model_decisions import LoggedDecisions
from ehr_fhir.errors import NotFound, Unavailable
from ehr_fhir.jurisdiction import JURISDICTION
from ehr_gateway.model_register import Worklist, WorklistPerson, WorklistReason

if TYPE_CHECKING:
    from ehr_models.model_store import ModelVersion
    from ehr_models.task import Feature, Task
    from ehr_models.worklist import WorklistRow

__all__ = ["ModelWorklists"]

# How long a request waits for a list that is being worked out. Chosen: a reader waits no longer.
_MOST_SECONDS = 10.0

_Rows = Sequence["WorklistRow"]


@dataclass(eq=False)
class ModelWorklists:
    """The worklists of a data folder."""

    data: Path
    log: LoggedDecisions
    # By the task's name; with what it was made of.
    _made: dict[str, tuple[object, Future[_Rows]]] = field(default_factory=dict, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)
    _worker: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "worklist"), init=False
    )

    def read(self, name: str, language: str, now: datetime) -> Worklist:
        """Return the worklist of a task, by the version that scores now."""
        from ehr_models.card_words import read_card_words
        from ehr_models.model_store import ModelStore
        from ehr_models.promotion import PromotionRegister
        from ehr_models.registry import get_task

        task = get_task(name)
        if task.read_identified is not None:
            raise NotFound(f"The model {name} has no worklist.")
        if not (self.data / "models").is_dir():
            raise NotFound(f"No version of {name} scores.")
        version = PromotionRegister(ModelStore(self.data), log=self.log).get_champion(name)
        words = read_card_words(task, language)

        def describe(feature: Feature, value: float) -> WorklistReason:
            # NaN is not known.
            known = value if value == value else None
            return WorklistReason(words.name_feature(feature.name, feature.title), known)

        people = [
            WorklistPerson(
                row.patient,
                row.probability,
                tuple(describe(feature, value) for feature, value in row.reasons),
            )
            for row in self._find_rows(task, version, now)
        ]
        return Worklist(words.title, version.number, people)

    def _find_rows(self, task: Task, version: ModelVersion, now: datetime) -> _Rows:
        key = (version.digest, self._read_lake_state(), now.astimezone(JURISDICTION.zone).date())
        with self._lock:
            known = self._made.get(task.name)
            if known is None or known[0] != key or (known[1].done() and known[1].exception()):
                rows = self._worker.submit(self._work_out, task, version, now)
                known = self._made[task.name] = (key, rows)
        try:
            return known[1].result(_MOST_SECONDS)
        except NotReady as error:
            raise Unavailable("The list is being worked out: ask again in a minute.") from error

    def _read_lake_state(self) -> int:
        """Return the version of the lake's decisions: the last thing that an update writes."""
        from ehr_etl.lake import Lake

        lake = Lake(self.data / "lake")
        if not lake.has_table("decisions"):
            raise Unavailable("The lake has read no decision of a patient yet: run `ehr lake run`.")
        return int(lake.open_table("decisions").version())

    def _work_out(self, task: Task, version: ModelVersion, now: datetime) -> _Rows:
        from ehr_etl.lake import Lake
        from ehr_models.frames.feature_list import read_features
        from ehr_models.identified_views import IdentifiedViews
        from ehr_models.learners.portable import read_model
        from ehr_models.scored_people import read_scored_people
        from ehr_models.worklist import build_worklist

        lake = Lake(self.data / "lake")
        key = (self.data / "keys" / "deid.key").read_bytes()
        people = read_scored_people(lake, key, round(now.timestamp() * 1000))
        identified = IdentifiedViews(lake)
        views = people.select_rows({name: identified[name] for name in task.views})
        codes = read_features(version.files).codes
        return build_worklist(task, read_model(version.files), views, now, codes)
