"""Assessments that no longer hold are ended, as R4 has it: amended, with the end of their period.

An assessment that was right when it was made stays on record: its status becomes `amended`
(observation-status: modified after it was final), its prediction ends now, and a note says so.
`entered-in-error` would say that it was never right.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote

from ehr_fhir.errors import Fault, Unavailable, Unprocessable
from ehr_models.risk_assessments import METHOD_SYSTEM, Resource, ScoringRun, build_amendment
from ehr_models.task import Task
from ehr_models.write_back import HttpClient, send_transaction

__all__ = ["end_assessments", "withdraw_assessments"]

_PAGE = 200
_SUPERSEDED = (
    "the patient is in care again, has died, or a later stay has taken the place of this one."
)
_WITHDRAWN = "the version of the model that made it was withdrawn, and none has taken its place."


def end_assessments(client: HttpClient, token: str, run: ScoringRun, kept: Collection[str]) -> int:
    """End the task's assessments that still run and are not among the ids `kept`; return how many.

    Those of people who have left stay as they are: the gateway takes nothing about them.
    """
    return _end(client, token, run, kept, _SUPERSEDED)


def withdraw_assessments(client: HttpClient, token: str, task: Task, now: datetime) -> int:
    """End all assessments of a task that no version scores any more; return how many."""
    return _end(client, token, ScoringRun(task, "withdrawn", now), (), _WITHDRAWN)


def _end(client: HttpClient, token: str, run: ScoringRun, kept: Collection[str], why: str) -> int:
    ended = 0
    for assessment in list(_iterate_assessments(client, token, run)):
        if assessment["id"] in kept or not _is_running(assessment, run.scored_at):
            continue
        note = f"Ended at the scoring of {run.scored_at.date()}: {why}"
        try:
            send_transaction(client, token, build_amendment(run, assessment, note))
        except Unprocessable:
            continue
        ended += 1
    return ended


def _iterate_assessments(client: HttpClient, token: str, run: ScoringRun) -> Iterator[Resource]:
    """Yield the task's assessments that were made so lately that they may still run."""
    method = quote(f"{METHOD_SYSTEM}|{run.task.name}", safe="")
    since = (run.scored_at - run.task.outcome.horizon).date()
    url: str | None = f"/fhir/RiskAssessment?method={method}&date=ge{since}&_count={_PAGE}"
    while url is not None:
        response = client.get(url, headers={"Authorization": f"Bearer {token}"})
        if response.status_code != 200:
            raise Unavailable(f"The gateway answered {response.status_code} to a search.")
        bundle = _parse(response.text)
        for entry in bundle.get("entry", ()):
            if entry["resource"]["resourceType"] == "RiskAssessment":
                yield entry["resource"]
        links = {link["relation"]: link["url"] for link in bundle.get("link", ())}
        url = links.get("next")


def _is_running(assessment: Resource, now: datetime) -> bool:
    end = assessment["prediction"][0]["whenPeriod"]["end"]
    return assessment["status"] != "entered-in-error" and datetime.fromisoformat(end) > now


def _parse(text: str) -> dict[str, Any]:  # Any: JSON
    try:
        bundle: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise Fault("The gateway's answer to a search is not JSON.") from error
    return bundle
