"""The gateway's port for models, filled with the store of their versions and its register.

Nothing here loads MLflow, Spark or a model: versions are files, and decisions are rows.
"""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ehr_cli.decision_support import open_server
from ehr_cli.model_decisions import DecisionSource, LoggedDecisions
from ehr_cli.model_worklists import ModelWorklists
from ehr_fhir.errors import Conflict, EhrError, Fault, NotFound
from ehr_gateway.model_register import (
    Model,
    ModelAlarm,
    ModelDecision,
    ModelGate,
    ModelResult,
    ModelVersion,
    ModelWeek,
    Worklist,
)

if TYPE_CHECKING:
    from ehr_models import model_store
    from ehr_models.promotion import PromotionRegister

__all__ = ["RegisteredModels"]

# Files of a version that people read; the model itself is none of them.
_READ_BY_PEOPLE = ("card.", "report.", "tripod.", "features.", "controlled.")
# What a forecast shows beyond the trusted zone; no other model has this file.
_FORECAST = "controlled.json"
# Of a forecast's report, days of single hospitals stand in the trusted zone alone.
_OF_TRUSTED_ZONE = "report.json"
# Versions that are listed of each model. Chosen: what a page shows.
_MOST_VERSIONS = 10
# What the watch calls the score itself, as `ehr_models.watch.SCORE`.
_SCORE = "score"


@dataclass(frozen=True)
class RegisteredModels:
    """The models of a data folder.

    Its decisions are held against the log.
    """

    data: Path
    log: LoggedDecisions
    decisions: DecisionSource = field(init=False)
    worklists: ModelWorklists = field(init=False)

    def __post_init__(self) -> None:
        """Make what tells the log of new decisions, and what works worklists out."""
        object.__setattr__(self, "decisions", DecisionSource(self.data))
        object.__setattr__(self, "worklists", ModelWorklists(self.data, self.log))

    def list_models(self, language: str) -> Sequence[Model]:
        """Return every model that has a version."""
        register = self._open()
        is_as_logged = _is_as_logged(register)
        return [
            _describe(register, task, language, is_as_logged=is_as_logged)
            for task in register.store.list_tasks()
        ]

    def find_scoring(self) -> Mapping[str, int]:
        """Return the number of the version that scores by the name of its task."""
        if not (self.data / "models").is_dir():
            return {}
        return open_server(self.data, self.log).find_versions()

    def read_worklist(self, task: str, language: str, now: datetime) -> Worklist:
        """Return the people whom a task's model puts first."""
        return self.worklists.read(task, language, now)

    def count_waiting(self) -> int:
        """Return how many models have a proposal or an alarm. No version is read for it."""
        register = self._open()
        return sum(
            register.find_proposal(task) is not None
            or any(week["alarms"] for week in register.store.read_watch(task))
            for task in register.store.list_tasks()
        )

    def read_file(self, task: str, number: int, name: str) -> tuple[bytes, str]:
        """Return a file of a version that people may read, and its media type."""
        version = self._open().store.read_version(task, number)
        if name not in _list_files(version):
            raise NotFound("There is no such file.")
        media_type, _ = mimetypes.guess_type(name)
        return version.files[name], media_type or "application/octet-stream"

    def decide(
        self,
        action: str,
        task: str,
        number: int | None,
        who: str,
        names: frozenset[str],
        reason: str,
    ) -> None:
        """Take a step as somebody, whose accounts have `names`."""
        register = self._open()
        if task not in register.store.list_tasks():
            raise NotFound("There is no model of that name.")
        newest = _find_version(register.store, task, register.store.list_versions(task)[-1])
        if newest is not None and _is_forecast(newest):
            raise Conflict("Nobody decides on a forecast: its gates say which one is served.")
        if action == "promote" and number is not None:
            register.promote(task, number, who, reason, names=names)
        elif action == "roll-back":
            register.roll_back(task, who, reason)
        else:
            register.set_shadow(task, number, who, reason)

    def _open(self) -> PromotionRegister:
        from ehr_models.model_store import ModelStore
        from ehr_models.promotion import PromotionRegister

        return PromotionRegister(ModelStore(self.data), log=self.log)


def _is_as_logged(register: PromotionRegister) -> bool:
    try:
        return register.compare_log().holds
    except EhrError:
        return False


def _describe(
    register: PromotionRegister, task: str, language: str, *, is_as_logged: bool
) -> Model:
    from ehr_models.card_words import find_card_words
    from ehr_models.version_files import read_summary

    store = register.store
    numbers = store.list_versions(task)[-_MOST_VERSIONS:]
    versions = [_find_version(store, task, number) for number in reversed(numbers)]
    proposal = register.find_proposal(task)
    watch = store.read_watch(task)
    words = find_card_words(task, language)
    intact = next((version for version in versions if version is not None), None)
    titles = {} if intact is None else _read_feature_titles(intact)
    if words is not None:
        titles = {name: words.name_feature(name, title) for name, title in titles.items()}
    told = {} if intact is None else read_summary(intact).get("title", {})
    return Model(
        task=task,
        title=told.get(language) or (words.title if words else _say(told, language)) or task,
        champion=register.find_champion(task) if is_as_logged else None,
        shadow=register.find_shadow(task),
        proposal=None if proposal is None else proposal.number,
        versions=tuple(
            _tell_damage(number) if version is None else _describe_version(version, language)
            for number, version in zip(reversed(numbers), versions, strict=True)
        ),
        decisions=tuple(
            ModelDecision(one.at, one.number, one.action.value, one.who, one.reason)
            for one in register.list_decisions(task)
        ),
        alarms=tuple(_list_alarms(watch, titles)),
        weeks=tuple(
            ModelWeek(
                week["monday"],
                _round(week["psi"][_SCORE]),
                _round(week["expected"]),
                _round(week["observed"]),
            )
            for week in watch
        ),
        watched=max((week["monday"] for week in watch), default=""),
        is_forecast=intact is not None and _is_forecast(intact),
        is_as_logged=is_as_logged,
    )


def _find_version(
    store: model_store.ModelStore, task: str, number: int
) -> model_store.ModelVersion | None:
    """Return a version; None where its files are not those that were signed."""
    try:
        return store.read_version(task, number)
    except Fault:
        return None


def _tell_damage(number: int) -> ModelVersion:
    # The others are listed all the same, and the one that scores can be rolled back.
    return ModelVersion(number, "", "damaged", "", (), (), ())


def _describe_version(version: model_store.ModelVersion, language: str) -> ModelVersion:
    from ehr_models.version_files import read_gates, read_summary

    summary = read_summary(version)
    return ModelVersion(
        number=version.number,
        created=version.created_at,
        grade=summary.get("grade", ""),
        verdict=_say(summary.get("verdict", {}), language),
        gates=tuple(
            ModelGate(one.gate, one.is_met, one.text, one.message, one.values)
            for one in read_gates(version)
        ),
        results=tuple(ModelResult(**one) for one in summary.get("results", ())),
        files=_list_files(version),
    )


def _list_files(version: model_store.ModelVersion) -> tuple[str, ...]:
    """Return the names of a version's files that people may read."""
    hidden = _OF_TRUSTED_ZONE if _is_forecast(version) else ""
    return tuple(
        name for name in version.files if name.startswith(_READ_BY_PEOPLE) and name != hidden
    )


def _is_forecast(version: model_store.ModelVersion) -> bool:
    return _FORECAST in version.files


def _say(texts: Mapping[str, str], language: str) -> str:
    return texts.get(language) or texts.get("en", "")


def _read_feature_titles(version: model_store.ModelVersion) -> Mapping[str, str]:
    """Return what the version calls its features; empty where it has no list of them."""
    features = json.loads(version.files.get("features.json", b"{}")).get("features", ())
    return {feature["name"]: feature["title"] for feature in features}


@overload
def _round(figure: float) -> float: ...


@overload
def _round(figure: None) -> None: ...


def _round(figure: float | None) -> float | None:
    # All digits of a share are those of one fraction: they would tell how many people of how many.
    return None if figure is None else round(figure, 2)


def _list_alarms(
    watch: Iterable[Mapping[str, Any]], titles: Mapping[str, str]
) -> Iterable[ModelAlarm]:
    for week in watch:
        for alarm in week["alarms"]:
            about = alarm["about"]
            yield ModelAlarm(
                week["monday"], alarm["kind"], about, _round(alarm["value"]), titles.get(about, "")
            )
