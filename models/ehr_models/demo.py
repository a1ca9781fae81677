"""A model's whole way: learn from gold, save a version, score the identified views, write back."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from ehr_fhir.errors import Conflict
from ehr_models.ended_assessments import end_assessments, withdraw_assessments
from ehr_models.evaluation.performance import Performance
from ehr_models.frames.feature_list import read_features
from ehr_models.learners.portable import read_model
from ehr_models.model_store import ModelStore
from ehr_models.promotion import PromotionRegister
from ehr_models.risk_assessments import ScoringRun, derive_assessment_id
from ehr_models.score import find_reference_instant, predict_current
from ehr_models.scored_people import ScoredPeople
from ehr_models.task import PEOPLE_VIEW, Task, Views
from ehr_models.train import read_gold, train_model
from ehr_models.version_files import read_summary
from ehr_models.write_back import HttpClient, send_predictions


@dataclass(frozen=True)
class ScoringReport:
    """How many people a model was asked about, and what became of each, as of an instant."""

    as_of: datetime
    accepted: int
    refused: int
    # Why the gateway refused the last one.
    reason: str | None
    not_joined: int
    not_living: int
    outside_window: int
    in_care: int
    # Assessments of before that no longer hold.
    ended: int

    def explain_left_out(self, task: Task) -> str:
        """Say in one sentence who was not scored, and why."""
        days = task.outcome.horizon.days
        return (
            f"Not scored: {self.not_joined} people who have not joined or have left, "
            f"{self.not_living} who have died, {self.in_care} who are in care again, "
            f"{self.outside_window} with nothing to predict in the {days} days before."
        )


@dataclass(frozen=True)
class ModelReport:
    """What was learnt, how good it is, and what was written back."""

    version: int
    run: str
    stays: int
    people: int
    outcomes: int
    performance: Mapping[str, Performance]
    verdict: str
    # None where no version was promoted: then nobody is scored.
    scoring: ScoringReport | None
    train_seconds: float
    score_seconds: float


def train_and_score(
    task: Task,
    data: Path,
    identified_views: Views,
    client: HttpClient,
    token: str,
    *,
    people: ScoredPeople,
    as_of: date | None = None,
    now: datetime | None = None,
    trainer: Collection[str] = (),
    on_progress: Callable[[str], None] = lambda text: None,
) -> ModelReport:
    """Train a task's model; where a version was promoted, write each patient's risk back."""
    now = now or datetime.now(UTC)
    on_progress("model learns from the de-identified tables")
    training = train_model(
        task, read_gold(task, data), data, now, is_synthetic=True, trainer=trainer
    )
    started, scoring = time.monotonic(), None
    register = PromotionRegister(ModelStore(data))
    if register.find_champion(task.name) is not None:
        on_progress("people who just left acute care are scored, and the risks written back")
        scoring = score_with_champion(
            task, register, identified_views, client, token, now, people=people, as_of=as_of
        )
    return ModelReport(
        version=training.version.number,
        run=training.run,
        stays=training.evaluation.stays,
        people=training.evaluation.people,
        outcomes=training.evaluation.outcomes,
        performance=training.evaluation.performance,
        verdict=training.evaluation.verdict,
        scoring=scoring,
        train_seconds=training.seconds,
        score_seconds=time.monotonic() - started,
    )


def score_with_champion(
    task: Task,
    register: PromotionRegister,
    identified_views: Views,
    client: HttpClient,
    token: str,
    now: datetime,
    *,
    people: ScoredPeople,
    as_of: date | None = None,
) -> ScoringReport:
    """Score with the version that two people promoted, and write the assessments back.

    `people` are those who may be scored. As of a day that was, what ended later is not known, and
    each assessment says so; without `as_of` it is now. Conflict where another process scores the
    task, and where a decision takes the version away meanwhile: no batch of patients is written
    after it.
    """
    with register.store.lock_scoring(task.name):
        return _score(
            task, register, identified_views, client, token, now, people=people, as_of=as_of
        )


def withdraw_without_champion(
    task: Task, register: PromotionRegister, client: HttpClient, token: str, now: datetime
) -> int:
    """End all assessments of a task that no version scores any more; return how many.

    Conflict where another process still scores the task, or a version was promoted meanwhile.
    """
    with register.store.lock_scoring(task.name):
        if register.find_champion(task.name) is not None:
            raise Conflict(f"A version of {task.name} scores: what it wrote is not ended.")
        return withdraw_assessments(client, token, task, now)


def _score(
    task: Task,
    register: PromotionRegister,
    identified_views: Views,
    client: HttpClient,
    token: str,
    now: datetime,
    *,
    people: ScoredPeople,
    as_of: date | None,
) -> ScoringReport:
    instant = now if as_of is None else find_reference_instant(as_of, now)
    champion = register.get_champion(task.name)
    names = dict.fromkeys((*task.views, PEOPLE_VIEW))
    views = {name: identified_views[name] for name in names}
    predictions = predict_current(
        task,
        read_model(champion.files),
        people.select_rows(views),
        instant,
        read_features(champion.files).codes,
    )
    summary = read_summary(champion)
    run = ScoringRun(
        task,
        str(champion.number),
        now,
        note=summary["verdict"]["en"],
        grade=summary["grade"],
        as_of=as_of,
    )

    def require_champion() -> None:
        if register.find_champion(task.name) != champion.number:
            raise Conflict(
                f"Version {champion.number} of {task.name} ceased to score while it scored: score"
                " again, and what it wrote is written anew or ended."
            )

    report = send_predictions(client, token, run, predictions.current, require_champion)
    # What was decided while the last was written, too: nothing is ended by what ceased to score.
    require_champion()
    ended = 0
    if as_of is None:
        kept = {derive_assessment_id(task, prediction) for prediction in predictions.current}
        ended = end_assessments(client, token, run, kept)
        require_champion()
    return ScoringReport(
        as_of=instant,
        accepted=report.accepted,
        refused=report.refused,
        reason=report.reason,
        not_joined=people.count_left_out(views),
        not_living=predictions.not_living,
        outside_window=predictions.outside_window,
        in_care=predictions.in_care,
        ended=ended,
    )
